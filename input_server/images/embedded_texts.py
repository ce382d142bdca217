"""Read the size of an image and the texts that ComfyUI stored in it, without decoding pixels.

ComfyUI writes ``prompt`` and ``workflow`` as JSON: into text chunks of a PNG (PNG 3rd edition,
11.3.3), into a ``comf`` chunk of an animated PNG, and into EXIF tags of WebP and JPEG, as
``prompt:{…}`` (its nodes_images.py). Only chunk headers and these texts are read, so the cost hardly
depends on the size of the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ..light_dataclasses import dataclass, field
from . import containers

TEXT_NAMES = ("prompt", "workflow")
MAX_TEXT_BYTES = 4 * 2**20
"""Default limit of one text, both compressed and decompressed; longer ones are ignored."""
MAX_KEYWORD = 79
"""Bytes of a PNG keyword (11.3.3.1)."""
EXIF_IFD = 0x8769
EXIF_NAME = re.compile(rb"(?:ASCII)?[\0\s]*(prompt|workflow):", re.IGNORECASE)
BYTE_TYPES = (1, 2, 7)
"""EXIF types of one byte per value: BYTE, ASCII and UNDEFINED."""
MAX_DIRECTORIES, MAX_TAGS = 2, 512


class ImageFile(Protocol):
    """A file of known MIME type ``kind`` whose bytes can be read from any offset."""

    @property
    def kind(self) -> str: ...

    def read(self, start: int, length: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An ``ImageFile`` in memory."""

    content: bytes
    kind: str

    def read(self, start: int, length: int, /) -> bytes:
        return self.content[start : start + length]


@dataclass(slots=True)
class Embedded:
    """Size in pixels (None if unknown) and texts by name.

    ``is_cut_off``: the file ended early or is broken; what precedes the break is still returned.
    """

    width: int | None = None
    height: int | None = None
    texts: dict[str, str] = field(default_factory=dict)
    is_cut_off: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every text has been found, so that reading can stop."""
        return len(self.texts) == len(TEXT_NAMES)


def read_embedded(file: ImageFile, max_text: int = MAX_TEXT_BYTES) -> Embedded:
    """Return size and texts of a PNG, WebP or JPEG; an empty result for other types. Never raises.

    ``max_text``: bytes of the longest text that is returned.
    """
    found = Embedded()
    reader = READERS.get(file.kind)
    if reader is not None:
        try:
            reader(file, found, max_text)
        except (OSError, ValueError, struct.error, zlib.error):
            found.is_cut_off = True
    return found


# -- PNG -------------------------------------------------------------------------------------------


def _read_png(file: ImageFile, found: Embedded, max_text: int) -> None:
    for name, start, length in containers.png_chunks(file.read):
        if name == b"IHDR":
            found.width, found.height = struct.unpack(">II", file.read(start, 8))
        elif name in PNG_TEXTS and length <= max_text:
            keyword = _keyword(file.read(start, min(length, MAX_KEYWORD + 1)))
            if keyword in TEXT_NAMES and keyword not in found.texts:
                value = file.read(start, length)[len(keyword) + 1 :]
                found.texts[keyword] = _decode(PNG_TEXTS[name](value, max_text))
        elif name == b"eXIf" and length <= max_text:
            _read_exif(file.read(start, length), found)
        if found.is_complete:
            return


def _keyword(head: bytes) -> str:
    return head.partition(b"\0")[0].decode("latin-1")


def _plain_text(value: bytes, _max_text: int) -> bytes:
    return value


def _compressed_text(value: bytes, max_text: int) -> bytes:
    """The text of a zTXt chunk: compression method, then zlib data."""
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(value[1:], max_text)
    if decompressor.unconsumed_tail:
        raise ValueError("the text is too long")
    return text


def _international_text(value: bytes, max_text: int) -> bytes:
    """The text of an iTXt chunk: flag, method, language, translated keyword, then the text."""
    _, _, text = value[2:].split(b"\0", 2)
    return _compressed_text(b"\0" + text, max_text) if value[:1] == b"\1" else text


PNG_TEXTS: Mapping[bytes, Callable[[bytes, int], bytes]] = {
    b"tEXt": _plain_text,
    b"comf": _plain_text,
    b"zTXt": _compressed_text,
    b"iTXt": _international_text,
}
"""Chunk -> function that returns the text from what follows the keyword and its NUL byte."""


def _decode(text: bytes) -> str:
    """As UTF-8 if valid: some programs write it where the standard requires Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


# -- WebP and JPEG ---------------------------------------------------------------------------------


def _read_webp(file: ImageFile, found: Embedded, max_text: int) -> None:
    for name, start, length in containers.webp_chunks(file.read):
        size = containers.webp_size(name, file.read(start, min(length, 10)))
        if size is not None and found.width is None:
            found.width, found.height = size
        elif name == b"EXIF" and length <= max_text:
            _read_exif(file.read(start, length), found)
        if found.is_complete:
            return


def _read_jpeg(file: ImageFile, found: Embedded, _max_text: int) -> None:
    for segment in containers.jpeg_segments(file.read):
        if segment.is_frame_header:
            found.height, found.width = struct.unpack(">HH", file.read(segment.start + 1, 4))
        elif segment.marker == containers.APP1:
            _read_exif(file.read(segment.start, segment.length), found)


def _read_exif(content: bytes, found: Embedded) -> None:
    """Read the texts from any EXIF tags (Exif 2.32, 4.6.2): programs use different ones."""
    content = content.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return
    try:
        directories = [struct.unpack_from(f"{order}I", content, 4)[0]]
        for directory in directories:  # the EXIF directory is appended when its tag is met
            for tag, kind, length, at in _tags(content, order, directory):
                if tag == EXIF_IFD and len(directories) < MAX_DIRECTORIES:
                    directories += struct.unpack_from(f"{order}I", content, at)
                elif kind in BYTE_TYPES:
                    _read_tag(content, at, length, found)
    except struct.error:  # cut off; a JPEG's size may still follow
        found.is_cut_off = True


def _tags(content: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count of values and offset of the values, for each entry of a directory."""
    (entries,) = struct.unpack_from(f"{order}H", content, start)
    for at in range(start + 2, start + 2 + 12 * min(entries, MAX_TAGS), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", content, at)
        yield tag, kind, count, value if kind in BYTE_TYPES and count > 4 else at + 8


def _read_tag(content: bytes, at: int, length: int, found: Embedded) -> None:
    """Store the text of a tag if it begins with one of the names."""
    match = EXIF_NAME.match(content, at, at + min(length, MAX_KEYWORD))
    if match is None:
        return
    name = match[1].decode().lower()
    if name not in found.texts:
        found.texts[name] = _decode(content[match.end() : at + length].strip(b"\0 \r\n\t"))


READERS: Mapping[str, Callable[[ImageFile, Embedded, int], None]] = {
    "image/png": _read_png,
    "image/webp": _read_webp,
    "image/jpeg": _read_jpeg,
}
"""MIME types that can hold texts -> their reader."""
