"""Results small enough to be shown to a model inside the answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from . import kinds

if TYPE_CHECKING:
    from PIL.Image import Image

EACH = 200 * 1024
"""Bytes of one small copy."""
TOGETHER = 1024 * 1024
"""Characters of all pictures of one answer: hosts search their whole buffer at every chunk of it."""
SMALL = ((768, 82), (768, 60), (512, 60), (384, 50), (256, 40))
WHOLE = ((4096, 90), (4096, 75), (2048, 80), (1536, 78), (1024, 78))
"""Longest side in pixels and WebP quality, tried in turn until the picture is small enough."""


@dataclass(frozen=True, slots=True)
class Shown:
    """``data:`` URIs of the pictures, and how many had to be made smaller or left out."""

    pictures: tuple[str, ...]
    reduced: int = 0
    left_out: int = 0


def show(files: Sequence[Path], *, full: bool) -> Shown:
    """The pictures for the answer: as they are (``full``, as far as they fit), or as small copies."""
    left, pictures, reduced = TOGETHER, [], 0
    for place, file in enumerate(files):
        share = left // (len(files) - place)
        uri = _as_it_is(file, share) if full else None
        if uri is None:
            uri = _copy(file, share if full else min(share, _encoded(EACH)), full=full)
            reduced += full and uri is not None
        if uri is not None:
            pictures.append(uri)
            left -= len(uri)
    return Shown(tuple(pictures), reduced, len(files) - len(pictures))


def _as_it_is(file: Path, most: int) -> str | None:
    try:
        if _encoded(file.stat().st_size) > most:
            return None
        content = file.read_bytes()
    except OSError:
        return None
    return _uri(kinds.of_bytes(content).mime, content)


def _copy(file: Path, most: int, *, full: bool) -> str | None:
    """A WebP of the first frame with at most ``most`` characters; None for what cannot be opened."""
    shown = _first_frame(file)
    if shown is None:
        return None
    from PIL import Image

    for side, quality in (*WHOLE, *SMALL) if full else SMALL:
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        shown.save(buffer, "WEBP", quality=quality)
        if _encoded(buffer.tell()) <= most:
            return _uri("image/webp", buffer.getvalue())
    return None


def _first_frame(file: Path) -> Image | None:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            shown = ImageOps.exif_transpose(image)
            see_through = "A" in shown.getbands() or "transparency" in shown.info
            return shown.convert("RGBA" if see_through else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _encoded(size: int) -> int:
    """Characters of a ``data:`` URI of so many bytes."""
    return 4 * -(-size // 3) + 24


def _uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
