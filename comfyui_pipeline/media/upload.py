"""Bring one input file to where the server's loader finds it, under a name made of its content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Protocol

from input_server.light_dataclasses import dataclass

from ..errors import MediaError
from . import file_types, images
from .atomic import atomic_file
from .download import DownloadPolicy, download
from .file_types import MAX_FILE_BYTES, InputKind, Kind
from .image_memory import ImageMemory
from .sources import FORMS, AllowedFolders, Inline, LocalFile, ServerFile, Url, describe, recognise

SUBFOLDER = "comfyui-plugin"
"""Below the server's input folder, so that users' own files there are never touched."""


class InputFolder(Protocol):
    """What placing needs of a server."""

    def upload(self, content: bytes, name: str, subfolder: str) -> str: ...

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str: ...

    def input_size(self, value: str) -> int | None: ...

    def read_input(self, value: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """``value`` is what a loader node's input takes; ``size`` in bytes."""

    value: str
    origin: str
    kind: Kind | None = None
    sha256: str = ""
    size: int = 0
    notes: tuple[str, ...] = ()  # what was done to the file for the server to take it


def place(
    value: str,
    server: InputFolder,
    places: AllowedFolders,
    policy: DownloadPolicy,
    *,
    wanted: InputKind = "image",
    max_side: int | None = None,
    input_dir: Path | None = None,
    deadline: float | None = None,
    memory: ImageMemory | None = None,
) -> PlacedFile:
    """Fetch or read what ``value`` names, look at it, and put it into the server's input folder.

    ``wanted``: what the input takes. ``max_side``: a longer picture is shrunk to that many pixels.
    ``input_dir``: that folder, when it is on this machine. ``deadline``: ``time.monotonic()``.
    ``memory``: what decoding may take.
    Raises MediaError, DownloadRefused, and what ``server`` raises.
    """
    source = recognise(value, places)
    shown = describe(value)
    if isinstance(source, ServerFile):
        return _on_server(source.name, server, places, shown)
    content = _content(source, policy, deadline, shown)
    if wanted in ("image", "animation", "mask"):
        picture = images.prepare_image(
            content, shown, max_side=max_side, animated=wanted == "animation", memory=memory
        )
        if wanted == "mask":
            picture = images.as_mask(picture, shown, memory)
        content, kind, done = picture.content, picture.kind, picture.done
    else:
        kind, done = _checked(content, shown, wanted), ()
    digest = hashlib.sha256(content).hexdigest()
    placed = _put(content, digest[:32] + kind.extension, server, input_dir)
    notes = (f"{shown} was {', '.join(done)}",) if done else ()
    return PlacedFile(placed, shown, kind, digest, len(content), notes)


def place_masked(
    mask: str,
    picture: str,
    server: InputFolder,
    places: AllowedFolders,
    policy: DownloadPolicy,
    deadline: float | None = None,
    memory: ImageMemory | None = None,
) -> PlacedFile:
    """A copy of ``picture``, a file of the server's input folder, that is see-through where ``mask``
    is to act: what loaders give as the mask of a picture. Raises as ``place`` does.
    """
    shown = describe(mask)
    content = read(mask, places, policy, deadline, server)
    original = server.read_input(picture)
    if original is None:
        raise MediaError(f"The picture {picture!r} for the mask is not at ComfyUI.", FORMS)
    size = images.size_of(original, describe(picture), memory)
    layer = images.mask_layer(content, size, shown, memory)
    digest = hashlib.sha256(original + b"\0" + layer).hexdigest()
    name = f"{digest[:32]}-masked.png"
    value = f"{SUBFOLDER}/{name}"
    if server.input_size(value) is None:
        value = server.upload_mask(layer, name, SUBFOLDER, picture)
    return PlacedFile(value, shown)


def read(
    value: str,
    places: AllowedFolders,
    policy: DownloadPolicy,
    deadline: float | None,
    server: InputFolder | None = None,
) -> bytes:
    """The content that ``value`` names, unjudged: an address, inline data, a file of this machine,
    or of ``server``'s input folder. Raises MediaError for a name that is nowhere.
    """
    source = recognise(value, places)
    shown = describe(value)
    if not isinstance(source, ServerFile):
        return _content(source, policy, deadline, shown)
    content = server.read_input(source.name) if server else None
    if content is None:
        raise MediaError(f"There is no file {shown!r} here.", FORMS)
    return content


