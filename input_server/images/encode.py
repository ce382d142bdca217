"""Encode an image as WebP, JPEG, AVIF or PNG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from .variant_request import DEFAULT_QUALITY, THUMBNAIL_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image


def encode(image: Image, output: str, quality: int | None) -> bytes:
    """Return the encoded file, without EXIF. ``output``: Pillow's name of the format.

    ``quality``: 1 to 100, None for ``DEFAULT_QUALITY``. A PNG of quality below 100 is reduced to a palette.
    """
    converted = _converted(image, output)
    options: dict[str, Any] = {}
    if output in DEFAULT_QUALITY:
        small, large = DEFAULT_QUALITY[output]
        default = small if max(converted.size) <= THUMBNAIL_SIDE else large
        options["quality"] = quality or default
    if output == "JPEG":
        options |= {"optimize": True, "progressive": True}
    elif output == "PNG":
        options["optimize"] = True
        if quality is not None and quality < 100:
            converted = converted.quantize(max(8, quality * 256 // 100))
    options["icc_profile"] = _color_profile(image, converted)
    converted.info.pop("exif", None)
    buffer = BytesIO()
    converted.save(buffer, output, **options)
    return buffer.getvalue()


def _converted(image: Image, output: str) -> Image:
    """Return the image in a mode that the format can hold; a JPEG has no transparency."""
    has_alpha = "A" in image.getbands()
    if output == "JPEG":
        return _on_white(image) if has_alpha else image.convert("RGB")
    if image.mode in ("RGB", "RGBA", "L"):
        return image
    return image.convert("RGBA" if has_alpha else "RGB")


def _color_profile(image: Image, converted: Image) -> bytes | None:
    """The ICC profile of the original if it fits the mode (ICC.1:2022, 7.2: color space at byte 16)."""
    profile: bytes = image.info.get("icc_profile") or b""
    color_space = b"GRAY" if converted.mode == "L" else b"RGB "
    return profile if profile[16:20] == color_space else None


def _on_white(image: Image) -> Image:
    from PIL import Image as PillowImage

    layer = image.convert("RGBA")
    background = PillowImage.new("RGBA", layer.size, (255, 255, 255, 255))
    return PillowImage.alpha_composite(background, layer).convert("RGB")
