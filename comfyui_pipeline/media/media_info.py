"""Read size and duration of videos and audio files from their headers; nothing is decoded.

ISO base media files (MP4, MOV: ISO/IEC 14496-12) and Matroska (WebM: RFC 9559) are parsed here, as no
small library reads the size of a video; the duration of an audio file comes from tinytag.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from input_server.light_dataclasses import dataclass, replace

from ..bounded.numbers import finite
from .file_types import Kind

_MAX_BOX_BYTES = 4 * 2**20
"""Bytes of a box that are read."""
_MAX_BOXES = 4096
"""Boxes or elements that are read, so that a crafted file takes no time."""
MAX_SECONDS = 10 * 365 * 24 * 3600.0
"""A longer duration is taken for an invalid one."""
MAX_SIDE = 1_000_000
"""Pixels; the same."""


def measured(kind: Kind, file: BinaryIO) -> Kind:
    """Return the kind with size and duration from the file; unchanged when they cannot be read."""
    file.seek(0)
    try:
        if kind.format in ("mp4", "mov"):
            return _movie(kind, file)
        if kind.format in ("webm", "matroska"):
            return _matroska(kind, file)
        if kind.kind == "audio":
            return replace(kind, seconds=_audio_seconds(file))
    except Exception:  # tinytag may raise anything for a broken file
        return kind
    return kind


def _valid_seconds(value: object) -> float | None:
    """A duration from a file; None for one that is absent, not finite, not positive or too long."""
    seconds = finite(value)
    if seconds is None or not 0 < seconds <= MAX_SECONDS:
        return None
    return round(seconds, 3) or None


def _valid_side(value: int) -> int | None:
    return value if 0 < value <= MAX_SIDE else None


def _audio_seconds(file: BinaryIO) -> float | None:
    from tinytag import TinyTag

    return _valid_seconds(TinyTag.get(filename=None, file_obj=file, tags=False).duration)


# -- ISO base media ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Box:
    name: bytes
    start: int
    end: int


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The boxes in a part of the file, not those inside them (14496-12, 4.2)."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield _Box(name, start + head, min(start + size, end))
        start += size


def _inside(file: BinaryIO, box: _Box, *path: bytes) -> Iterator[_Box]:
    """The boxes at a path of names inside this one."""
    for found in _boxes(file, box.start, box.end):
        if found.name == path[0]:
            if len(path) == 1:
                yield found
            else:
                yield from _inside(file, found, *path[1:])


def _content(file: BinaryIO, box: _Box) -> bytes:
    file.seek(box.start)
    return file.read(min(box.end - box.start, _MAX_BOX_BYTES))


def _movie(kind: Kind, file: BinaryIO) -> Kind:
    root = _Box(b"", 0, file.seek(0, 2))
    head = next(_inside(file, root, b"moov", b"mvhd"))
    kind = replace(kind, seconds=_movie_seconds(_content(file, head)))
    for track in _inside(file, root, b"moov", b"trak"):
        handler = next(_inside(file, track, b"mdia", b"hdlr"), None)
        if handler is None or _content(file, handler)[8:12] != b"vide":
            continue
        width, height = struct.unpack(
            ">II", _content(file, next(_inside(file, track, b"tkhd")))[-8:]
        )
        samples = next(_inside(file, track, b"mdia", b"minf", b"stbl", b"stsz"), None)
        frames = struct.unpack(">I", _content(file, samples)[8:12])[0] if samples else None
        # 16.16 fixed point
        wide, high = _valid_side(width >> 16), _valid_side(height >> 16)
        return replace(kind, width=wide, height=high, frames=frames or None)
    if kind.format == "mp4":
        return replace(kind, kind="audio", format="m4a", extension=".m4a", mime="audio/mp4")
    return kind


def _movie_seconds(head: bytes) -> float | None:
    """``mvhd`` (14496-12, 8.2.2): version 1 has 64-bit times."""
    if head[0] == 1:
        scale, length = struct.unpack(">IQ", head[20:32])
    else:
        scale, length = struct.unpack(">II", head[12:20])
    return _valid_seconds(length / scale) if scale else None


# -- Matroska ----------------------------------------------------------------------------------------

_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0
_SCALE, _DURATION, _WIDTH, _HEIGHT = 0x2AD7B1, 0x4489, 0xB0, 0xBA


def _matroska(kind: Kind, file: BinaryIO) -> Kind:
    end = file.seek(0, 2)
    found: dict[int, bytes] = {}
    _walk(file, 0, end, found)
    seconds = None
    if _DURATION in found:
        form = ">f" if len(found[_DURATION]) == 4 else ">d"
        ticks = struct.unpack(form, found[_DURATION])[0]
        scale = int.from_bytes(found.get(_SCALE, b"\x0f\x42\x40"), "big")  # default 1,000,000 ns
        seconds = _valid_seconds(ticks * scale / 1e9)
    width, height = (
        _valid_side(int.from_bytes(found.get(i, b""), "big")) for i in (_WIDTH, _HEIGHT)
    )
    return replace(kind, width=width, height=height, seconds=seconds)


def _walk(file: BinaryIO, start: int, end: int, found: dict[int, bytes]) -> None:
    """Collect the elements of interest, descending into those that contain them (RFC 8794, 4 to 6)."""
    for _ in range(_MAX_BOXES):
        if start >= end or {_HEIGHT, _WIDTH, _DURATION} <= found.keys():
            return
        file.seek(start)
        element_id, _ = _number(file, keep_marker=True)
        size, unknown = _number(file, keep_marker=False)
        start = file.tell()
        after = end if unknown else start + size
        if element_id in (_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO):
            _walk(file, start, min(after, end), found)
        elif element_id in (_SCALE, _DURATION, _WIDTH, _HEIGHT) and size <= 8:
            found.setdefault(element_id, file.read(size))
        start = after


def _number(file: BinaryIO, *, keep_marker: bool) -> tuple[int, bool]:
    """An integer of variable length, and whether it means "unknown" (all ones)."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    marker = 0x80 >> (length - 1)
    value = first if keep_marker else first & (marker - 1)
    for byte in file.read(length - 1):
        value = value << 8 | byte
    return value, not keep_marker and value == (1 << (7 * length)) - 1
