"""Bring one input picture to where the server's loader finds it, under a name made of its content."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import MediaError
from .download import DownloadPolicy, download
from .kinds import MAX_FILE_BYTES, Kind, Wanted, as_png, check, check_picture, shrunk
from .source import FORMS, Inline, LocalFile, Places, ServerName, Url, describe, recognise

SUBFOLDER = "comfyui-plugin"
"""Below the server's input folder, so that users' own files there are never touched."""


class InputFolder(Protocol):
    """What placing needs of a server."""

    def upload(self, content: bytes, name: str, subfolder: str) -> str: ...

    def has_input(self, value: str) -> bool: ...

    def read_input(self, value: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Placed:
    """``value`` is what a loader node's input takes; ``size`` in bytes."""

    value: str
    came_from: str
    kind: Kind | None = None
    sha256: str = ""
    size: int = 0
    note: str = ""  # what was done to the file for the server to take it


def place(
    value: str,
    server: InputFolder,
    places: Places,
    policy: DownloadPolicy,
    *,
    wanted: Wanted = "image",
    max_side: int | None = None,
    input_dir: Path | None = None,
    deadline: float | None = None,
) -> Placed:
    """Fetch or read what ``value`` names, look at it, and put it into the server's input folder.

    ``wanted``: what the input takes. ``max_side``: a longer picture is shrunk to that many pixels.
    ``input_dir``: that folder, when it is on this machine. ``deadline``: ``time.monotonic()``.
    Raises MediaError, DownloadRefused, and what ``server`` raises.
    """
    source = recognise(value, places)
    shown = describe(value)
    if isinstance(source, ServerName):
        return _on_server(source.name, server, places, shown)
    content = _content(source, policy, deadline, shown)
    note = ""
    if wanted == "image":
        content, note = _readable(content, shown, max_side)
    kind = check(content, shown, wanted)
    digest = hashlib.sha256(content).hexdigest()
    name = digest[:32] + kind.extension
    placed = _put(content, name, server, input_dir)
    return Placed(placed, shown, kind, digest, len(content), note)


def _readable(content: bytes, shown: str, max_side: int | None) -> tuple[bytes, str]:
    """The picture as the server's loader can read it, no larger than asked; and what was done."""
    notes = []
    converted = as_png(content, shown)
    if converted is not None:
        content = converted
        notes.append(f"{shown} was converted to PNG, which ComfyUI can read")
    if max_side is not None:
        check_picture(content, shown)
        smaller = shrunk(content, max_side)
        if smaller is not content:
            content = smaller
            notes.append(f"{shown} was shrunk to {max_side} pixels")
    return content, "; ".join(notes)


def read(value: str, places: Places, policy: DownloadPolicy, deadline: float | None) -> bytes:
    """The content that ``value`` names, unjudged: an address, inline data or a file of this machine.

    Raises MediaError, also for a name that only the server could know.
    """
    source = recognise(value, places)
    shown = describe(value)
    if isinstance(source, ServerName):
        raise MediaError(f"There is no file {shown!r} here.", FORMS)
    return _content(source, policy, deadline, shown)


def is_attachment(value: str, places: Places) -> bool:
    """Whether a bare name is that of a file in the attachments folder."""
    try:
        return isinstance(recognise(value, places), LocalFile)
    except MediaError:
        return False


def _on_server(name: str, server: InputFolder, places: Places, shown: str) -> Placed:
    if server.has_input(name):
        return Placed(name, shown)
    looked = "ComfyUI's input folder"
    if places.attachments is not None:
        looked += f" nor in the attachments folder {places.attachments}"
        raise MediaError(f"The file {shown!r} is neither in {looked}.", FORMS)
    raise MediaError(f"The file {shown!r} is not in {looked}.", FORMS)


def _content(
    source: Url | Inline | LocalFile, policy: DownloadPolicy, deadline: float | None, shown: str
) -> bytes:
    if isinstance(source, Url):
        return download(source.url, policy, deadline)
    if isinstance(source, Inline):
        return source.content
    try:
        if source.path.stat().st_size > MAX_FILE_BYTES:
            raise MediaError(
                f"{shown} is larger than {MAX_FILE_BYTES >> 20} MB.", "Give a smaller file."
            )
        return source.path.read_bytes()
    except OSError as error:
        raise MediaError(f"{shown} cannot be read: {error.strerror}.", FORMS) from None


def _put(content: bytes, name: str, server: InputFolder, input_dir: Path | None) -> str:
    """The same picture is stored once; a folder that is not the server's own is not relied on."""
    value = f"{SUBFOLDER}/{name}"
    if server.has_input(value):
        return value
    here = input_dir is not None and _written(content, input_dir / SUBFOLDER / name)
    if here and server.read_input(value) == content:
        return value
    return server.upload(content, name, SUBFOLDER)


def _written(content: bytes, path: Path) -> bool:
    """Write the file so that nobody ever sees a part of it; False when the folder does not let us."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)  # noqa: PTH105 - the call that POSIX and Windows make atomic
    except OSError:
        part.unlink(missing_ok=True)
        return False
    return True
