"""Image formats that can be read, and those that variants are written in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple


class OutputFormat(NamedTuple):
    """``pillow``: Pillow's name; ``suffix`` begins with a dot."""

    pillow: str
    mime: str
    suffix: str


OUTPUT_FORMATS: Mapping[str, OutputFormat] = MappingProxyType(
    {
        "webp": OutputFormat("WEBP", "image/webp", ".webp"),
        "jpeg": OutputFormat("JPEG", "image/jpeg", ".jpg"),
        "jpg": OutputFormat("JPEG", "image/jpeg", ".jpg"),
        "png": OutputFormat("PNG", "image/png", ".png"),
        "avif": OutputFormat("AVIF", "image/avif", ".avif"),
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
