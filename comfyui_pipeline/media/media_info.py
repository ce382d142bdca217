"""How large and how long films and sounds are, read from their heads; nothing is decoded.

ISO base media files (MP4, MOV: ISO/IEC 14496-12) and Matroska (WebM: RFC 9559) are read here, as
no light library tells the size of a film; the length of a sound comes from tinytag.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from input_server.light_dataclasses import dataclass, replace

from ..bounded.numbers import finite
from .file_types import Kind

_MOST = 4 * 2**20  # bytes of a head that are read at once
_DEEPEST = 4096  # boxes or elements looked at, so that a crafted file costs nothing


LONGEST = 10 * 365 * 24 * 3600.0
"""Seconds; what claims to play longer is not believed."""
WIDEST = 1_000_000
"""Pixels of a side; the same."""


def measured(kind: Kind, file: BinaryIO) -> Kind:
    """The kind with what its file tells of size and length; unchanged when that cannot be read."""
    file.seek(0)
    try:
        if kind.format in ("mp4", "mov"):
            return _movie(kind, file)
        if kind.format in ("webm", "matroska"):
            return _matroska(kind, file)
        if kind.kind == "audio":
            return replace(kind, seconds=_sound(file))
    except Exception:  # whatever a broken head makes of the readers: the measures stay unknown
        return kind
    return kind


def _seconds(told: object) -> float | None:
    """A length in seconds as a file tells it; None for none, NaN, infinite, negative or absurd."""
    seconds = finite(told)
    if seconds is None or not 0 < seconds <= LONGEST:
        return None
    return round(seconds, 3) or None


def _side(told: int) -> int | None:
    return told if 0 < told <= WIDEST else None


def _sound(file: BinaryIO) -> float | None:
    from tinytag import TinyTag

    return _seconds(TinyTag.get(filename=None, file_obj=file, tags=False).duration)


# -- ISO base media ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Box:
    name: bytes
    start: int
    end: int


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The boxes side by side in a stretch of the file (14496-12, 4.2)."""
    for _ in range(_DEEPEST):
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
    """The boxes at the end of a path of names below this one."""
    for found in _boxes(file, box.start, box.end):
        if found.name == path[0]:
            if len(path) == 1:
                yield found
            else:
                yield from _inside(file, found, *path[1:])


def _content(file: BinaryIO, box: _Box) -> bytes:
    file.seek(box.start)
    return file.read(min(box.end - box.start, _MOST))


def _movie(kind: Kind, file: BinaryIO) -> Kind:
    whole = _Box(b"", 0, file.seek(0, 2))
    head = next(_inside(file, whole, b"moov", b"mvhd"))
    kind = replace(kind, seconds=_movie_seconds(_content(file, head)))
    for track in _inside(file, whole, b"moov", b"trak"):
        handler = next(_inside(file, track, b"mdia", b"hdlr"), None)
        if handler is None or _content(file, handler)[8:12] != b"vide":
            continue
        width, height = struct.unpack(
            ">II", _content(file, next(_inside(file, track, b"tkhd")))[-8:]
        )
        samples = next(_inside(file, track, b"mdia", b"minf", b"stbl", b"stsz"), None)
        frames = struct.unpack(">I", _content(file, samples)[8:12])[0] if samples else None
        # 16.16 fixed point
        wide, high = _side(width >> 16), _side(height >> 16)
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
    return _seconds(length / scale) if scale else None


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
        seconds = _seconds(ticks * scale / 1e9)
    width, height = (_side(int.from_bytes(found.get(i, b""), "big")) for i in (_WIDTH, _HEIGHT))
    return replace(kind, width=width, height=height, seconds=seconds)


def _walk(file: BinaryIO, start: int, end: int, found: dict[int, bytes]) -> None:
    """Collect the elements that are wanted, going into those that hold them (RFC 8794, 4 to 6)."""
    for _ in range(_DEEPEST):
        if start >= end or {_HEIGHT, _WIDTH, _DURATION} <= found.keys():
            return
        file.seek(start)
        ident, _ = _number(file, keep_mark=True)
        size, unknown = _number(file, keep_mark=False)
        start = file.tell()
        after = end if unknown else start + size
        if ident in (_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO):
            _walk(file, start, min(after, end), found)
        elif ident in (_SCALE, _DURATION, _WIDTH, _HEIGHT) and size <= 8:
            found.setdefault(ident, file.read(size))
        start = after


def _number(file: BinaryIO, *, keep_mark: bool) -> tuple[int, bool]:
    """A number of variable length; and whether it means "unknown" (all ones)."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    mark = 0x80 >> (length - 1)
    value = first if keep_mark else first & (mark - 1)
    for byte in file.read(length - 1):
        value = value << 8 | byte
    return value, not keep_mark and value == (1 << (7 * length)) - 1
