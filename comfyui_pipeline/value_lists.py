"""Lists of files and names as hosts send them: separated by lines or commas, or in objects."""

from __future__ import annotations

import re
from typing import Any

FILE_KEYS = (
    "image",
    "url",
    "image_url",
    "data",
    "base64",
    "b64_json",
    "image_base64",
    "uri",
    "path",
    "file_path",
    "file",
    "src",
    "href",
    "content",
    "video",
    "audio",
    "video_url",
    "audio_url",
    "name",
    "filename",
)
"""Keys of an object that describes one file (OpenAI, serverless workers, chat clients); the first
that it has counts."""
_BEFORE_EXPLICIT = re.compile(
    r"(?<!;base64)[,，][ \t]{0,9}(?=(?:data:|https?://|file:|base64://|/|[A-Za-z]:[\\/]|!\[|\[附))",
    re.IGNORECASE,
)
_IS_EXPLICIT = re.compile(
    r"(?:data:|https?://|file:|base64://|/|[A-Za-z]:[\\/]|!\[|\[附)", re.IGNORECASE
)
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_MARKDOWN_IMAGE = re.compile(r"!\[[^\[\]]{0,200}\]\([^()\s]{1,8000}\)")
MAX_NESTED = 4


def file_text(value: Any, depth: int = 0) -> str | None:
    """The file that a value describes as text; None if it describes none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and depth < MAX_NESTED:
        return file_text(value[0], depth + 1)
    if isinstance(value, dict) and depth < MAX_NESTED:
        for key in FILE_KEYS:
            if value.get(key):
                return file_text(value[key], depth + 1)
    return None


def split_names(text: str) -> list[str]:
    """Names separated by lines, else by commas."""
    if "\n" in text.strip():
        return text.split("\n")
    return re.split(r"[,，、;；]", text)


def split_files(text: str) -> list[str]:
    """Files separated by lines, else by commas that do not belong to a URL or a name.

    ``https://x/w_2,h_3/a.png`` and ``a, b.png`` are one file each; a comma before the beginning of a
    URL, a data: URI or a path always separates.
    """
    text = text.strip()
    if "\n" in text:
        return text.split("\n")
    if text.startswith("![") and len(images := _MARKDOWN_IMAGE.findall(text)) > 1:
        return images
    found: list[str] = []
    for piece in _BEFORE_EXPLICIT.split(text):
        found += [piece] if piece[:5].lower() == "data:" else _split_piece(piece)
    return found


def _split_piece(text: str) -> list[str]:
    parts = [part.strip() for part in re.split(r"[,，、]", text)]
    parts = [part for part in parts if part]
    if len(parts) < 2:
        return parts
    if _IS_EXPLICIT.match(parts[0]):
        # a URL or path goes on after a comma unless complete names follow
        complete = all(_EXTENSION.search(part.partition("?")[0]) for part in parts)
        plain = not any("/" in part or "?" in part for part in parts[1:])
        return parts if complete and plain else [text]
    with_extension = [bool(_EXTENSION.search(part)) for part in parts]
    if not any(with_extension):
        return parts
    found, begun = [], ""
    rest = text
    for part, complete in zip(parts, with_extension, strict=True):
        start = rest.index(part) + len(part)
        begun, rest = begun + rest[:start], rest[start:]
        if complete:
            found.append(begun.strip(" ,，、"))
            begun = ""
    return [*found, *([begun.strip(" ,，、")] if begun.strip(" ,，、") else [])]
