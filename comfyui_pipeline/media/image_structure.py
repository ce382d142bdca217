"""Check the structure of image files without decoding them.

For formats without a decoder, and for images that are too large to decode. Every function reads a
seekable file in constant memory and does not raise for broken content.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO

from input_server.images import containers
from input_server.light_dataclasses import dataclass

BLOCK = 2**18
"""Bytes that are read at once."""
MAX_STEPS = 100_000
"""Chunks, boxes, directory entries or strips that are read."""
_END_OF_IMAGE = b"\xff\xd9"  # ITU-T T.81, table B.1


@dataclass(frozen=True, slots=True)
class Gif:
    """Size and frames of a GIF. ``width`` and ``height`` contain every frame, as decoders enlarge
    their canvas for a frame that reaches beyond it. ``ended``: the trailer was found.
    """

    width: int
    height: int
    frames: int
    ended: bool


def gif(file: BinaryIO, max_frames: int) -> Gif:
    """Return size and number of frames of a GIF, at most ``max_frames`` (GIF89a specification, 17 to 27)."""
    file.seek(0)
    head = file.read(13)
    if len(head) < 13:
        return Gif(0, 0, 0, False)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    file.seek(_palette(flags), 1)
    frames = 0
    while frames < max_frames:
        mark = file.read(1)
        if mark == b"!":
            file.seek(1, 1)
        elif mark == b",":
            frame = file.read(9)
            if len(frame) < 9:
                break
            left, top, wide, high, flags = struct.unpack("<HHHHB", frame)
            file.seek(_palette(flags) + 1, 1)
            width, height = max(width, left + wide), max(height, top + high)
            if not _skip_blocks(file):
                break
            frames += 1
            continue
        else:
            return Gif(width, height, frames, mark == b";")
        if not _skip_blocks(file):
            break
    return Gif(width, height, frames, False)


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(file: BinaryIO) -> bool:
    while size := file.read(1):
        if size == b"\0":
            return True
        if len(file.read(size[0])) < size[0]:
            return False
    return False


def webp_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return width and height of a WebP in pixels; None when its header is broken."""
    file.seek(0)
    head = file.read(30)
    return containers.webp_size(head[12:16], head[20:30])


# -- complete or not -------------------------------------------------------------------------------


def is_complete(form: str, file: BinaryIO) -> bool:
    """Return whether a PNG, JPEG, WebP, GIF or BMP is complete by its structure; True for others."""
    check = COMPLETE.get(form)
    try:
        return check is None or check(file)
    except (struct.error, OSError, ValueError, IndexError, zlib.error):
        return False


