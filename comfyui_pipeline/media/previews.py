"""Images inside the response, for models that can see: ``data:`` URIs of results."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from input_server.light_dataclasses import dataclass, field

from ..errors import ToolError
from . import file_types, image_convert
from .image_decode import ImageTooLarge
from .image_memory import ImageMemory

MAX_COPY_BYTES = 200 * 1024
"""Bytes of one reduced copy."""
MAX_CHARACTERS = 1024 * 1024
"""Characters of all images: hosts search their buffer from the start at every chunk they read."""
MAX_IMAGES = 20
SMALL = ((768, 82), (768, 60), (512, 60), (384, 50), (256, 40))
LARGE = ((4096, 90), (4096, 75), (2048, 80), (1536, 78), (1024, 78))
"""Longest side in pixels and WebP quality, tried in turn until the copy is small enough."""


@dataclass(frozen=True, slots=True)
class Previews:
    """The images of a response.

    ``uris``: their ``data:`` URIs; ``reduced``: how many are smaller copies although the full images
    were requested; ``left_out``: how many images are not shown; ``failed``: path -> why the image
    could not be decoded.
    """

    uris: tuple[str, ...]
    reduced: int = 0
    left_out: int = 0
    failed: Mapping[str, str] = field(default_factory=dict, compare=False)


def build_previews(
    files: Sequence[Path], *, full: bool, memory: ImageMemory | None = None
) -> Previews:
    """Return images for the response: unchanged where they fit (``full``), or as small copies.

    Never raises: an image that cannot be decoded is listed in ``failed``.
    """
    memory = memory or ImageMemory()
    chosen = files[:MAX_IMAGES]
    left, uris, reduced, failed = MAX_CHARACTERS, list[str](), 0, dict[str, str]()
    for place, file in enumerate(chosen):
        share = left // (len(chosen) - place)
        try:
            uri = _unchanged(file, share) if full else None
            if uri is None:
                limit = share if full else min(share, _uri_length(MAX_COPY_BYTES))
                uri = _copy(file, limit, memory, full=full)
                reduced += full and uri is not None
        except Exception as error:  # decoders raise anything; the file itself is stored
            failed[str(file)] = failure_reason(error)
            continue
        if uri is not None:
            uris.append(uri)
            left -= len(uri)
    return Previews(tuple(uris), reduced, len(files) - len(uris), failed)


def failure_reason(error: Exception) -> str:
    """Why there is no preview, as the second half of a sentence."""
    if isinstance(error, ImageTooLarge):
        return error.why
    if isinstance(error, ToolError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it cannot be decoded ({type(error).__name__})"


def _unchanged(file: Path, limit: int) -> str | None:
    """The file itself, if that has at most ``limit`` characters."""
    try:
        if _uri_length(file.stat().st_size) > limit:
            return None
        content = file.read_bytes()
    except OSError:
        return None
    return _uri(file_types.detect_bytes(content).mime, content)


def _copy(file: Path, limit: int, memory: ImageMemory, *, full: bool) -> str | None:
    """A WebP of the first frame with at most ``limit`` characters; None when no size fits."""
    # without WebPImagePlugin, saving imports all of Pillow's formats (20 ms)
    from PIL import WebPImagePlugin  # noqa: F401
    from PIL.Image import Resampling

    sizes = (*LARGE, *SMALL) if full else SMALL
    with file.open("rb") as content:
        frame = image_convert.first_frame(content, file.name, sizes[0][0], memory)
    for side, quality in sizes:
        frame.thumbnail((side, side), Resampling.LANCZOS)
        buffer = BytesIO()
        frame.save(buffer, "WEBP", quality=quality)
        if _uri_length(buffer.tell()) <= limit:
            return _uri("image/webp", buffer.getvalue())
    return None


def _uri_length(size: int) -> int:
    """Characters of a ``data:`` URI of ``size`` bytes."""
    return 4 * -(-size // 3) + 24


def _uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
