"""Put input files into the server's input folder, under names made from their content."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Protocol

from input_server.atomic import atomic_file
from input_server.light_dataclasses import dataclass, replace

from ..errors import MediaError
from . import file_limits, file_types, image_masks
from .allowed_folders import open_resolved_file
from .download import DownloadPolicy, download
from .file_types import InputKind, Kind
from .image_convert import image_size, prepare_image
from .image_memory import ImageMemory
from .redact import shown_value
from .sources import FORMS, Inline, ServerFile, Source, Url

SUBFOLDER = "comfyui-plugin"
"""Subfolder of the server's input folder, so that files of its users are never touched."""


class InputFolder(Protocol):
    """The server's input folder. ``value``: ``sub/name.png``, as a loader node takes it."""

    def upload(self, content: bytes, name: str, subfolder: str) -> str: ...

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str: ...

    def input_size(self, value: str) -> int | None: ...

    def read_input(self, value: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file in the server's input folder. ``value`` is what a loader node's input takes.

    ``origin``: the source for a reader; ``size`` in bytes; ``notes``: how the file was converted.
    """

    value: str
    origin: str
    kind: Kind | None = None
    sha256: str = ""
    size: int = 0
    notes: tuple[str, ...] = ()


def place(
    source: Source,
    server: InputFolder,
    policy: DownloadPolicy,
    *,
    accepts: InputKind = "image",
    max_side: int | None = None,
    input_dir: Path | None = None,
    deadline: float | None = None,
    memory: ImageMemory | None = None,
) -> PlacedFile:
    """Fetch or read a file, check and convert it, and put it into the server's input folder.

    ``accepts``: what the node's input takes. ``max_side``: pixels to which a larger image is reduced.
    ``input_dir``: the server's input folder, when it is on this machine. ``deadline``:
    ``time.monotonic()``. ``memory``: the memory for decoding.
    Raises MediaError, DownloadRefused, and what ``server`` raises.
    """
    shown = source.shown
    if isinstance(source, ServerFile) and not source.fetched:
        if accepts == "mask":
            return _mask_on_server(source, server, input_dir, memory, policy.max_bytes)
        return _on_server(source, server)
    content = read(source, policy, deadline, server, accepts=accepts)
    if accepts == "mask":
        image = image_masks.as_mask(
            content, shown, max_side=max_side, memory=memory, max_bytes=policy.max_bytes
        )
        content, kind, done = image.content, image.kind, image.done
    elif accepts in ("image", "animation"):
        image = prepare_image(
            content,
            shown,
            max_side=max_side,
            animated=accepts == "animation",
            memory=memory,
            max_bytes=policy.max_bytes,
        )
        content, kind, done = image.content, image.kind, image.done
    else:
        kind, done = _checked_kind(content, shown, accepts), ()
    digest = hashlib.sha256(content).hexdigest()
    value = _put(content, digest[:32] + kind.extension, server, input_dir)
    return PlacedFile(value, shown, kind, digest, len(content), _notes(shown, done))


def place_masked(
    mask: Source,
    image: str,
    server: InputFolder,
    policy: DownloadPolicy,
    deadline: float | None = None,
    memory: ImageMemory | None = None,
    *,
    same_file: bool = False,
) -> PlacedFile:
    """Place a copy of ``image``, a file of the server's input folder, with ``mask`` in its alpha
    channel, from which loader nodes read their mask. ``same_file``: the image is its own mask, by
    its transparent parts. Raises as ``place`` does.
    """
    content = read(mask, policy, deadline, server)
    original = server.read_input(image)
    if original is None:
        raise MediaError(f"The image {image!r} for the mask is not on the ComfyUI server.", FORMS)
    size = image_size(original, shown_value(image), memory, policy.max_bytes)
    holes = same_file or isinstance(mask, ServerFile)
    prepared = image_masks.as_mask(
        content,
        mask.shown,
        size=size,
        holes=holes,
        memory=memory,
        max_bytes=policy.max_bytes,
    )
    layer = prepared.content
    digest = hashlib.sha256(original + b"\0" + layer).hexdigest()
    name = f"{digest[:32]}-masked.png"
    value = f"{SUBFOLDER}/{name}"
    if server.input_size(value) is None:
        value = server.upload_mask(layer, name, SUBFOLDER, image)
    return PlacedFile(value, mask.shown, notes=_notes(mask.shown, prepared.done))


def read(
    source: Source,
    policy: DownloadPolicy,
    deadline: float | None,
    server: InputFolder | None = None,
    *,
    accepts: InputKind = "image",
) -> bytes:
    """Return the content of a source, unchecked. Raises MediaError when there is no such file.

    A name that can only be a file of the server's input folder needs ``server``.
    """
    if isinstance(source, Url):
        return download(source.url, policy, deadline)
    if isinstance(source, Inline):
        return source.content
    if not isinstance(source, ServerFile):
        return _read_local(source.path, source.shown, policy.max_bytes, accepts)
    content = server.read_input(source.name) if server else None
    if content is None:
        raise MediaError(f"The file {source.shown!r} does not exist.", FORMS)
    return content


def _notes(shown: str, done: tuple[str, ...]) -> tuple[str, ...]:
    return (f"{shown} was {', '.join(done)}",) if done else ()


def _mask_on_server(
    source: ServerFile,
    server: InputFolder,
    input_dir: Path | None,
    memory: ImageMemory | None,
    max_bytes: int,
) -> PlacedFile:
    """A mask that the server has already, in the form that every loader reads.

    One that cannot be decoded here is left to the server.
    """
    placed = _on_server(source, server)
    content = server.read_input(source.name)
    if content is None:
        return placed
    try:
        image = image_masks.as_mask(
            content, source.shown, holes=True, memory=memory, max_bytes=max_bytes
        )
    except image_masks.EmptyMask:
        raise
    except MediaError as error:
        return replace(placed, notes=(f"used as a mask as it is: {error}",))
    if not image.done:
        return placed
    digest = hashlib.sha256(image.content).hexdigest()
    value = _put(image.content, digest[:32] + image.kind.extension, server, input_dir)
    notes = _notes(source.shown, image.done)
    return PlacedFile(value, source.shown, image.kind, digest, len(image.content), notes)


def _on_server(source: ServerFile, server: InputFolder) -> PlacedFile:
    if source.exists or server.input_size(source.name) is not None:
        return PlacedFile(source.name, source.shown)
    raise not_there(source)


def not_there(source: ServerFile) -> MediaError:
    """The error for a name that no folder has a file of."""
    if source.attachments is not None:
        return MediaError(
            f"The file {source.shown!r} is neither in ComfyUI's input folder nor in the attachments "
            f"folder {source.attachments}, and no result has this name.",
            FORMS,
        )
    return MediaError(f"The file {source.shown!r} is not in ComfyUI's folders.", FORMS)


def _read_local(path: Path, shown: str, max_bytes: int, accepts: InputKind) -> bytes:
    try:
        with os.fdopen(open_resolved_file(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise MediaError(
                    f"{shown} is larger than {max_bytes >> 20} MB.",
                    f"Give a smaller file, or raise {file_limits.setting_of(accepts)} in config.env.",
                )
            return file.read(size)
    except OSError as error:
        raise MediaError(f"{shown} cannot be read: {error.strerror}.", FORMS) from None


_ACCEPTED = {
    "video": ("video",),
    "audio": ("audio", "video"),
    "file": ("file", "3d", "text", "image", "video", "audio"),
}
_NAMES = {"video": "a video", "audio": "an audio file", "file": "a file"}


def _checked_kind(content: bytes, shown: str, accepts: InputKind) -> Kind:
    """The kind of an input that is not an image. Raises MediaError for a kind that is not accepted."""
    if not content:
        raise MediaError(f"{shown} is empty.", "Give a file with content.")
    kind = file_types.detect_bytes(content)
    name = _NAMES[accepts]
    if kind.format == "html":
        raise MediaError(f"{shown} is a web page, not {name}.", "Give the URL of the file itself.")
    if kind.format == "unknown" and accepts != "file":
        raise MediaError(
            f"{shown} is {file_types.describe_kind(kind, len(content))}; the input takes {name}.",
            "Give another file.",
        )
    if kind.kind not in _ACCEPTED[accepts]:
        raise MediaError(
            f"{shown} is {file_types.describe_kind(kind)}; the input takes {name}.",
            "Give another file.",
        )
    return kind


def _put(content: bytes, name: str, server: InputFolder, input_dir: Path | None) -> str:
    """Store a file unless the server has it: its name is made from its content, so a file with this
    name and size is the same file. Returns its value.

    A folder on this machine is used only where the server finds the file in it.
    """
    value = f"{SUBFOLDER}/{name}"
    if server.input_size(value) == len(content):
        return value
    if input_dir is not None and _write(content, input_dir / SUBFOLDER / name):
        if server.input_size(value) == len(content):
            return value
        (input_dir / SUBFOLDER / name).unlink(missing_ok=True)
        print(
            "COMFYUI_SERVER_INPUT_DIR is not the input folder of the ComfyUI server; uploading instead",
            file=sys.stderr,
        )
    return server.upload(content, name, SUBFOLDER)


def _write(content: bytes, path: Path) -> bool:
    """Write a file atomically; False when the folder cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path.parent, path.parent / ".incoming") as new:
            new.file.write(content)
            if not new.publish_new(path) and path.stat().st_size != len(content):
                new.publish_replace(path)
    except OSError:
        return False
    return True
