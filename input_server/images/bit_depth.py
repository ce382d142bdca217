"""Reduce images of more than eight bits per pixel, which Pillow's ``convert`` would clip instead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE_16 = 65_535
"""The largest value of 16 bits."""
_BRIGHT = 16.0
"""A float image whose highest value is above 1 and not above this has highlights brighter than white;
others count to 255 or 65535."""


class Levels(NamedTuple):
    """The values of an image that become black and white."""

    black: float
    white: float


def is_deep(image: Image) -> bool:
    """Whether the pixels are floats or integers of more than eight bits (Pillow's modes ``F``, ``I`` and
    ``I;16…``).
    """
    return image.mode.startswith(("I", "F"))


def levels(image: Image) -> Levels:
    """Return the range of a deep image: that of its type, or wider if its values are."""
    direct = image.mode in ("I", "I;16", "F")  # the modes of Pillow's getextrema
    low, high = (image if direct else image.convert("I")).getextrema()
    if not (isinstance(low, (int, float)) and isinstance(high, (int, float))):
        return Levels(0, WHITE_16)
    black = min(0, low) if math.isfinite(low) else 0
    if image.mode != "F":
        return Levels(black, max(WHITE_16, high))
    if not math.isfinite(high):
        return Levels(black, 1.0)
    usual = (1.0, high if high <= _BRIGHT else 255.0, 255.0, float(WHITE_16), high)
    return Levels(black, next(white for white in usual if high <= white))


def to_eight_bits(image: Image, found: Levels | None = None) -> Image:
    """Return a deep image in mode ``L``. ``found``: the levels of the image of which it is a part."""
    black, white = found or levels(image)
    if image.mode == "F":
        scale = 255 / (white - black)
    else:
        image, scale = image.convert("I"), 256 / (white - black + 1)
    return image.point(lambda level: level * scale + -black * scale).convert("L")
