"""Read the orientation and texts of EXIF data (Exif 2.32): programs use different tags for texts."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from .embedded import Embedded, decode

EXIF_IFD, ORIENTATION, USER_COMMENT = 0x8769, 0x0112, 0x9286
WIDTH, HEIGHT = 0x0100, 0x0101
FIRST_SIDEWAYS = 5
"""The first orientation that swaps width and height (4.6.4)."""
EXIF_NAME = re.compile(rb"(?:ASCII)?[\0\s]*(prompt|workflow):", re.IGNORECASE)
MAX_NAME = 79
"""Bytes in which such a name is looked for."""
BYTE_TYPES = (1, 2, 7)
"""Types of one byte per value: BYTE, ASCII and UNDEFINED."""
NUMBER_TYPES = {3: "H", 4: "I"}
"""SHORT and LONG."""
MAX_DIRECTORIES, MAX_TAGS = 2, 512
_CODES = (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8))
"""How a user comment says its encoding (4.6.5), apart from UNICODE."""
_SAMPLE = 4096


def read_exif(content: bytes, found: Embedded) -> None:
    """Add what is in EXIF data, which may begin with the name of its JPEG segment."""
    content = content.removeprefix(b"Exif\0\0")
    order = byte_order(content)
    if not order:
        return
    try:
        directories = [struct.unpack_from(f"{order}I", content, 4)[0]]
        for directory in directories:  # the EXIF directory is appended when its tag is met
            for tag, kind, length, at in _tags(content, order, directory):
                if tag == EXIF_IFD and len(directories) < MAX_DIRECTORIES:
                    directories += struct.unpack_from(f"{order}I", content, at)
                elif tag == ORIENTATION and kind in NUMBER_TYPES:
                    found.is_sideways = _number(content, order, kind, at) in range(
                        FIRST_SIDEWAYS, 9
                    )
                elif kind in BYTE_TYPES:
                    _read_text(tag, content, at, length, found)
    except struct.error:  # cut off; a JPEG's size may still follow
        found.is_cut_off = True


def read_tiff(content: bytes, found: Embedded) -> None:
    """Add the size of the first image of a TIFF (TIFF 6.0, 8), from its directory.

    ``content``: the header and at least that directory, which begins at byte 8.
    """
    order = byte_order(content)
    sizes = {
        tag: _number(content, order, kind, at)
        for tag, kind, _, at in _tags(content, order, 8)
        if tag in (WIDTH, HEIGHT, ORIENTATION) and kind in NUMBER_TYPES
    }
    found.width, found.height = sizes.get(WIDTH), sizes.get(HEIGHT)
    found.is_sideways = sizes.get(ORIENTATION) in range(FIRST_SIDEWAYS, 9)


def byte_order(content: bytes) -> str:
    """How struct names the byte order of a TIFF or of EXIF data; "" for other content."""
    return {b"II": "<", b"MM": ">"}.get(content[:2], "")


def _tags(content: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count of values and offset of the values, for each entry of a directory."""
    (entries,) = struct.unpack_from(f"{order}H", content, start)
    for at in range(start + 2, start + 2 + 12 * min(entries, MAX_TAGS), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", content, at)
        yield tag, kind, count, value if kind in BYTE_TYPES and count > 4 else at + 8


def _number(content: bytes, order: str, kind: int, at: int) -> int:
    value: int = struct.unpack_from(f"{order}{NUMBER_TYPES[kind]}", content, at)[0]
    return value


def _read_text(tag: int, content: bytes, at: int, length: int, found: Embedded) -> None:
    """Add the text of a tag if it begins with one of ComfyUI's names, or is the user's comment."""
    match = EXIF_NAME.match(content, at, at + min(length, MAX_NAME))
    if match is not None:
        name = match[1].decode()
        if found.wants(name):
            found.add(name, decode(content[match.end() : at + length].strip(b"\0 \r\n\t")))
    elif tag == USER_COMMENT and found.wants("usercomment"):
        found.add("usercomment", _comment(content[at : at + length]))


def _comment(value: bytes) -> str:
    if value.startswith(b"UNICODE\0"):
        return _utf16(value[8:]).strip("\0 \r\n\t")
    text = value[8:] if value.startswith(_CODES) else value
    return decode(text.strip(b"\0 \r\n\t"))


def _utf16(text: bytes) -> str:
    """Decode UTF-16 of either byte order: not all programs use that of the EXIF data.

    Their texts are JSON or have English names, so that many high bytes are 0.
    """
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16", "replace")
    sample = text[:_SAMPLE]
    is_little = sample[1::2].count(0) > sample[::2].count(0)
    return text.decode("utf-16-le" if is_little else "utf-16-be", "replace")
