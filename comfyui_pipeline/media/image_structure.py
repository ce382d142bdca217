"""Whether a file has the image data that its head promises, read without decoding anything.

For formats that no decoder is at hand for, and for images that are too large to be decoded. Every
function reads a seekable file, never raises for broken content, and keeps to constant memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO

from input_server.light_dataclasses import dataclass

BLOCK = 2**18
MOST_STEPS = 100_000
"""Chunks, boxes, directory entries or strips that are looked at."""


@dataclass(frozen=True, slots=True)
class Gif:
    """What the blocks of a GIF say. ``width`` and ``height`` hold every frame, as decoders widen
    their canvas for one that reaches beyond it. ``ended``: the trailer is there.
    """

    width: int
    height: int
    frames: int
    ended: bool


def gif(file: BinaryIO, most_frames: int) -> Gif:
    """Count the frames of a GIF, at most ``most_frames`` (GIF89a specification, 17 to 27)."""
    file.seek(0)
    head = file.read(13)
    if len(head) < 13:
        return Gif(0, 0, 0, False)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    file.seek(_palette(flags), 1)
    frames = 0
    while frames < most_frames:
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
    """Width and height of a WebP, which a decoder sets aside before it is asked (RFC 9649, 2)."""
    file.seek(0)
    head = file.read(30)
    kind, body = head[12:16], head[20:]
    if kind == b"VP8X" and len(body) >= 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        wide, high = struct.unpack("<HH", body[6:10])
        return wide & 0x3FFF, high & 0x3FFF
    return None


# -- complete or not -------------------------------------------------------------------------------


def is_complete(form: str, file: BinaryIO) -> bool:
    """Whether an image of a usual format reaches its end, by its structure alone."""
    check = COMPLETE.get(form)
    try:
        return check is None or check(file)
    except (struct.error, OSError, ValueError, IndexError, zlib.error):
        return False


def _png(file: BinaryIO) -> bool:
    """Every chunk with its checksum, and as many rows as the head says (PNG, 3rd edition, 5 and 9)."""
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
    """Chunks, those of image data in pieces. Raises ValueError for a wrong checksum."""
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
            raise ValueError("a chunk is cut off or damaged")
        if name == b"IEND":
            yield name, b""
            return


MOST_TEXT = 2**20
"""Bytes of one text that Pillow takes (PngImagePlugin.MAX_TEXT_CHUNK); ComfyUI takes more."""
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})


def png_without_texts(content: bytes) -> bytes:
    """The same PNG without its texts, where one is long or packed; else the very same bytes."""
    at, kept, dropped, long = 8, [content[:8]], 0, False
    for _ in range(MOST_STEPS):
        size, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if len(name) < 4 or at + 12 + size > len(content):
            break
        if name in TEXTS:
            dropped += size
            long = long or size > MOST_TEXT or (name != b"tEXt" and size > 1000)
        else:
            kept.append(content[at : at + 12 + size])
        at += 12 + size
    if not (long or dropped > 32 * MOST_TEXT):
        return content
    return b"".join([*kept, content[at:]])


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
    """Bytes of all rows with their filter bytes."""
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
    """A scan, and the mark of the end in the last bytes (ITU T.81, B.1.1)."""
    return jpeg_has_scan(file) and b"\xff\xd9" in _tail(file, BLOCK)


def jpeg_has_scan(file: BinaryIO) -> bool:
    """Whether a scan begins and has data: a header alone shows nothing."""
    file.seek(2)
    for _ in range(MOST_STEPS):
        mark = file.read(2)
        if len(mark) < 2 or mark[0] != 0xFF:
            return False
        if mark[1] == 0xFF:
            file.seek(-1, 1)
            continue
        length = int.from_bytes(file.read(2), "big")
        if mark[1] == 0xDA:
            file.seek(length - 2, 1)
            data = file.read(16)
            return len(data) > 2 and not data.startswith(b"\xff\xd9")
        file.seek(max(0, length - 2), 1)
    return False


def _webp(file: BinaryIO) -> bool:
    file.seek(4)
    promised = int.from_bytes(file.read(4), "little") + 8
    return promised > 20 and file.seek(0, 2) >= promised


def _gif_complete(file: BinaryIO) -> bool:
    found = gif(file, MOST_STEPS)
    return found.frames > 0 and (found.ended or found.frames == MOST_STEPS)


def _bmp(file: BinaryIO) -> bool:
    """Uncompressed rows are all there (BITMAPINFOHEADER)."""
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
    """Whether a TIFF, PSD, EXR, AVIF or HEIC holds image data behind its head; True for others."""
    check = DATA.get(form)
    try:
        return check is None or check(file)
    except (struct.error, OSError, ValueError, IndexError, OverflowError):
        return False


def _tiff(file: BinaryIO) -> bool:
    """The first directory names strips or tiles that lie inside the file (TIFF 6.0, 8; BigTIFF)."""
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
    for _ in range(min(count, MOST_STEPS)):
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
    count = min(count, MOST_STEPS)
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
    for _ in range(MOST_STEPS):
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
            raise ValueError("no attribute name is so long")
    return text


def _iso(file: BinaryIO) -> bool:
    """A description of items or tracks, and data that lies in the file (ISO/IEC 14496-12, 23008-12)."""
    end = file.seek(0, 2)
    start, names, data = 0, set(), 0
    for _ in range(MOST_STEPS):
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
