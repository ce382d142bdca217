"""Small image files that need much memory when decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB = 0, 2
"""PNG colour types (ISO/IEC 15948, 11.2.1)."""


def png(file: Path, side: int, *, depth: int, colour: int = RGB) -> None:
    """Write a square PNG of one colour: ``side`` pixels, ``depth`` bits per sample.

    Rows are compressed one by one, so that writing it needs little memory.
    """
    samples = 3 if colour == RGB else 1
    row = b"\0" + b"\x40" * (side * samples * depth // 8)
    packer = zlib.compressobj(6)
    data = [packer.compress(row) for _ in range(side)]
    data.append(packer.flush())
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(data)) + _chunk(b"IEND", b"")
    file.write_bytes(SIGNATURE + chunks)


def gif(file: Path, side: int, frames: int) -> None:
    """Write an animated GIF with a large screen and frames of one pixel (GIF89a, 18 to 23)."""
    palette = b"\x00\x00\x00\xff\xff\xff"
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + palette
    control = b"\x21\xf9\x04\x04\x0a\x00\x00\x00"
    pixel = b"\x02\x02\x44\x01\x00"
    parts = [
        control + b"\x2c" + struct.pack("<HHHHB", number, number, 1, 1, 0) + pixel
        for number in range(frames)
    ]
    file.write_bytes(screen + b"".join(parts) + b"\x3b")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
