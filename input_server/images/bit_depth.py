"""Reduce images of more than eight bits per pixel, which Pillow's ``convert`` would clip instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE_16 = 65_535
"""The largest value of 16 bits."""


def is_deep(image: Image) -> bool:
    """Whether the pixels are integers of more than eight bits (Pillow's modes ``I`` and ``I;16…``)."""
    return image.mode.startswith("I")


def to_eight_bits(image: Image, white: int = WHITE_16) -> Image:
    """Return a deep image in mode ``L``. ``white``: the value that becomes 255."""
    scale = 256 / (white + 1)
    return image.convert("I").point(lambda level: level * scale).convert("L")
