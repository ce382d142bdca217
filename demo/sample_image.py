"""A small landscape image, computed with the standard library alone."""

from __future__ import annotations

import base64
import math
import struct
import zlib

WIDTH, HEIGHT = 384, 256


def data_uri(hue: float = 0.0) -> str:
    """Return the image as a ``data:`` URI; ``hue`` (0 to 1) shifts the colours of the sky."""
    rows = b"".join(
        b"\0" + b"".join(bytes(_pixel(x, y, hue)) for x in range(WIDTH)) for y in range(HEIGHT)
    )
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _pixel(x: int, y: int, hue: float) -> tuple[int, int, int]:
    hills = (
        (150 + 22 * math.sin(x / 41 + 4 * hue), (70, 92, 120)),
        (180 + 18 * math.sin(x / 29 + 2), (48, 70, 92)),
        (214 + 12 * math.sin(x / 53 + 1), (26, 44, 60)),
    )
    for top, colour in reversed(hills):
        if y > top:
            return colour
    if (x - 270) ** 2 + (y - 96) ** 2 < 30**2:
        return (255, 240, 205)
    light = y / 170
    turn = math.sin(hue * math.pi)
    return (
        int(min(255, 60 + 190 * light)),
        int(min(255, 90 + 60 * light + 50 * turn)),
        int(max(0, 170 - 60 * light + 40 * turn)),
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