def is_attachment(value: str, places: AllowedFolders) -> bool:
    """Whether a bare name is that of a file in the attachments folder."""
    try:
        return isinstance(recognise(value, places), LocalFile)
    except MediaError:
        return False


def _on_server(name: str, server: InputFolder, places: AllowedFolders, shown: str) -> PlacedFile:
    if server.input_size(name) is not None:
        return PlacedFile(name, shown)
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
        with os.fdopen(open_regular_file(source.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise MediaError(
                    f"{shown} is larger than {MAX_FILE_BYTES >> 20} MB.", "Give a smaller file."
                )
            return file.read(size)
    except OSError as error:
        raise MediaError(f"{shown} cannot be read: {error.strerror}.", FORMS) from None


def open_regular_file(path: Path) -> int:
    """A descriptor of a regular file by its resolved path, which holds no link.

    One that has appeared in it since is not followed: it was resolved to be judged, and what is read
    has to be what was judged. Raises OSError.
    """
    if os.open in os.supports_dir_fd:
        descriptor = _opened_below(path)
    else:
        descriptor = os.open(path, _OPENING)
        if path.resolve() != path or not os.path.samestat(os.fstat(descriptor), path.lstat()):
            os.close(descriptor)
            raise OSError(errno.ELOOP, "it is a link")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return descriptor


def _opened_below(path: Path) -> int:
    """Folder by folder from the root (openat(2) with O_NOFOLLOW)."""
    *above, name = path.parts
    folder = os.open(above[0], _FOLDER)
    try:
        for part in above[1:]:
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(name, _OPENING, dir_fd=folder)
    finally:
        os.close(folder)


_OPENING = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that has taken the file's place keeps nobody waiting
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
"""O_PATH: a folder that may be passed through but not listed."""


_TAKEN = {
    "video": ("video",),
    "audio": ("audio", "video"),
    "file": ("file", "3d", "text", "image", "video", "audio"),
}
_NAMES = {"video": "a video", "audio": "a sound", "file": "a file"}


def _checked(content: bytes, what: str, wanted: InputKind) -> Kind:
    """Look at an input that is no picture. Raises MediaError for one of another kind."""
    if not content:
        raise MediaError(f"{what} is empty.", "Give a file with content.")
    kind = file_types.of_bytes(content)
    name = _NAMES[wanted]
    if kind.format == "html":
        raise MediaError(f"{what} is a web page, not {name}.", "Give the file's own address.")
    if kind.format == "unknown" and wanted != "file":
        raise MediaError(f"{what} is in no known format, and {name} is wanted.", "Give another.")
    if kind.kind not in _TAKEN[wanted]:
        raise MediaError(f"{what} is {file_types.a(kind)}, and {name} is wanted.", "Give another.")
    return kind


def _put(content: bytes, name: str, server: InputFolder, input_dir: Path | None) -> str:
    """The same file is stored once; a folder that is not the server's own is not relied on.

    The name says what is in it, so a file of that name and size is that file.
    """
    value = f"{SUBFOLDER}/{name}"
    if server.input_size(value) == len(content):
        return value
    if input_dir is not None and _written(content, input_dir / SUBFOLDER / name):
        if server.input_size(value) == len(content):
            return value
        (input_dir / SUBFOLDER / name).unlink(missing_ok=True)
        print(
            "COMFYUI_SERVER_INPUT_DIR is not the folder that ComfyUI reads; uploading instead",
            file=sys.stderr,
        )
    return server.upload(content, name, SUBFOLDER)


def _written(content: bytes, path: Path) -> bool:
    """Write the file so that nobody ever sees a part of it; False when the folder does not let us."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path.parent, path.parent / ".incoming") as new:
            new.file.write(content)
            if not new.name(path) and path.stat().st_size != len(content):
                new.publish_replace(path)
    except OSError:
        return False
    return True
