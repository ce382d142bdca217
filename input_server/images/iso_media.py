"""Read the size and texts of MP4 and QuickTime films (ISO/IEC 14496-12).

They keep their tags in ``moov``: as keys and values (QuickTime File Format, Metadata), which is how
ComfyUI's SaveVideo writes them, as items of iTunes, or as user data. Nothing else is read, whatever the
size of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .containers import MAX_CHUNKS, Read
from .embedded import Embedded, MediaFile, decode

MAX_TAGS, MAX_NAME = 512, 80
"""Tags of a film that are read, and bytes of their names."""
MAX_TRACKS = 64
TO_THE_END = 2**62
USER_TAGS = {b"\xa9cmt": "comment", b"\xa9des": "description", b"desc": "description"}
"""Names of four letters, of iTunes and of QuickTime's user data."""


class Box(NamedTuple):
    """A box: its name of four letters, and where its content starts and ends, in bytes."""

    name: bytes
    start: int
    end: int


WHOLE = Box(b"", 0, TO_THE_END)
"""The file."""


def boxes(read: Read, start: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets (ISO/IEC 14496-12, 4.2). Ends at the first one that is broken."""
    for _ in range(MAX_CHUNKS):
        head = read(start, min(16, end - start)) if start < end else b""
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        content = start + 8
        if size == 1 and len(head) == 16:
            size, content = int.from_bytes(head[8:], "big"), start + 16
        stop = end if size == 0 else start + size
        if not content <= stop <= end:
            return
        yield Box(name, content, stop)
        start = stop


def inside(read: Read, parent: Box, *names: bytes) -> Iterator[Box]:
    """The boxes of that name in a box, or deeper: in those of the first name those of the second."""
    for box in boxes(read, parent.start, parent.end):
        if box.name == names[0]:
            yield from inside(read, box, *names[1:]) if len(names) > 1 else (box,)


def read_movie(file: MediaFile, found: Embedded, max_text: int) -> None:
    """Add the size of the first video track, as it is shown, and the texts."""
    movie = next(inside(file.read, WHOLE, b"moov"), None)
    if movie is None:
        found.is_cut_off = True
        return
    for number, track in enumerate(inside(file.read, movie, b"trak")):
        if number == MAX_TRACKS or found.width:
            break
        _read_track(file.read, track, found)
    places = [movie, *inside(file.read, movie, b"udta")]
    for place in places:
        for box in boxes(file.read, place.start, place.end):
            if box.name == b"meta":
                _read_tags(file.read, box, found, max_text)
            elif box.name in USER_TAGS:
                _read_user_text(file.read, box, found)


def _read_track(read: Read, track: Box, found: Embedded) -> None:
    """Width and height of a track header are how it is shown; its matrix may turn it by 90 degrees."""
    handler = next(inside(read, track, b"mdia", b"hdlr"), None)
    header = next(inside(read, track, b"tkhd"), None)
    if handler is None or header is None or read(handler.start + 8, 4) != b"vide":
        return
    is_long = read(header.start, 1) == b"\1"
    matrix = struct.unpack(">9i2I", read(header.start + (52 if is_long else 40), 44))
    found.width, found.height = matrix[9] >> 16 or None, matrix[10] >> 16 or None
    found.is_sideways = matrix[0] == matrix[4] == 0 and matrix[1] != 0


# -- tags ------------------------------------------------------------------------------------------


def _read_tags(read: Read, meta: Box, found: Embedded, max_text: int) -> None:
    is_plain = read(meta.start + 4, 4) == b"hdlr"  # QuickTime has no version and flags there
    content = Box(b"", meta.start + (0 if is_plain else 4), meta.end)
    keys: dict[bytes, str] = {}
    for box in boxes(read, content.start, content.end):
        if box.name == b"keys":
            keys = _keys(read, box)
        elif box.name == b"ilst":
            for number, item in enumerate(boxes(read, box.start, box.end)):
                if number == MAX_TAGS:
                    break
                name = keys.get(item.name) or _item_name(read, item)
                if found.wants(name):
                    _read_value(read, item, name, found, max_text)


def _keys(read: Read, box: Box) -> dict[bytes, str]:
    """The names of tags by what their items are called: their numbers from 1 on, in four bytes."""
    names = {}
    entries = boxes(read, box.start + 8, box.end)
    for number, entry in zip(range(1, MAX_TAGS + 1), entries, strict=False):
        name = read(entry.start, min(entry.end - entry.start, MAX_NAME))
        names[struct.pack(">I", number)] = decode(name).rpartition("com.apple.quicktime.")[2]
    return names


def _item_name(read: Read, item: Box) -> str:
    if item.name != b"----":
        return USER_TAGS.get(item.name, "")
    name = next(inside(read, item, b"name"), None)
    return decode(read(name.start + 4, min(name.end - name.start - 4, MAX_NAME))) if name else ""


def _read_value(read: Read, item: Box, name: str, found: Embedded, max_text: int) -> None:
    value = next(inside(read, item, b"data"), None)
    if value is None:
        return
    length = value.end - value.start - 8
    if length > max_text:
        found.is_partial = True
    else:
        found.add(name, decode(read(value.start + 8, length)))


def _read_user_text(read: Read, box: Box, found: Embedded) -> None:
    """Add a text of QuickTime's user data, which has its length and language in front."""
    name = USER_TAGS[box.name]
    head = read(box.start, 4)
    if len(head) == 4 and found.wants(name):
        length = min(int.from_bytes(head[:2], "big"), box.end - box.start - 4)
        found.add(name, decode(read(box.start + 4, length)))
