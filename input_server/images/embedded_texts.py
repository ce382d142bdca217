"""What a picture's file says beside its pixels: its size, and the texts that ComfyUI wrote into it.

PNG text chunks (PNG 3rd edition, 11.3.3) and SaveAnimatedPNG's ``comf``; EXIF texts of the form
``prompt:{…}`` in WebP and JPEG (ComfyUI's nodes_images.py). Only heads and wanted texts are read,
pixels never, so that looking at a large file costs little more than at a small one.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..mounts.open_files import OpenFile

WANTED = ("prompt", "workflow")
MAX_TEXT_BYTES = 4 * 2**20
"""Bytes of one text, packed and unpacked; a longer one counts as none."""
MAX_CHUNKS = 16_384
"""A picture of 64 MB in chunks of 8 kB has half as many."""
MOST_SEGMENTS = 512
"""Of 64 kB each: what else may stand before the pixels of a JPEG."""
LONGEST_KEYWORD = 79
EXIF_IFD = 0x8769
EXIF_NAME = re.compile(rb"(?:ASCII)?[\0\s]*(prompt|workflow):", re.IGNORECASE)
TEXT_KINDS = (1, 2, 7)
"""Bytes, ASCII and undefined: each value is a byte."""
MOST_DIRECTORIES, MOST_TAGS = 2, 512


@dataclass(slots=True)
class Embedded:
    """Width and height in pixels, None where they cannot be read; the wanted texts by their names."""

    width: int | None = None
    height: int | None = None
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.texts) == len(WANTED)


def read(file: OpenFile) -> Embedded:
    """What a picture says; nothing for another kind of file, half of it for a cut one. Never raises."""
    found = Embedded()
    reader = READERS.get(file.kind)
    if reader is not None:
        try:
            reader(file, found)
        except (OSError, ValueError, struct.error, zlib.error):
            return found
    return found


def _png(file: OpenFile, found: Embedded) -> None:
    at = 8
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack(">I4s", file.read(at, 8))
        if kind == b"IHDR":
            found.width, found.height = struct.unpack(">II", file.read(at + 8, 8))
        elif kind in PNG_TEXTS and length <= MAX_TEXT_BYTES:
            start = file.read(at + 8, min(length, LONGEST_KEYWORD + 1))
            name = start.partition(b"\0")[0].decode("latin-1")
            if name in WANTED and name not in found.texts:
                content = file.read(at + 8, length)[len(name) + 1 :]
                found.texts[name] = _decoded(PNG_TEXTS[kind](content))
        if kind == b"IEND" or found.complete:
            return
        at += 12 + length


def _packed(content: bytes) -> bytes:
    """The text of a zTXt chunk, behind its method."""
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(content[1:], MAX_TEXT_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError("the text is too long")
    return text


def _international(content: bytes) -> bytes:
    """The text of an iTXt chunk, behind its flag, method, language and translated keyword."""
    _, _, text = content[2:].split(b"\0", 2)
    return _packed(b"\0" + text) if content[:1] == b"\1" else text


PNG_TEXTS: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"tEXt": bytes,
    b"comf": bytes,
    b"zTXt": _packed,
    b"iTXt": _international,
}
"""Chunk -> what takes the text out of all that follows the keyword."""


def _decoded(text: bytes) -> str:
    """UTF-8 where it is that: some programs write it where the standard says Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _webp(file: OpenFile, found: Embedded) -> None:
    """RIFF chunks (WebP Container Specification)."""
    at = 12
    for _ in range(MAX_CHUNKS):
        kind, length = struct.unpack("<4sI", file.read(at, 8))
        if kind in WEBP_SIZES and found.width is None:
            found.width, found.height = WEBP_SIZES[kind](file.read(at + 8, 10))
        elif kind == b"EXIF" and length <= MAX_TEXT_BYTES:
            _exif(file.read(at + 8, length), found)
        if found.complete:
            return
        at += 8 + length + length % 2


def _canvas(head: bytes) -> tuple[int, int]:
    return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1


def _lossy(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _lossless(head: bytes) -> tuple[int, int]:
    bits = int.from_bytes(head[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


WEBP_SIZES: Mapping[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"VP8X": _canvas,
    b"VP8 ": _lossy,
    b"VP8L": _lossless,
}


def _jpeg(file: OpenFile, found: Embedded) -> None:
    """Segments up to the pixels (ITU-T T.81, B.1)."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        mark, code, length = struct.unpack(">BBH", file.read(at, 4))
        if mark != 0xFF or code == 0xDA:
            return
        if code == 0xFF:  # a fill byte before a marker
            at += 1
            continue
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            found.height, found.width = struct.unpack(">HH", file.read(at + 5, 4))
        elif code == 0xE1:
            _exif(file.read(at + 4, length - 2), found)
        at += 2 + length


def _exif(content: bytes, found: Embedded) -> None:
    """The texts in EXIF tags (Exif 2.32, 4.6.2), whichever tags they are: programs differ in that."""
    content = content.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return
    try:
        directories = [struct.unpack_from(f"{order}I", content, 4)[0]]
        for directory in directories:  # it grows by the second one
            for tag, kind, length, at in _tags(content, order, directory):
                if tag == EXIF_IFD and len(directories) < MOST_DIRECTORIES:
                    directories += struct.unpack_from(f"{order}I", content, at)
                elif kind in TEXT_KINDS:
                    _tagged(content, at, length, found)
    except struct.error:  # cut off: a JPEG's size is still to come
        return


def _tags(content: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Tag, kind, count of values and place of each entry of a directory."""
    (entries,) = struct.unpack_from(f"{order}H", content, start)
    for at in range(start + 2, start + 2 + 12 * min(entries, MOST_TAGS), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", content, at)
        yield tag, kind, count, value if kind in TEXT_KINDS and count > 4 else at + 8


def _tagged(content: bytes, at: int, length: int, found: Embedded) -> None:
    """Keep a tag's text when it begins with the name of a wanted one."""
    start = EXIF_NAME.match(content, at, at + min(length, LONGEST_KEYWORD))
    name = start[1].decode().lower() if start is not None else ""
    if start is not None and name not in found.texts:
        text = content[start.end() : at + length].strip(b"\0 \r\n\t")
        found.texts[name] = _decoded(text)


READERS: Mapping[str, Callable[[OpenFile, Embedded], None]] = {
    "image/png": _png,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
}
