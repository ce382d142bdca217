"""Render a variant of an image with Pillow, which is imported with the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..mounts.open_files import OpenFile
from . import bit_depth
from .encode import encode
from .formats import OUTPUT_FORMATS
from .memory import MemoryBudget, OverBudget
from .render_cost import MAX_FILE_BYTES, TOO_LARGE, TOO_LARGE_OUTPUT, estimate, header_bytes
from .source_image import (
    has_transparent_color,
    is_directly_resizable,
    open_image,
    orientation,
    reduce_factor,
    target_size,
    use_draft_size,
)
from .variant_request import VariantError, VariantRequest

if TYPE_CHECKING:
    from PIL.Image import Image

STRIP_PIXELS = 2**20
"""Pixels that are converted at a time."""
TRANSPOSE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation -> Pillow's Transpose."""


def render(file: OpenFile, output: str, request: VariantRequest, memory: MemoryBudget) -> bytes:
    """Return the encoded variant. ``output``: Pillow's name of the format.

    A long strip becomes as long as the format can hold. Blocks until its share of ``memory`` is free.
    Raises VariantError.
    """
    request = request.within(OUTPUT_FORMATS[output.lower()].max_side)
    if file.size > MAX_FILE_BYTES:
        raise VariantError(TOO_LARGE, 413)
    try:
        with memory.reserve(header_bytes(file)):
            cost = estimate(file, output, request)
        if cost.writing > memory.total:
            raise VariantError(TOO_LARGE_OUTPUT, 413)
        with memory.reserve(max(cost)):
            return encode(_scaled(file, request), output, request.quality)
    except VariantError:
        raise
    except (OverBudget, MemoryError):
        raise VariantError(TOO_LARGE, 413) from None
    except Exception:  # Pillow's decoders raise almost anything for broken files
        raise VariantError("This image is damaged and cannot be decoded.", 422) from None


def _scaled(file: OpenFile, request: VariantRequest) -> Image:
    """Decode and scale an image and apply its orientation. The full-size image is freed on return."""
    from PIL import Image as PillowImage

    with open_image(file) as image:
        target = target_size(image, request)
        turn = orientation(image)
        use_draft_size(image, request)
        image.load()
        factor = reduce_factor(image, target)
        scaled = _reduced(image, factor)
        if scaled.size != target:
            box = (0.0, 0.0, image.width / factor, image.height / factor)
            scaled = scaled.resize(target, PillowImage.Resampling.LANCZOS, box=box)
        if turn in TRANSPOSE:
            scaled = scaled.transpose(PillowImage.Transpose(TRANSPOSE[turn]))
        scaled.info = {"icc_profile": image.info.get("icc_profile")}
        return scaled


def _reduced(image: Image, factor: int) -> Image:
    """Return the image in eight bits, reduced by ``factor``. Works in strips, to hold no second copy of
    a large image.
    """
    from PIL import Image as PillowImage

    if factor == 1 and is_directly_resizable(image):
        return image
    size = -(-image.width // factor), -(-image.height // factor)
    found = bit_depth.levels(image) if bit_depth.is_deep(image) else None
    reduced = PillowImage.new(_to_eight_bits(image.crop((0, 0, 1, 1)), found).mode, size)
    rows = factor * max(1, STRIP_PIXELS // (factor * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = _to_eight_bits(strip, found)
        reduced.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return reduced


def _to_eight_bits(image: Image, found: bit_depth.Levels | None) -> Image:
    """Return a strip in a mode that Pillow can resize. ``found``: the levels of a deep image."""
    if found is not None:
        return bit_depth.to_eight_bits(image, found)
    if has_transparent_color(image) or image.mode == "PA":
        return image.convert("RGBA")
    if image.mode in ("1", "P"):
        return image.convert("L" if image.mode == "1" else "RGB")
    return image
