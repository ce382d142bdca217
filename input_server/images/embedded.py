"""What is embedded in a file: its size in pixels, and texts. Filled by the readers of each format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from ..light_dataclasses import dataclass, field
from .json_members import members

TEXT_NAMES = ("prompt", "workflow")
"""Texts that ComfyUI writes."""
FOLDED_NAMES = ("usercomment", "comment")
"""Texts in which programs store several others, as one JSON object."""
OTHER_NAMES = (
    *("parameters", "invokeai_metadata", "sd-metadata", "description", "source"),
    *FOLDED_NAMES,
)
"""Texts that other programs write, in lower case."""
MAX_OTHER_CHARS = 2**18
"""Characters of a text of another program; they write a few thousand."""
_GRAPH = re.compile(r'"class_type"\s*:')


class MediaFile(Protocol):
    """A file of known MIME type ``kind`` whose bytes can be read from any offset."""

    @property
    def kind(self) -> str: ...

    def read(self, start: int, length: int, /) -> bytes: ...


@dataclass(slots=True)
class Embedded:
    """Size in pixels (None if unknown), and texts by name.

    ``texts``: those of ComfyUI; ``others``: those of other programs, their names in lower case.
    ``is_sideways``: width and height are swapped when it is shown. ``is_cut_off``: the file ended early
    or is broken; what precedes the break is still returned. ``is_partial``: a text was too long.
    """

    width: int | None = None
    height: int | None = None
    texts: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    is_sideways: bool = False
    is_cut_off: bool = False
    is_partial: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every text of ComfyUI has been found, so that reading can stop."""
        return len(self.texts) == len(TEXT_NAMES)

    def wants(self, name: str) -> bool:
        """Return whether a text of that name is used and has not been found yet."""
        name = name.lower()
        return (name in TEXT_NAMES and name not in self.texts) or (
            name in OTHER_NAMES and name not in self.others
        )

    def add(self, name: str, text: str) -> None:
        """Keep a text if it is one that is wanted."""
        if self.wants(name):
            found = self.texts if name.lower() in TEXT_NAMES else self.others
            found[name.lower()] = text


def unfold(found: Embedded) -> None:
    """Take ComfyUI's texts out of a text that holds them as JSON, and drop long texts of others."""
    for name in FOLDED_NAMES:
        text = found.others.get(name, "").lstrip()
        folded = _members(text) if text.startswith("{") and not found.texts else {}
        if folded:
            found.texts |= folded
            del found.others[name]
    for name, text in list(found.others.items()):
        if len(text) > MAX_OTHER_CHARS:
            del found.others[name]
            found.is_partial = found.is_partial or not found.texts


def _members(text: str) -> Mapping[str, str]:
    """ComfyUI's texts in a JSON object, which may be a prompt itself."""
    found = members(text, TEXT_NAMES)
    if not found and _GRAPH.search(text):
        return {"prompt": text}
    if not _GRAPH.search(found.get("prompt", "")):  # a text: NovelAI's may begin with brackets, too
        found.pop("prompt", None)
    return {name: value for name, value in found.items() if value.lstrip().startswith("{")}


def decode(text: bytes) -> str:
    """As UTF-8 if valid: some programs write it where the standard requires Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
