"""Check a result: whether it is what its name says and complete, and how large and long it is."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

from input_server.light_dataclasses import replace

from ..errors import MediaError
from . import file_types, image_decode, image_structure, media_info
from .content_check import mismatch
from .file_types import Kind
from .image_memory import ImageMemory
from .image_repair import repaired

_FULLY_SUPPORTED = frozenset({"png", "jpeg", "webp", "gif", "bmp"})
"""Formats of which Pillow reads all variants, so that a failure means a broken file."""


def check_received(file: BinaryIO, name: str) -> None:
    """Raise MediaError for a file that is not what its name says: a login page called ``a.png``, an
    empty file, a header without image data.
    """
    kind = file_types.detect(file)
    received = mismatch(name, kind, file.seek(0, 2))
    if (
        not received
        and kind.kind == "image"
        and not image_structure.has_image_data(kind.format, file)
    ):
        received = f"a {kind.format.upper()} header without image data"
    file.seek(0)
    if received:
        raise MediaError(
            f"{name} was not stored, because the server sent {received}.",
            "Check this job in ComfyUI; if a login or proxy is in front of it, set COMFYUI_AUTH.",
        )


def inspect_result(file: BinaryIO, shown: str, memory: ImageMemory | None = None) -> Kind:
    """Return the kind of a result with size and duration; images of usual formats are decoded.

    Where that would take more than ``memory``, the structure is checked instead. Raises MediaError
    for a broken or cut-off image; on any other failure size and duration stay unknown.
    """
    kind = file_types.detect(file)
    try:
        if kind.kind != "image":
            return media_info.measured(kind, file)
        if kind.format not in _FULLY_SUPPORTED:
            return image_decode.measured_size(kind, file, memory)
        return _checked_image(file, kind, shown, memory or ImageMemory())
    except MediaError:
        raise
    except Exception as error:  # a decoder may raise anything; the file itself is stored
        return replace(kind, note=f"its size is unknown ({type(error).__name__})")


def _checked_image(file: BinaryIO, kind: Kind, shown: str, memory: ImageMemory) -> Kind:
    try:
        with image_decode.decoding_errors(kind, shown):
            return _decoded_or_repaired(file, kind, shown, memory)
    except image_decode.ImageTooLarge as error:
        if not image_structure.is_complete(kind.format, file):
            raise image_decode.broken_image(kind, shown) from error
        measured = image_decode.measured_size(kind, file, memory)
        return replace(measured, note=f"not decoded: {error.why}")


def _decoded_or_repaired(file: BinaryIO, kind: Kind, shown: str, memory: ImageMemory) -> Kind:
    try:
        return _decoded(file, kind, shown, memory)
    except MediaError:
        raise
    except Exception:
        if kind.format not in ("jpeg", "png"):
            raise
        file.seek(0)
        content, notes = repaired(file.read(), kind, memory, broken=True)
        decoded = _decoded(BytesIO(content), kind, shown, memory)
        return replace(decoded, note=notes[0]) if notes else decoded


def _decoded(file: BinaryIO, kind: Kind, shown: str, memory: ImageMemory) -> Kind:
    with (
        image_decode.open_image(file, kind, memory, shown) as (image, measured),
        memory.use(image_decode.reserve(image, measured, memory, shown)),
    ):
        return replace(measured, seconds=image_decode.decode_frames(image, measured.frames or 1))
