"""Read the texts in the tags of FLAC, MP3, Ogg and Opus files."""

from __future__ import annotations

import struct

from .embedded import Embedded, MediaFile, decode

MAX_TAGS = 512
MAX_NAME = 80
"""Bytes of a tag's name."""
COMMENT_BLOCK = 4
"""The metadata block of a FLAC that holds its tags (RFC 9639, 8.6)."""
MAX_PAGES = 1024
"""Pages of an Ogg file, of up to 64 kB, in which the tags are looked for."""
MAX_OTHER_PAGES = 8
TAG_PACKETS = (b"OpusTags", b"\x03vorbis", b"\x81theora")
"""How the packet with the tags begins in an Ogg file (RFC 7845, 5.2)."""


def read_flac(file: MediaFile, found: Embedded, max_text: int) -> None:
    """Add the texts of a FLAC."""
    at = 4
    for _ in range(MAX_TAGS):
        kind, *size = struct.unpack(">4B", file.read(at, 4))
        length = int.from_bytes(bytes(size), "big")
        if kind & 0x7F == COMMENT_BLOCK:
            _read_comments(file.read(at + 4, min(length, 2 * max_text)), found, max_text)
        at += 4 + length
        if kind & 0x80:
            return


def _read_comments(content: bytes, found: Embedded, max_text: int) -> None:
    """Add Vorbis comments: the program's name, then ``NAME=text`` several times, lengths in front."""
    at = 4 + int.from_bytes(content[:4], "little")
    (count,) = struct.unpack_from("<I", content, at)
    at += 4
    for _ in range(min(count, MAX_TAGS)):
        (length,) = struct.unpack_from("<I", content, at)
        name, _, _ = content[at + 4 : at + 4 + min(length, MAX_NAME)].partition(b"=")
        if found.wants(decode(name)):
            start = at + 4 + len(name) + 1
            if length > max_text or at + 4 + length > len(content):
                found.is_partial = True
            else:
                found.add(decode(name), decode(content[start : at + 4 + length]))
        at += 4 + length


def read_ogg(file: MediaFile, found: Embedded, max_text: int) -> None:
    """Add the texts of an Ogg file: those of the first packet that holds some (RFC 3533, 6)."""
    at, others, content = 0, 0, b""
    for _ in range(MAX_PAGES):
        head = file.read(at, 27)
        if head[:4] != b"OggS" or len(head) < 27:
            return
        sizes = file.read(at + 27, head[26])
        body = file.read(at + 27 + len(sizes), sum(sizes))
        at += 27 + len(sizes) + sum(sizes)
        if content or body.startswith(TAG_PACKETS):
            content += body
        else:
            others += 1
            if others > MAX_OTHER_PAGES:  # the headers are over
                return
        if content and (sizes[-1:] != b"\xff" or len(content) > 2 * max_text):
            skipped = 8 if content.startswith(b"OpusTags") else 7
            _read_comments(content[skipped:], found, max_text)
            return


# -- MP3 -------------------------------------------------------------------------------------------


def read_id3(file: MediaFile, found: Embedded, max_text: int) -> None:
    """Add the texts of an MP3: its TXXX and COMM frames (ID3 2.3 and 2.4)."""
    head = file.read(0, 10)
    if head[:3] != b"ID3" or head[3] not in (3, 4) or head[5] & 0x80:
        return
    at, end = 10, 10 + _synchsafe(head[6:10])
    if head[5] & 0x40:  # an extended header
        size = file.read(at, 4)
        at += _synchsafe(size) if head[3] == 4 else 4 + int.from_bytes(size, "big")
    for _ in range(MAX_TAGS):
        frame = file.read(at, 10)
        if at >= end or len(frame) < 10 or not frame[0]:
            return
        length = _synchsafe(frame[4:8]) if head[3] == 4 else int.from_bytes(frame[4:8], "big")
        if frame[:4] in (b"TXXX", b"COMM"):
            if length > max_text:
                found.is_partial = True
            else:
                _read_frame(frame[:4], file.read(at + 10, length), found)
        at += 10 + length


def _synchsafe(digits: bytes) -> int:
    """A number of four times seven bits."""
    return sum(
        (digit & 0x7F) << shift for digit, shift in zip(digits, (21, 14, 7, 0), strict=False)
    )


def _read_frame(kind: bytes, content: bytes, found: Embedded) -> None:
    """Add a text with its name in front; a comment also has a language and often no name."""
    codec = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}.get(content[0])
    if codec is None:
        return
    text = content[1 if kind == b"TXXX" else 4 :].decode(codec, "replace")
    name, _, value = text.partition("\0")
    found.add("comment" if kind == b"COMM" else name, value.lstrip("\ufeff").rstrip("\0"))
