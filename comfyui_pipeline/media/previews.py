"""Results small enough to be shown to a model inside the answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from input_server.light_dataclasses import dataclass, field

from ..errors import ToolError
from . import file_types
from . import images as pictures
from .image_memory import ImageMemory

EACH = 200 * 1024
"""Bytes of one small copy."""
TOGETHER = 1024 * 1024
"""Characters of all pictures of one answer: hosts search their whole buffer at every chunk of it."""
MOST = 20
"""Pictures of one answer."""
SMALL = ((768, 82), (768, 60), (512, 60), (384, 50), (256, 40))
WHOLE = ((4096, 90), (4096, 75), (2048, 80), (1536, 78), (1024, 78))
"""Longest side in pixels and WebP quality, tried in turn until the picture is small enough."""


@dataclass(frozen=True, slots=True)
class Previews:
    """``data:`` URIs of the pictures, how many had to be made smaller or left out, and of those
    left out which could not be decoded (file name -> the reason).
    """

    uris: tuple[str, ...]
    reduced: int = 0
    left_out: int = 0
    failed: Mapping[str, str] = field(default_factory=dict, compare=False)


def show(files: Sequence[Path], *, full: bool, memory: ImageMemory | None = None) -> Previews:
    """The pictures for the answer: as they are (``full``, as far as they fit), or as small copies.

    At most ``MOST`` of them. Never raises: a picture of which there can be no copy is named in
    ``failed``.
    """
    memory = memory or ImageMemory()
    chosen = files[:MOST]
    left, shown, reduced, failed = TOGETHER, list[str](), 0, dict[str, str]()
    for place, file in enumerate(chosen):
        share = left // (len(chosen) - place)
        try:
            uri = _as_it_is(file, share) if full else None
            if uri is None:
                uri = _copy(file, share if full else min(share, _encoded(EACH)), memory, full=full)
                reduced += full and uri is not None
        except Exception as error:  # decoders raise anything; the file itself is not in doubt
            failed[str(file)] = reason(error)
            continue
        if uri is not None:
            shown.append(uri)
            left -= len(uri)
    return Previews(tuple(shown), reduced, len(files) - len(shown), failed)


def reason(error: Exception) -> str:
    """Why there is no copy, in words."""
    if isinstance(error, pictures.ImageTooLarge):
        return error.why
    if isinstance(error, ToolError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it cannot be decoded here ({type(error).__name__})"


def _as_it_is(file: Path, most: int) -> str | None:
    try:
        if _encoded(file.stat().st_size) > most:
            return None
        content = file.read_bytes()
    except OSError:
        return None
    return _uri(file_types.of_bytes(content).mime, content)


def _copy(file: Path, most: int, memory: ImageMemory, *, full: bool) -> str | None:
    """A WebP of the first frame with at most ``most`` characters; None where that is impossible."""
    # Without WebPImagePlugin, saving imports all of Pillow's formats (20 ms).
    from PIL import Image, WebPImagePlugin  # noqa: F401

    sizes = (*WHOLE, *SMALL) if full else SMALL
    with file.open("rb") as content:
        shown = pictures.first_frame(content, file.name, sizes[0][0], memory)
    for side, quality in sizes:
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        shown.save(buffer, "WEBP", quality=quality)
        if _encoded(buffer.tell()) <= most:
            return _uri("image/webp", buffer.getvalue())
    return None


def _encoded(size: int) -> int:
    """Characters of a ``data:`` URI of so many bytes."""
    return 4 * -(-size // 3) + 24


def _uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
