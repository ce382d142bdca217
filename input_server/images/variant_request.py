"""Parse which variant of an image a query asks for: ``?w=``, ``?h=``, ``?fmt=`` and ``?q=``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .formats import HEIF_TYPES, OUTPUT_FORMATS

MAX_SIDE = 8192
SIDE_STEPS = (160, 320, 640, 1280, 2048)
QUALITY_STEPS = (50, 75, 90)
"""Values available through a signed link. Its signature does not cover the query, so without steps
its holder could have thousands of variants of one file rendered. The gallery uses 320 and 2048."""
THUMBNAIL_SIDE = 480
"""Longest side of a thumbnail in pixels."""
DEFAULT_QUALITY = {"WEBP": (72, 84), "JPEG": (74, 86), "AVIF": (50, 62)}
"""Quality for ``q=auto`` and without ``q``: of thumbnails, and of larger images. By Pillow's name of
the format.

The cache key of a variant contains None for it (``variants._key``), not the number. After a change
here, variants cached earlier are served with the old quality and the same ETag until the cache folder
is deleted.
"""


class VariantError(Exception):
    """The requested variant cannot be produced; the text is for the client, with an HTTP ``status``."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class VariantRequest:
    """A requested variant: maximum sides in pixels, and a key of ``OUTPUT_FORMATS``.

    ``format``: None chooses one by the original (``choose_format``). ``quality``: 1 to 100; None
    chooses one by the size. ``lossy``: a quality was requested, so the result may be lossy.
    ``error``: why the query is invalid.
    """

    width: int | None = None
    height: int | None = None
    format: str | None = None
    quality: int | None = None
    lossy: bool = False
    error: str = ""

    @property
    def quality_only(self) -> bool:
        """Whether the original may be returned if no smaller variant can be produced."""
        return self.lossy and (self.width, self.height, self.format) == (None, None, None)

    def within(self, side: int) -> VariantRequest:
        """The request with no side above ``side``; unchanged if only a quality is requested."""
        if self.quality_only:
            return self
        return replace(
            self, width=min(self.width or side, side), height=min(self.height or side, side)
        )

    @property
    def rounded(self) -> VariantRequest:
        """The request with sides and quality rounded to the nearest step; ties round up."""
        return replace(
            self,
            width=_nearest(self.width, SIDE_STEPS),
            height=_nearest(self.height, SIDE_STEPS),
            quality=_nearest(self.quality, QUALITY_STEPS),
        )


def _nearest(value: int | None, steps: Sequence[int]) -> int | None:
    if value is None:
        return None
    return min(steps, key=lambda step: (abs(step - value), -step))


def parse_variant_request(query: Mapping[str, str]) -> VariantRequest | None:
    """Return the variant that a query requests; None for the original. ``quality`` is an alias of
    ``q``.
    """
    if not query.keys() & {"w", "h", "fmt", "q", "quality"}:
        return None
    quality = query.get("q", query.get("quality", "auto")).lower()
    output = query.get("fmt", "").lower() or None
    width, height = _parse_side(query.get("w", "")), _parse_side(query.get("h", ""))
    if output is not None and output not in OUTPUT_FORMATS:
        return VariantRequest(error="fmt must be webp, jpeg, png or avif.")
    if 0 in (width, height):
        return VariantRequest(error=f"w and h must be from 1 to {MAX_SIDE}.")
    if quality != "auto" and not (
        quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100
    ):
        return VariantRequest(error="q must be from 1 to 100, or auto.")
    lossy = bool(query.keys() & {"q", "quality"})
    return VariantRequest(width, height, output, None if quality == "auto" else int(quality), lossy)


def _parse_side(text: str) -> int | None:
    """Pixels; None for no limit, 0 for an invalid value."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        return 0
    return int(text) if int(text) <= MAX_SIDE else 0


def choose_format(mime: str, request: VariantRequest) -> str:
    """Return the requested format, else one that suits an original of that MIME type.

    A lossless original becomes WebP if a quality was requested: it looks better than JPEG.
    """
    if request.format:
        return "jpeg" if request.format == "jpg" else request.format
    original = mime.partition("/")[2]
    if original in ("jpeg", "webp", "avif"):
        return original
    if mime in HEIF_TYPES:
        return "jpeg"
    return "webp" if request.lossy else "png"
