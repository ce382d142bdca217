"""What a picture's headers say of the memory that decoding it takes. Nothing is decoded."""

from __future__ import annotations

import struct

from ..mounts.open_files import OpenFile

MAX_CHUNKS = 16_384
MOST_UNPACKED = 2**20
"""Bytes of one text of a PNG when Pillow unpacks it (its ``PngImagePlugin.MAX_TEXT_CHUNK``), and of
all of them 64 times as many (``MAX_TEXT_MEMORY``)."""
MOST_RATIO = 1032
"""How many bytes one byte of deflate can become at most (RFC 1951)."""
MOST_SEGMENTS = 512
BASELINE = (0xC0, 0xC1)
SOS, SCAN = 0xDA, b"\xff\xda"
READ_AT_ONCE = 2**20


def unpacked_most(file: OpenFile) -> int:
    """Bytes that the texts of a PNG, and its colour profile, can take once they are unpacked."""
    at = 8
    total = 0
    for _ in range(MAX_CHUNKS):
        head = file.read(at, 8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            total += min(MOST_UNPACKED, length * MOST_RATIO)
        at += 12 + length
    return min(total, 64 * MOST_UNPACKED)


def buffers_whole(file: OpenFile) -> bool:
    """Whether a JPEG has to be read to its end before its first pixel is known: where it is not
    baseline, or its components come in scans of their own (ITU-T T.81, B.2).
    """
    at = 2
    components = 0
    for _ in range(MOST_SEGMENTS):
        head = file.read(at, 10)
        if len(head) < 10 or head[0] != 0xFF:
            return True
        code, length = head[1], int.from_bytes(head[2:4], "big")
        if code == 0xFF:  # a fill byte
            at += 1
            continue
        if code == SOS:
            return head[4] < components
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            components = head[9]
            if code not in BASELINE:
                return True
        at += 2 + length
    return True


def scans(file: OpenFile) -> int:
    """How many scans a JPEG has; in its data the mark of one means nothing else."""
    count, tail = 0, b""
    for at in range(0, file.size, READ_AT_ONCE):
        content = tail + file.read(at, READ_AT_ONCE)
        count += content.count(SCAN)
        tail = content[-1:]
    return count
