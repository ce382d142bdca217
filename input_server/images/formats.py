"""Image formats that can be read, and those that variants are written in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple


class OutputFormat(NamedTuple):
    """``pillow``: Pillow's name; ``suffix`` begins with a dot; ``max_side``: the most pixels in a row or
    column that the format or its encoder can take.
    """

    pillow: str
    mime: str
    suffix: str
    max_side: int


OUTPUT_FORMATS: Mapping[str, OutputFormat] = MappingProxyType(
    {
        "webp": OutputFormat("WEBP", "image/webp", ".webp", 16_383),
        "jpeg": OutputFormat("JPEG", "image/jpeg", ".jpg", 65_500),
        "jpg": OutputFormat("JPEG", "image/jpeg", ".jpg", 65_500),
        "png": OutputFormat("PNG", "image/png", ".png", 2**31 - 1),
        "avif": OutputFormat("AVIF", "image/avif", ".avif", 65_536),
    }
)
"""By the value of ``?fmt=``."""
PILLOW_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "image/png": "PNG",
        "image/jpeg": "JPEG",
        "image/webp": "WEBP",
        "image/gif": "GIF",
        "image/bmp": "BMP",
        "image/tiff": "TIFF",
        "image/avif": "AVIF",
    }
)
"""MIME type -> Pillow's name of the format that may decode it."""
HEIF_TYPES = ("image/heic", "image/heif")
"""Readable if pillow-heif is installed."""


@cache
def readable_types() -> Mapping[str, str]:
    """MIME types that can be decoded on this machine -> Pillow's name of the format."""
    heif = HEIF_TYPES if find_spec("pillow_heif") else ()
    return {**PILLOW_TYPES, **dict.fromkeys(heif, "HEIF")}
