"""Walk the chunks of PNG and WebP files and the segments of JPEG files without decoding pixels.

Files are read through a function ``read(offset, length)``, so that large ones need not be in memory.
Imports little: the command-line plugin uses it as well.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_CHUNKS = 16_384
"""Chunks read per file; an image of 64 MB in chunks of 8 kB has half as many."""
MAX_SEGMENTS = 512
"""Segments of up to 64 kB before the pixels of a JPEG."""
SOS = 0xDA
"""JPEG marker: start of scan. Compressed pixels follow."""
APP1 = 0xE1
"""JPEG marker: application data, such as EXIF."""

Read = Callable[[int, int], bytes]
"""Returns up to ``length`` bytes from ``offset``; fewer at the end of the file."""


class Chunk(NamedTuple):
    """A chunk of a PNG or WebP: its four-letter name, and where its content starts, in bytes."""

    name: bytes
    start: int
    length: int


class Segment(NamedTuple):
    """A JPEG segment. ``marker``: its second byte; ``start`` and ``length`` of its content."""

    marker: int
    start: int
    length: int

    @property
    def is_frame_header(self) -> bool:
        """Whether it is one of SOF0 to SOF15, which hold the size (ITU-T T.81, table B.1)."""
        return 0xC0 <= self.marker <= 0xCF and self.marker not in (0xC4, 0xC8, 0xCC)


def bytes_reader(content: bytes) -> Read:
    """A ``Read`` of bytes in memory."""
    return lambda offset, length: content[offset : offset + length]


def png_chunks(read: Read) -> Iterator[Chunk]:
    """The chunks of a PNG, including IEND (PNG 3rd edition, 5.3).

    Raises struct.error where the file ends before IEND.
    """
    at = 8
    for _ in range(MAX_CHUNKS):
        length, name = struct.unpack(">I4s", read(at, 8))
        yield Chunk(name, at + 8, length)
        if name == b"IEND":
            return
        at += 12 + length


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its checksum (PNG 3rd edition, 5.3)."""
    check = zlib.crc32(data, zlib.crc32(name))
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def webp_chunks(read: Read) -> Iterator[Chunk]:
    """The RIFF chunks of a WebP (RFC 9649, 2.3). Raises struct.error where the file is cut off."""
    at, end = 12, 8 + int.from_bytes(read(4, 4), "little")
    for _ in range(MAX_CHUNKS):
        head = read(at, 8)
        if not head and at >= end:
            return
        name, length = struct.unpack("<4sI", head)
        yield Chunk(name, at + 8, length)
        at += 8 + length + length % 2


def jpeg_segments(read: Read) -> Iterator[Segment]:
    """The segments of a JPEG up to its first SOS (ITU-T T.81, B.1.1).

    Raises struct.error where the file ends before, ValueError where a marker is missing.
    """
    at = 2
    for _ in range(MAX_SEGMENTS):
        prefix, marker, length = struct.unpack(">BBH", read(at, 4))
        if prefix != 0xFF:
            raise ValueError("not a JPEG marker")
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
            continue
        yield Segment(marker, at + 4, length - 2)
        if marker == SOS:
            return
        at += 2 + length


def webp_size(name: bytes, head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, from the first ten bytes of a chunk (RFC 9649, 2.5 to 2.7).

    None for a chunk that does not hold them or is broken.
    """
    if name == b"VP8L" and len(head) >= 5 and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(head) < 10:
        return None
    if name == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if name == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None
