"""The workflow that ComfyUI wrote into a film or a sound: tags ``prompt`` and ``workflow``.

MP4 (ISO 14496-12; QuickTime metadata keys), Matroska and WebM (RFC 9559, Tags), FLAC (RFC 9639),
Ogg (RFC 7845, OpusTags; Vorbis), MP3 (ID3v2.4 TXXX). Broken files give what can be read.
"""

from __future__ import annotations

from collections.abc import Iterator

NAMES = ("prompt", "workflow")
MAX_BOXES = 100_000
MOOV_PARTS = frozenset({b"moov", b"udta", b"meta", b"ilst"})
SEGMENT, TAGS, TAG, SIMPLE_TAG = 0x18538067, 0x1254C367, 0x7373, 0x67C8
TAG_NAME, TAG_STRING = 0x45A3, 0x4487
MATROSKA = b"\x1a\x45\xdf\xa3"


def read(content: bytes) -> dict[str, str] | None:
    """The texts by name; None if this is none of these files."""
    pairs: Iterator[tuple[str, bytes]]
    if content[4:8] == b"ftyp":
        pairs = _mp4(content)
    elif content[:4] == MATROSKA:
        pairs = _matroska(content)
    elif content[:4] == b"fLaC":
        pairs = _flac(content)
    elif content[:4] == b"OggS":
        pairs = _comments(b"".join(_ogg_pages(content)))
    elif content[:3] == b"ID3":
        pairs = _id3(content)
    else:
        return None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name.lower() in NAMES:
            found.setdefault(name.lower(), value.decode("utf-8", "replace"))
    return found


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the boxes between two offsets."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind, head = (
            int.from_bytes(content[start : start + 4], "big"),
            content[start + 4 : start + 8],
            8,
        )
        if size == 1:
            size, head = int.from_bytes(content[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if size and size < head:
            return
        yield kind, start + head, min(stop, end)
        start = stop


def _mp4(content: bytes) -> Iterator[tuple[str, bytes]]:
    waiting = [(0, len(content))]
    keys: list[str] = []
    values: list[tuple[bytes, int, int]] = []
    while waiting:
        for kind, begin, end in _boxes(content, *waiting.pop()):
            if kind == b"meta":  # of ISO files with a version before its boxes
                full = content[begin + 4 : begin + 8] != b"hdlr"
                waiting.append((begin + 4 * full, end))
            elif kind == b"keys":
                inside = _boxes(content, begin + 8, end)
                keys = [content[b:e].decode("utf-8", "replace") for _, b, e in inside]
            elif kind == b"ilst":
                values += _boxes(content, begin, end)
            elif kind in MOOV_PARTS:
                waiting.append((begin, end))
    for kind, begin, end in values:
        number = int.from_bytes(kind, "big")
        parts = {inner: (b, e) for inner, b, e in _boxes(content, begin, end)}
        if b"data" not in parts:
            continue
        name = keys[number - 1] if 0 < number <= len(keys) else ""
        if b"name" in parts:  # ----: mean, name, data
            b, e = parts[b"name"]
            name = content[b + 4 : e].decode("utf-8", "replace")
        b, e = parts[b"data"]
        yield name.rpartition(".")[2], content[b + 8 : e]


def _element(content: bytes, at: int) -> tuple[int, int, int]:
    """Id, begin and end of the EBML element at an offset; an id of 0 for none."""
    first = content[at] if at < len(content) else 0
    length = 9 - first.bit_length()
    if not 1 <= length <= 4:
        return 0, at, at
    number, at = int.from_bytes(content[at : at + length], "big"), at + length
    first = content[at] if at < len(content) else 0
    length = 9 - first.bit_length()
    if length > 8 or len(content) < at + length:
        return 0, at, at
    size = int.from_bytes(content[at : at + length], "big") - (1 << 7 * length)
    begin = at + length
    unknown = size == (1 << 7 * length) - 1
    return number, begin, len(content) if unknown else min(begin + size, len(content))


def _elements(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    for _ in range(MAX_BOXES):
        number, begin, stop = _element(content, start)
        if start >= end or not number:
            return
        yield number, begin, stop
        start = stop


def _matroska(content: bytes) -> Iterator[tuple[str, bytes]]:
    waiting = [(0, len(content))]
    while waiting:
        parts: dict[int, bytes] = {}
        for number, begin, end in _elements(content, *waiting.pop()):
            if number in (SEGMENT, TAGS, TAG, SIMPLE_TAG):
                waiting.append((begin, end))
            elif number in (TAG_NAME, TAG_STRING):
                parts[number] = content[begin:end].rstrip(b"\0")
        if TAG_NAME in parts:
            yield parts[TAG_NAME].decode("utf-8", "replace"), parts.get(TAG_STRING, b"")


def _flac(content: bytes) -> Iterator[tuple[str, bytes]]:
    at = 4
    while at + 4 <= len(content):
        kind, size = content[at], int.from_bytes(content[at + 1 : at + 4], "big")
        if kind & 0x7F == 4:
            yield from _comment_list(content[at + 4 : at + 4 + size])
        at += 4 + size
        if kind & 0x80:
            return


def _ogg_pages(content: bytes) -> Iterator[bytes]:
    """The bodies of the pages with the headers."""
    at = 0
    while content[at : at + 4] == b"OggS" and len(content) >= at + 27:
        count = content[at + 26]
        sizes = content[at + 27 : at + 27 + count]
        begin = at + 27 + count
        if at and int.from_bytes(content[at + 6 : at + 14], "little") not in (0, 2**64 - 1):
            return  # sound
        yield content[begin : begin + sum(sizes)]
        at = begin + sum(sizes)


def _comments(packets: bytes) -> Iterator[tuple[str, bytes]]:
    for mark in (b"OpusTags", b"\x03vorbis"):
        if (at := packets.find(mark)) >= 0:
            yield from _comment_list(packets[at + len(mark) :])


def _comment_list(block: bytes) -> Iterator[tuple[str, bytes]]:
    """``NAME=value`` as Vorbis writes it."""

    def number(at: int) -> int:
        return int.from_bytes(block[at : at + 4], "little")

    at = 4 + number(0)
    count, at = number(at), at + 4
    for _ in range(min(count, MAX_BOXES)):
        size = number(at)
        name, _, value = block[at + 4 : at + 4 + size].partition(b"=")
        yield name.decode("utf-8", "replace"), value
        at += 4 + size
        if at >= len(block):
            return


def _id3(content: bytes) -> Iterator[tuple[str, bytes]]:
    def synchsafe(part: bytes) -> int:
        return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(reversed(part)))

    at, end = 10, 10 + synchsafe(content[6:10])
    while at + 10 <= min(end, len(content)) and content[at]:
        raw = content[at + 4 : at + 8]
        size = synchsafe(raw) if content[3] >= 4 else int.from_bytes(raw, "big")
        body = content[at + 10 : at + 10 + size]
        if content[at : at + 4] == b"TXXX" and body:
            encoding = ("latin-1", "utf-16", "utf-16-be", "utf-8")[min(body[0], 3)]
            name, _, value = body[1:].decode(encoding, "replace").partition("\0")
            yield name.strip("\ufeff"), value.strip("\0\ufeff").encode()
        at += 10 + size
