"""Read the size and EXIF data of AVIF and HEIC images (ISO/IEC 23008-12).

An image is one of the items in its file, with properties such as the size; EXIF data is another item.
"""

from __future__ import annotations

import struct

from .containers import Read
from .embedded import Embedded, MediaFile
from .exif import read_exif
from .iso_media import WHOLE, Box, boxes, inside, read_movie

MAX_ITEMS = 1024
"""Items of an image whose properties are read; a large image may consist of many tiles."""
MAX_TABLE = 64 * MAX_ITEMS
"""Bytes of a table of items that are read."""


def read_items(file: MediaFile, found: Embedded, max_text: int) -> None:
    """Add size and texts of the primary image; those of a sequence without one from its track."""
    meta = next(inside(file.read, WHOLE, b"meta"), None)
    content = Box(b"", meta.start + 4, meta.end) if meta else None
    primary = next(inside(file.read, content, b"pitm"), None) if content else None
    if content is None or primary is None:
        read_movie(file, found, max_text)
        return
    version, number = struct.unpack(">B3xI", file.read(primary.start, 8).ljust(8, b"\0"))
    _read_exif_item(file.read, content, found, max_text)
    found.is_sideways = False  # its properties say how an image is turned
    item = number if version else number >> 16
    properties = [box for one in inside(file.read, content, b"iprp") for box in _of(file.read, one)]
    for one in inside(file.read, content, b"iprp", b"ipma"):
        for index in _associations(file.read, one, item):
            if 0 < index <= len(properties):
                _read_property(file.read, properties[index - 1], found)


def _of(read: Read, parent: Box) -> list[Box]:
    return [box for one in inside(read, parent, b"ipco") for box in boxes(read, one.start, one.end)]


def _associations(read: Read, box: Box, item: int) -> list[int]:
    """The numbers of an item's properties (ISO/IEC 23008-12, 9.3)."""
    content = _table(read, box)
    version, flags, entries = content[0], content[3], int.from_bytes(content[4:8], "big")
    at, wide, step = 8, 4 if version else 2, 2 if flags & 1 else 1
    for _ in range(min(entries, MAX_ITEMS)):
        number = int.from_bytes(content[at : at + wide], "big")
        at += wide
        count = content[at]
        listed = content[at + 1 : at + 1 + count * step]
        at += 1 + count * step
        if number == item:
            mask = 0x7FFF if step == 2 else 0x7F
            parts = range(0, len(listed), step)
            return [int.from_bytes(listed[one : one + step], "big") & mask for one in parts]
    return []


def _read_property(read: Read, box: Box, found: Embedded) -> None:
    if box.name == b"ispe":
        found.width, found.height = struct.unpack(">II", read(box.start + 4, 8))
    elif box.name == b"clap":  # the part that is shown, as fractions
        width, across, height, down = struct.unpack(">4I", read(box.start, 16))
        found.width, found.height = width // max(1, across), height // max(1, down)
    elif box.name == b"irot":
        found.is_sideways = bool(read(box.start, 1)[0] & 1)


def _table(read: Read, box: Box) -> bytes:
    return read(box.start, min(box.end - box.start, MAX_TABLE))


# -- EXIF data -------------------------------------------------------------------------------------


def _read_exif_item(read: Read, content: Box, found: Embedded, max_text: int) -> None:
    """Add the texts of the item of type ``Exif``, which has the offset of its data in front (A.2.1)."""
    wanted = None
    for entry in (box for one in inside(read, content, b"iinf") for box in _entries(read, one)):
        head = read(entry.start, 14)
        wide = 4 if head[:1] == b"\3" else 2
        if head[6 + wide : 10 + wide] == b"Exif":
            wanted = int.from_bytes(head[4 : 4 + wide], "big")
    for box in inside(read, content, b"iloc") if wanted is not None else ():
        start, length = _place(_table(read, box), wanted)
        if length > max_text:
            found.is_partial = True
        elif length > 4:
            data = read(start, length)
            read_exif(data[4 + int.from_bytes(data[:4], "big") :], found)


def _entries(read: Read, box: Box) -> list[Box]:
    """The descriptions of items (ISO/IEC 14496-12, 8.11.6)."""
    first = 6 if read(box.start, 1) == b"\0" else 8
    found = []
    for entry in boxes(read, box.start + first, box.end):
        found.append(entry)
        if len(found) == MAX_ITEMS:
            break
    return found


def _place(table: bytes, wanted: int | None) -> tuple[int, int]:
    """Where the first part of an item is, and its length; 0 if it is not in the file (8.11.3)."""
    version, sizes = table[0], [table[4] >> 4, table[4] & 15, table[5] >> 4, table[5] & 15]
    offset_size, length_size, base_size, index_size = sizes
    wide = 4 if version == 2 else 2
    at = 6 + wide

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(table[at - size : at], "big")

    for _ in range(min(int.from_bytes(table[6:at], "big"), MAX_ITEMS)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        for part in range(min(number(2), MAX_ITEMS)):
            number(index_size if version else 0)
            start, length = base + number(offset_size), number(length_size)
            if item == wanted and not part:
                return (start, length) if method == 0 else (0, 0)
        if at > len(table):
            break
    return 0, 0
