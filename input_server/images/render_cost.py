"""Estimate the memory that rendering a variant takes, and refuse what is too large.

Everything is calculated from the headers of the file; no pixels are decoded.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ..mounts.open_files import OpenFile
from . import containers
from .decode_cost import DECODING, STORED, WIDEST
from .source_image import (
    READ_BYTES,
    has_transparency,
    is_directly_resizable,
    open_image,
    reduce_factor,
    target_size,
    use_draft_size,
)
from .variant_request import VariantError, VariantRequest

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILE_BYTES = 64 * 2**20
MAX_SOURCE_PIXELS = 64_000_000
MAX_OUTPUT_PIXELS = 16_777_216
MAX_SCANS = 100
"""Of a progressive JPEG: each scan goes through all of its pixels. Programs write about ten."""
ENCODING = {"WEBP": (32, 40), "AVIF": (40, 48), "JPEG": (8, 8), "PNG": (8, 8)}
"""Bytes per pixel that an encoder allocates at most, without and with transparency, measured with
noise (Pillow 13)."""
MAX_TEXT_BYTES, MAX_TEXTS = 2**20, 64
"""Pillow's limits of one decompressed PNG text, and of all together in multiples of that
(``PngImagePlugin.MAX_TEXT_CHUNK`` and ``MAX_TEXT_MEMORY``)."""
MAX_RATIO = 1032
"""Largest ratio of deflate (RFC 1951)."""
BASELINE_MARKERS = (0xC0, 0xC1)
SOS_BYTES = b"\xff\xda"
TOO_LARGE = "This image is too large to be resized. Request the original file instead."
TOO_LARGE_OUTPUT = "The requested image would be too large. Request a smaller w or h."


class RenderCost(NamedTuple):
    """Bytes of memory at the peak: while decoding and scaling, and while encoding the result."""

    reading: int
    writing: int


def estimate(file: OpenFile, output: str, request: VariantRequest) -> RenderCost:
    """Return what a variant costs. ``output``: Pillow's name of the format.

    Raises VariantError for images that are too large or take too long to decode.
    """
    if file.kind == "image/webp":  # Pillow allocates the canvas when it opens one
        _check_webp_canvas(file)
    with open_image(file) as image:
        check_limits(image, file, request)
        return _cost(image, file, output, request)


def header_bytes(file: OpenFile) -> int:
    """Memory that opening an image takes at most: its file, and the decompressed texts of a PNG."""
    return file.size + (_max_text_bytes(file) if file.kind == "image/png" else 0)


def _check_webp_canvas(file: OpenFile) -> None:
    with suppress(struct.error):
        for name, start, _ in containers.webp_chunks(file.read):
            width, height = containers.webp_size(name, file.read(start, 10)) or (0, 0)
            if width * height > MAX_SOURCE_PIXELS:
                raise VariantError(TOO_LARGE, 413)
            if width:
                return


def check_limits(image: Image, file: OpenFile, request: VariantRequest) -> None:
    """Raise VariantError unless the image is small enough and has few enough scans."""
    if image.width * image.height > MAX_SOURCE_PIXELS:
        raise VariantError(TOO_LARGE, 413)
    if request.quality_only and getattr(image, "is_animated", False):
        raise VariantError("Animated images cannot be re-encoded.")
    width, height = target_size(image, request)
    if width * height > MAX_OUTPUT_PIXELS:
        raise VariantError(TOO_LARGE_OUTPUT, 413)
    is_progressive = image.format == "JPEG" and image.info.get("progressive")
    if is_progressive and _count_scans(file) > MAX_SCANS:
        raise VariantError("This JPEG has too many scans to be decoded.", 422)


def _cost(image: Image, file: OpenFile, output: str, request: VariantRequest) -> RenderCost:
    """Only the first frame is decoded. A JPEG is decoded at a fraction of its size, but a progressive
    one keeps all its coefficients until then. Changes the size that a JPEG will be decoded at.
    """
    source_pixels = image.width * image.height
    target = target_size(image, request)
    decoder = source_pixels * _decoder_bytes(image, file)
    use_draft_size(image, request)
    header = header_bytes(file)
    target_pixels = target[0] * target[1]
    encoder = ENCODING[output][has_transparency(image)]
    return RenderCost(
        header
        + image.width * image.height * STORED.get(image.mode, WIDEST)
        + max(decoder, _scaling_bytes(image, target)),
        # the decoder is freed by the first copy; without scaling there is none
        header
        + target_pixels * (2 * WIDEST + encoder)
        + (decoder if target_pixels == source_pixels else 0),
    )


def _decoder_bytes(image: Image, file: OpenFile) -> int:
    """Bytes per pixel that the decoder holds in addition to the decoded image."""
    if image.format == "GIF":  # the figure in DECODING is that of several frames
        return 0
    size = DECODING.get(image.format or "", 0)
    if image.format == "JPEG":  # coefficients: two bytes for each component
        return max(size, 2 * len(image.getbands())) if _is_buffered(file) else 0
    return size


def _scaling_bytes(image: Image, target: tuple[int, int]) -> int:
    """Bytes of the copies between the decoded image and the variant, both of them included."""
    factor = reduce_factor(image, target)
    reduced = image.width * image.height // factor**2
    is_copied = factor > 1 or not is_directly_resizable(image)
    copies = is_copied + has_transparency(image)  # Pillow premultiplies alpha in a copy
    rows = target[0] * image.height // factor
    return (copies * reduced + rows + target[0] * target[1]) * WIDEST


def _max_text_bytes(file: OpenFile) -> int:
    """Bytes that the texts and the color profile of a PNG can have once decompressed."""
    total = 0
    with suppress(struct.error):
        for name, _, length in containers.png_chunks(file.read):
            if name in (b"zTXt", b"iTXt", b"iCCP"):
                total += min(MAX_TEXT_BYTES, length * MAX_RATIO)
    return min(total, MAX_TEXTS * MAX_TEXT_BYTES)


def _is_buffered(file: OpenFile) -> bool:
    """Whether a JPEG must be read to its end before its first row is known: if it is not baseline, or
    its components are in separate scans (ITU-T T.81, B.2). Also True for a broken one.
    """
    components = 0
    with suppress(struct.error, ValueError, IndexError):
        for segment in containers.jpeg_segments(file.read):
            if segment.marker == containers.SOS:
                return file.read(segment.start, 1)[0] < components
            if segment.is_frame_header:
                if segment.marker not in BASELINE_MARKERS:
                    return True
                components = file.read(segment.start + 5, 1)[0]
    return True


def _count_scans(file: OpenFile) -> int:
    """Number of scans of a JPEG; the bytes of their marker cannot occur within compressed data."""
    count, tail = 0, b""
    for at in range(0, file.size, READ_BYTES):
        content = tail + file.read(at, READ_BYTES)
        count += content.count(SOS_BYTES)
        tail = content[-1:]
    return count