def _png(file: BinaryIO) -> bool:
    """Every chunk has its checksum, and the rows are as many as IHDR says (PNG 3rd edition, 5, 9)."""
    rows = 0
    left = None
    inflate = zlib.decompressobj()
    for name, data in _png_chunks(file):
        if name == b"IHDR":
            left = _png_bytes(data)
        elif name == b"IDAT":
            while data and not inflate.eof:
                rows += len(inflate.decompress(data, BLOCK))
                data = inflate.unconsumed_tail
        elif name == b"IEND":
            return left is not None and rows >= left
    return False


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The chunks, large ones in pieces. Raises ValueError for a wrong checksum."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        left, name = struct.unpack(">I4s", head)
        check = zlib.crc32(name)
        while left > 0 or name == b"IEND":
            data = file.read(min(left, BLOCK))
            check = zlib.crc32(data, check)
            left -= len(data)
            if name == b"IEND" or not data:
                break
            yield name, data
        if left or file.read(4) != struct.pack(">I", check):
            raise ValueError("a chunk is cut off or broken")
        if name == b"IEND":
            yield name, b""
            return


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def _png_bytes(head: bytes) -> int:
    """Bytes of all rows including their filter bytes, from the content of IHDR."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", head[:13])
    bits = depth * CHANNELS.get(color, 0)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, right, down in passes:
        wide, high = -(-(width - left) // right), -(-(height - top) // down)
        if wide > 0 and high > 0:
            total += high * (1 + -(-wide * bits // 8))
    return total


def _jpeg(file: BinaryIO) -> bool:
    """It has a scan, and the end marker near its end (ITU-T T.81, B.1.1)."""
    return jpeg_has_scan(file) and _END_OF_IMAGE in _tail(file, BLOCK)


def jpeg_has_scan(file: BinaryIO) -> bool:
    """Return whether a JPEG has a scan with data, and not only a header."""

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    try:
        for segment in containers.jpeg_segments(read):
            if segment.marker == containers.SOS:
                data = read(segment.start + segment.length, 16)
                return len(data) > 2 and not data.startswith(_END_OF_IMAGE)
    except (struct.error, ValueError):
        return False
    return False


def _webp(file: BinaryIO) -> bool:
    file.seek(4)
    promised = int.from_bytes(file.read(4), "little") + 8
    return promised > 20 and file.seek(0, 2) >= promised


def _gif_complete(file: BinaryIO) -> bool:
    found = gif(file, MAX_STEPS)
    return found.frames > 0 and (found.ended or found.frames == MAX_STEPS)


def _bmp(file: BinaryIO) -> bool:
    """All rows of an uncompressed BMP are present (BITMAPINFOHEADER)."""
    file.seek(0)
    head = file.read(34)
    start = int.from_bytes(head[10:14], "little")
    width, height = struct.unpack("<ii", head[18:26])
    bits, compressed = struct.unpack("<HI", head[28:34])
    rows = abs(height) * (-(-abs(width) * bits // 32) * 4)
    end = file.seek(0, 2)
    return end > start if compressed not in (0, 3) else end >= start + rows


def _tail(file: BinaryIO, size: int) -> bytes:
    end = file.seek(0, 2)
    file.seek(max(0, end - size))
    return file.read(size)


COMPLETE: Mapping[str, Callable[[BinaryIO], bool]] = MappingProxyType(
    {"png": _png, "jpeg": _jpeg, "webp": _webp, "gif": _gif_complete, "bmp": _bmp}
)


# -- any image data at all -------------------------------------------------------------------------


def has_image_data(form: str, file: BinaryIO) -> bool:
    """Return whether a TIFF, PSD, EXR, AVIF or HEIC has image data after its header; True for others."""
    check = DATA.get(form)
    try:
        return check is None or check(file)
    except (struct.error, OSError, ValueError, IndexError, OverflowError):
        return False


def _tiff(file: BinaryIO) -> bool:
    """The first directory names strips or tiles inside the file (TIFF 6.0, 8; BigTIFF)."""
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    start = (
        struct.unpack(f"{order}Q", head[8:16])[0]
        if big
        else struct.unpack(f"{order}I", head[4:8])[0]
    )
    file.seek(start)
    count = (
        struct.unpack(f"{order}Q", file.read(8))[0]
        if big
        else struct.unpack(f"{order}H", file.read(2))[0]
    )
    form, size = (f"{order}HHQ8s", 20) if big else (f"{order}HHI4s", 12)
    entries = {}
    for _ in range(min(count, MAX_STEPS)):
        tag, kind, values, inline = struct.unpack(form, file.read(size))
        entries[tag] = (kind, values, inline)
    for offsets, lengths in ((273, 279), (324, 325)):
        if offsets in entries and lengths in entries:
            starts = _tiff_values(file, order, big, entries[offsets])
            sizes = _tiff_values(file, order, big, entries[lengths])
            inside = [a + b <= end and b > 0 for a, b in zip(starts, sizes, strict=False)]
            return bool(inside) and inside[0]
    return False


def _tiff_values(file: BinaryIO, order: str, big: bool, entry: tuple[int, int, bytes]) -> list[int]:
    kind, count, inline = entry
    letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}[kind]
    count = min(count, MAX_STEPS)
    length = struct.calcsize(letter) * count
    if length > len(inline):
        file.seek(struct.unpack(f"{order}{'Q' if big else 'I'}", inline)[0])
        inline = file.read(length)
    return list(struct.unpack(f"{order}{count}{letter}", inline[:length]))


def _psd(file: BinaryIO) -> bool:
    """Three sections with their lengths, then the merged image or layers (PSD file format)."""
    end = file.seek(0, 2)
    file.seek(26)
    lengths = []
    for _ in range(3):
        lengths.append(struct.unpack(">I", file.read(4))[0])
        file.seek(lengths[-1], 1)
    return file.tell() + 2 < end or (lengths[2] > 16 and file.tell() <= end)


def _exr(file: BinaryIO) -> bool:
    """Attributes up to an empty name, then a table of offsets and pixels (OpenEXR file layout)."""
    end = file.seek(0, 2)
    file.seek(8)
    for _ in range(MAX_STEPS):
        name = _text(file)
        if not name:
            return file.tell() + 16 < end
        _text(file)
        file.seek(struct.unpack("<I", file.read(4))[0], 1)
    return False


def _text(file: BinaryIO) -> bytes:
    text = b""
    while (letter := file.read(1)) not in (b"", b"\0"):
        text += letter
        if len(text) > 255:
            raise ValueError("the attribute name is too long")
    return text


def _iso(file: BinaryIO) -> bool:
    """It describes items or tracks and contains their data (ISO/IEC 14496-12, 23008-12)."""
    end = file.seek(0, 2)
    start, names, data = 0, set(), 0
    for _ in range(MAX_STEPS):
        if start + 8 > end:
            break
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        elif size == 0:
            size = end - start
        if size < head:
            break
        names.add(name)
        if name == b"mdat":
            data += max(0, min(start + size, end) - start - head)
        elif name == b"meta":
            file.seek(start + head)
            data += b"idat" in file.read(min(size, BLOCK))
        start += size
    return data > 0 and bool(names & {b"meta", b"moov"})


DATA: Mapping[str, Callable[[BinaryIO], bool]] = MappingProxyType(
    {"tiff": _tiff, "psd": _psd, "exr": _exr, "avif": _iso, "heic": _iso}
)
