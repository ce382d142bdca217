"""A result small enough to be shown to a model inside the answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

LONGEST_SIDE = 768
EACH = 200 * 1024
TOGETHER = 1024 * 1024
"""Bytes of all pictures of one answer: hosts search their whole buffer at every chunk of it."""
FULL_TOGETHER = 3 * 2**20
STEPS = ((768, 82), (768, 60), (512, 60), (384, 50), (256, 40))
"""Longest side in pixels and WebP quality, tried in turn until the picture is small enough."""


@dataclass(frozen=True, slots=True)
class Shown:
    """``data:`` URIs of the pictures, and how many had to be made smaller or left out."""

    pictures: tuple[str, ...]
    reduced: int = 0
    left_out: int = 0


def show(files: Sequence[Path], *, full: bool) -> Shown:
    """The pictures for the answer: as they are (``full``, as far as they fit), or as small copies."""
    left, pictures, reduced = FULL_TOGETHER if full else TOGETHER, [], 0
    for place, file in enumerate(files):
        uri = _whole(file, left) if full else None
        if uri is None:
            share = min(EACH, left // max(1, len(files) - place))
            uri = _small(file, share)
            reduced += full and uri is not None
        if uri is not None:
            pictures.append(uri)
            left -= len(uri)
    return Shown(tuple(pictures), reduced, len(files) - len(pictures))


def _whole(file: Path, most: int) -> str | None:
    from .kinds import look

    try:
        if file.stat().st_size * 4 // 3 > most:
            return None
        return _uri(look(file).mime, file.read_bytes())
    except OSError:
        return None


def _small(file: Path, most: int) -> str | None:
    """A WebP of the first frame with at most ``most`` bytes; None for what cannot be opened."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            shown = ImageOps.exif_transpose(image)
            mode = "RGBA" if "A" in shown.getbands() or "transparency" in shown.info else "RGB"
            shown = shown.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    for side, quality in STEPS:
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        shown.save(buffer, "WEBP", quality=quality)
        if buffer.tell() * 4 // 3 <= most:
            return _uri("image/webp", buffer.getvalue())
    return None


def _uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
