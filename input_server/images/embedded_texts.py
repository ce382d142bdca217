"""Read the size of a picture or film and the texts that programs stored in it, without decoding it.

ComfyUI writes ``prompt`` and ``workflow`` as JSON: into text chunks of a PNG (PNG 3rd edition,
11.3.3), into a ``comf`` chunk of an animated PNG, into EXIF tags of WebP and JPEG, as ``prompt:{…}``
(its nodes_images.py), and into the tags of films and sounds. Only headers and these texts are read, so
the cost hardly depends on the size of the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

from ..light_dataclasses import dataclass
from . import containers
from .audio_tags import read_flac, read_id3, read_ogg
from .embedded import Embedded, MediaFile, decode, unfold
from .exif import byte_order, read_exif, read_tiff
from .image_items import read_items
from .iso_media import read_movie
from .matroska import read_matroska

MAX_TEXT_BYTES = 4 * 2**20
"""Default limit of one text, both compressed and decompressed; longer ones are ignored."""
MAX_READS = 50_000
"""Parts of a file that are read; the walk through a film of a million parts ends there."""
MAX_OFFSET = 2**62
"""No file reaches it; systems do not take much larger offsets."""
MAX_KEYWORD = 79
"""Bytes of a PNG keyword (11.3.3.1)."""
MAX_DIRECTORY = 2 + 12 * 512
"""Bytes of a TIFF directory that are read."""


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """A ``MediaFile`` in memory."""

    content: bytes
    kind: str

    def read(self, start: int, length: int, /) -> bytes:
        return self.content[start : start + length]


class _LimitedReads:
    """A file of which a limited number of parts is read. Raises ValueError at the limit."""

    def __init__(self, file: MediaFile) -> None:
        self.kind = file.kind
        self._read = file.read
        self._left = MAX_READS

    def read(self, start: int, length: int, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many parts")
        return self._read(start, length) if length > 0 and start < MAX_OFFSET else b""


def read_embedded(file: MediaFile, max_text: int = MAX_TEXT_BYTES) -> Embedded:
    """Return size and texts of a file; an empty result for other types. Never raises.

    ``max_text``: bytes of the longest text that is returned. The size is that of the picture as it is
    shown, turned as its orientation says.
    """
    found = Embedded()
    reader = READERS.get(file.kind)
    if reader is not None:
        try:
            reader(_LimitedReads(file), found, max_text)
        except (OSError, ValueError, IndexError, struct.error, zlib.error):
            found.is_cut_off = True
    if found.is_sideways:
        found.width, found.height = found.height, found.width
    unfold(found)
    return found


# -- PNG -------------------------------------------------------------------------------------------


def _read_png(file: MediaFile, found: Embedded, max_text: int) -> None:
    for name, start, length in containers.png_chunks(file.read):
        if name == b"IHDR":
            found.width, found.height = struct.unpack(">II", file.read(start, 8))
        elif name in PNG_TEXTS:
            keyword = _keyword(file.read(start, min(length, MAX_KEYWORD + 1)))
            if found.wants(keyword) and _fits(length, found, max_text):
                value = file.read(start, length)[len(keyword) + 1 :]
                found.add(keyword, decode(PNG_TEXTS[name](value, max_text)))
        elif name == b"eXIf" and _fits(length, found, max_text):
            read_exif(file.read(start, length), found)
        elif name == b"IDAT" and found.is_complete:
            return


def _fits(length: int, found: Embedded, max_text: int) -> bool:
    """Whether a text is short enough to be read; notes one that is not."""
    found.is_partial = found.is_partial or length > max_text
    return length <= max_text


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


# -- WebP and JPEG ---------------------------------------------------------------------------------


def _read_webp(file: MediaFile, found: Embedded, max_text: int) -> None:
    for name, start, length in containers.webp_chunks(file.read):
        size = containers.webp_size(name, file.read(start, min(length, 10)))
        if size is not None and found.width is None:
            found.width, found.height = size
        elif name == b"EXIF" and _fits(length, found, max_text):
            read_exif(file.read(start, length), found)
        if found.is_complete:
            return


def _read_jpeg(file: MediaFile, found: Embedded, _max_text: int) -> None:
    for segment in containers.jpeg_segments(file.read):
        if segment.is_frame_header:
            found.height, found.width = struct.unpack(">HH", file.read(segment.start + 1, 4))
        elif segment.marker == containers.APP1:
            read_exif(file.read(segment.start, segment.length), found)


# -- other formats ---------------------------------------------------------------------------------


def _read_gif(file: MediaFile, found: Embedded, _max_text: int) -> None:
    """Add the size of the screen, which all frames share (GIF89a specification, 18)."""
    found.width, found.height = struct.unpack("<HH", file.read(6, 4))


def _read_bmp(file: MediaFile, found: Embedded, _max_text: int) -> None:
    head = file.read(14, 12)
    is_old = head[:4] == b"\x0c\0\0\0"  # BITMAPCOREHEADER
    width, height = struct.unpack("<HH", head[4:8]) if is_old else struct.unpack("<ii", head[4:12])
    found.width, found.height = width, abs(height)


def _read_tiff(file: MediaFile, found: Embedded, _max_text: int) -> None:
    head = file.read(0, 8)
    (at,) = struct.unpack(f"{byte_order(head)}4xI", head)
    read_tiff(head + file.read(at, MAX_DIRECTORY), found)


READERS: Mapping[str, Callable[[MediaFile, Embedded, int], None]] = {
    "image/png": _read_png,
    "image/webp": _read_webp,
    "image/jpeg": _read_jpeg,
    "image/gif": _read_gif,
    "image/bmp": _read_bmp,
    "image/tiff": _read_tiff,
    **dict.fromkeys(("image/avif", "image/heic", "image/heif"), read_items),
    **dict.fromkeys(("video/mp4", "video/quicktime", "audio/mp4"), read_movie),
    **dict.fromkeys(("video/webm", "video/x-matroska", "audio/webm"), read_matroska),
    "audio/flac": read_flac,
    "audio/mpeg": read_id3,
    **dict.fromkeys(("audio/ogg", "video/ogg"), read_ogg),
}
"""MIME types -> their reader."""
WITHOUT_TEXTS = frozenset({"image/gif", "image/bmp", "image/tiff"})
"""Types of which only the size is read."""
