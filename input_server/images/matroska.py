"""Read the size and tags of WebM and Matroska films (RFC 9559) without their frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .containers import MAX_CHUNKS, Read
from .embedded import Embedded, MediaFile, decode

SEGMENT, CLUSTER, TAGS, TRACKS = 0x18538067, 0x1F43B675, 0x1254C367, 0x1654AE6B
SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
TAG, SIMPLE_TAG, TAG_NAME, TAG_STRING = 0x7373, 0x67C8, 0x45A3, 0x4487
TRACK_ENTRY, VIDEO, WIDTH, HEIGHT = 0xAE, 0xE0, 0xB0, 0xBA
SHOWN_WIDTH, SHOWN_HEIGHT, SHOWN_UNIT = 0x54B0, 0x54BA, 0x54B2
TO_THE_END = 2**62
MAX_NAME = 80


class Element(NamedTuple):
    """An element: its id, and where its content starts and ends. ``is_open``: its end is unknown."""

    id: int
    start: int
    end: int
    is_open: bool


def elements(read: Read, start: int, end: int) -> Iterator[Element]:
    """The elements between two offsets (RFC 8794, 6). Ends at the first one that is broken."""
    for _ in range(MAX_CHUNKS):
        head = read(start, min(12, end - start)) if start < end else b""
        id_length = _vint_length(head[:1])
        size_length = _vint_length(head[id_length : id_length + 1])
        content = id_length + size_length
        if not id_length or not size_length or len(head) < content:
            return
        bits = 7 * size_length
        size = int.from_bytes(head[id_length:content], "big") & (1 << bits) - 1
        is_open = size == (1 << bits) - 1
        stop = end if is_open else start + content + size
        if stop > end:
            return
        yield Element(int.from_bytes(head[:id_length], "big"), start + content, stop, is_open)
        start = stop


def _vint_length(first: bytes) -> int:
    """Bytes of a number of variable length, from its first byte; 0 if that is invalid."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def inside(read: Read, parent: Element, *ids: int) -> Iterator[Element]:
    """The elements of that id in an element, or deeper: in those of the first id those of the second."""
    for element in elements(read, parent.start, parent.end):
        if element.id == ids[0]:
            yield from inside(read, element, *ids[1:]) if len(ids) > 1 else (element,)


def read_matroska(file: MediaFile, found: Embedded, max_text: int) -> None:
    """Add the size of the first video track, and the texts."""
    whole = Element(0, 0, TO_THE_END, True)
    segment = next(inside(file.read, whole, SEGMENT), None)
    if segment is None:
        found.is_cut_off = True
        return
    tags_at = None
    for element in elements(file.read, segment.start, segment.end):
        if element.id == SEEK_HEAD:
            tags_at = _position(file.read, element)
        elif element.id == TRACKS:
            _read_size(file.read, element, found)
        elif element.id == TAGS:
            _read_tags(file.read, element, found, max_text)
            tags_at = None
        elif element.id == CLUSTER and (element.is_open or tags_at):
            break
    if tags_at:
        for element in elements(file.read, segment.start + tags_at, segment.end):
            if element.id == TAGS:
                _read_tags(file.read, element, found, max_text)
            break


def _position(read: Read, seek_head: Element) -> int | None:
    """Where the tags are, as seen from the content of the segment."""
    for seek in inside(read, seek_head, SEEK):
        parts = {
            one.id: read(one.start, min(one.end - one.start, 8))
            for one in elements(read, seek.start, seek.end)
        }
        if int.from_bytes(parts.get(SEEK_ID, b""), "big") == TAGS:
            return int.from_bytes(parts.get(SEEK_POSITION, b""), "big") or None
    return None


def _read_size(read: Read, tracks: Element, found: Embedded) -> None:
    for video in inside(read, tracks, TRACK_ENTRY, VIDEO):
        sizes = {
            one.id: int.from_bytes(read(one.start, min(one.end - one.start, 8)), "big")
            for one in elements(read, video.start, video.end)
        }
        is_in_pixels = SHOWN_WIDTH in sizes and not sizes.get(SHOWN_UNIT)
        found.width = sizes[SHOWN_WIDTH] if is_in_pixels else sizes.get(WIDTH)
        found.height = sizes.get(SHOWN_HEIGHT if is_in_pixels else HEIGHT, sizes.get(HEIGHT))
        return


def _read_tags(read: Read, tags: Element, found: Embedded, max_text: int) -> None:
    for simple in inside(read, tags, TAG, SIMPLE_TAG):
        parts = {one.id: one for one in elements(read, simple.start, simple.end)}
        name, value = parts.get(TAG_NAME), parts.get(TAG_STRING)
        if name is None or value is None:
            continue
        written = decode(read(name.start, min(name.end - name.start, MAX_NAME)))
        if not found.wants(written):
            continue
        if value.end - value.start > max_text:
            found.is_partial = True
        else:
            found.add(written, decode(read(value.start, value.end - value.start).rstrip(b"\0")))
