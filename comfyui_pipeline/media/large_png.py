"""Reduce a PNG that is too large to be decoded as a whole: it is decoded in bands of rows.

A band becomes a PNG of its own. Its rows stay filtered as they are; the row above, which their
filters may refer to (PNG 3rd edition, 9.2), comes first and unfiltered.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from input_server.images import containers
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Color type -> bytes of a pixel with 8 bits per channel (PNG 3rd edition, table 8)."""
BAND_BYTES = 4 * 2**20
"""Filtered bytes of one band."""
WORKING_BYTES = 12 * BAND_BYTES
"""Memory beside the reduced image: a band as text, PNG, image and copies of these."""
_KEPT = frozenset({b"PLTE", b"tRNS"})
_PART = 64 * 1024
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the chunks before the pixels say. ``data``: start and length of each part of the pixels."""

    width: int
    height: int
    color_type: int
    colors: bytes
    exif: bytes
    data: tuple[tuple[int, int], ...]

    @property
    def row_bytes(self) -> int:
        """A row with the byte that names its filter."""
        return self.width * CHANNELS[self.color_type] + 1


def is_reducible(content: bytes) -> bool:
    """Whether ``reduced_png`` can read a PNG: 8 bits per channel, not interlaced."""
    return _layout(content) is not None


def reduced_png(content: bytes, max_side: int) -> bytes | None:
    """Return the image at a whole fraction of its size, with sides of at least ``max_side`` pixels.

    None for a file that is broken, interlaced, has no 8 bits per channel, or would not get smaller.
    """
    layout = _layout(content)
    if layout is None:
        return None
    factor = max(layout.width, layout.height) // (2 * max_side)
    if factor < 2:
        return None
    smaller = _reduced(content, layout, factor)
    if smaller is None:
        return None
    buffer = BytesIO()
    smaller.save(buffer, "PNG", compress_level=1, exif=layout.exif)
    return buffer.getvalue()


def _layout(content: bytes) -> _Layout | None:
    head: tuple[int, ...] = ()
    kept: dict[bytes, bytes] = {}
    data: list[tuple[int, int]] = []
    try:
        for chunk in containers.png_chunks(containers.bytes_reader(content)):
            if chunk.name == b"IHDR":
                head = struct.unpack_from(">IIBBBBB", content, chunk.start)
            elif chunk.name == b"IDAT":
                data.append((chunk.start, chunk.length))
            elif chunk.name in _KEPT or chunk.name == b"eXIf":
                kept[chunk.name] = content[chunk.start : chunk.start + chunk.length]
    except struct.error:
        return None
    if not head or head[2] != 8 or head[3] not in CHANNELS or head[6] or 0 in head[:2]:
        return None
    colors = b"".join(
        containers.png_chunk(name, kept[name]) for name in (b"PLTE", b"tRNS") if name in kept
    )
    width, height, _, color_type, *_ = head
    return _Layout(width, height, color_type, colors, kept.get(b"eXIf", b""), tuple(data))


def _reduced(content: bytes, layout: _Layout, factor: int) -> Image | None:
    from PIL import Image

    rows = max(1, BAND_BYTES // (layout.row_bytes * factor)) * factor
    above, top = b"", 0
    result: Image.Image | None = None
    for band in _bands(content, layout, rows):
        image = _decoded(layout, above, band)
        first = 1 if above else 0
        above = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
        part = _plain(image.crop((0, first, image.width, image.height)), image).reduce(factor)
        if result is None:
            result = Image.new(part.mode, (part.width, -(-layout.height // factor)))
        result.paste(part, (0, top))
        top += part.height
    return result if result is not None and top == result.height else None


def _bands(content: bytes, layout: _Layout, rows: int) -> Iterator[bytes]:
    """The filtered rows, ``rows`` at a time; fewer than the image has where the file is cut off."""
    inflate = zlib.decompressobj()
    left, size = layout.height * layout.row_bytes, rows * layout.row_bytes
    band = bytearray()
    try:
        for packed in _packed_parts(content, layout):
            while packed and left > 0:
                piece = inflate.decompress(packed, min(left, size - len(band)))
                packed = inflate.unconsumed_tail
                band += piece
                left -= len(piece)
                if len(band) == size or (left == 0 and band):
                    yield bytes(band)
                    band.clear()
                if not piece:
                    break
    except zlib.error:
        return


def _packed_parts(content: bytes, layout: _Layout) -> Iterator[bytes]:
    """The compressed pixels in short parts: what ``zlib`` leaves of one is copied each time."""
    for start, length in layout.data:
        for at in range(start, start + length, _PART):
            yield content[at : min(at + _PART, start + length)]


def _decoded(layout: _Layout, above: bytes, band: bytes) -> Image:
    from PIL.PngImagePlugin import PngImageFile

    pixels = b"\0" + above + band if above else band
    height = len(pixels) // layout.row_bytes
    head = struct.pack(">IIBBBBB", layout.width, height, 8, layout.color_type, 0, 0, 0)
    parts = (
        _SIGNATURE,
        containers.png_chunk(b"IHDR", head),
        layout.colors,
        containers.png_chunk(b"IDAT", zlib.compress(pixels, 0)),
        containers.png_chunk(b"IEND", b""),
    )
    image = PngImageFile(BytesIO(b"".join(parts)))
    image.load()
    return image


def _plain(part: Image, whole: Image) -> Image:
    """The part in a mode whose pixels can be averaged."""
    if whole.mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in whole.info:
        return part
    part.info.update(whole.info)
    return part.convert("RGBA" if "transparency" in whole.info else "RGB")
