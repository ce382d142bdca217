"""Films and sounds with tags, as small as possible: what ffmpeg and ComfyUI write around them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

from tests.input_server.gallery_harness import EDITOR, prompt

TEXTS = {"prompt": json.dumps(prompt()), "workflow": json.dumps(EDITOR)}
"""The tags of SaveVideo and SaveAudio."""
FOLDED = {"comment": json.dumps({"prompt": TEXTS["prompt"], "workflow": EDITOR})}
"""The tag of VideoHelperSuite: one object, in which the prompt is a string and the workflow an object."""


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name + content


def track(width: int, height: int, kind: bytes = b"vide", *, turned: bool = False) -> bytes:
    matrix = (
        (0, 65536, 0, -65536, 0, 0, 0, 0, 2**30)
        if turned
        else (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    )
    head = bytes(40) + struct.pack(">9i2I", *matrix, width << 16, height << 16)
    handler = box(b"mdia", box(b"hdlr", bytes(8) + kind + bytes(13)))
    return box(b"trak", box(b"tkhd", head) + handler)


def movie(content: bytes, brand: bytes = b"isom") -> bytes:
    """An MP4 or QuickTime file whose ``moov`` comes last, behind a box of 64-bit size."""
    frames = struct.pack(">I4sQ", 1, b"mdat", 16 + 5000) + bytes(5000)
    return box(b"ftyp", brand + bytes(12)) + frames + box(b"moov", content)


def keyed(tags: Mapping[str, str]) -> bytes:
    """Tags as ffmpeg's ``use_metadata_tags`` writes them."""
    keys = b"".join(box(b"mdta", name.encode()) for name in tags)
    items = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + text.encode()))
        for number, text in enumerate(tags.values(), 1)
    )
    content = box(b"hdlr", bytes(25)) + box(b"keys", struct.pack(">II", 0, len(tags)) + keys)
    return content + box(b"ilst", items)


def iso_tags(tags: Mapping[str, str]) -> bytes:
    return box(b"udta", box(b"meta", bytes(4) + keyed(tags)))


def itunes_comment(text: str) -> bytes:
    item = box(b"\xa9cmt", box(b"data", struct.pack(">II", 1, 0) + text.encode()))
    return box(b"udta", box(b"meta", bytes(4) + box(b"hdlr", bytes(25)) + box(b"ilst", item)))


def itunes_freeform(tags: Mapping[str, str]) -> bytes:
    items = b"".join(
        box(
            b"----",
            box(b"mean", bytes(4) + b"com.apple.iTunes")
            + box(b"name", bytes(4) + name.encode())
            + box(b"data", struct.pack(">II", 1, 0) + text.encode()),
        )
        for name, text in tags.items()
    )
    return box(b"udta", box(b"meta", bytes(4) + box(b"hdlr", bytes(25)) + box(b"ilst", items)))


def user_data(text: str) -> bytes:
    content = text.encode()
    return box(b"udta", box(b"\xa9cmt", struct.pack(">HH", len(content), 0x55C4) + content))


def element(number: int, content: bytes, *, is_open: bool = False) -> bytes:
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    size = b"\x01" + b"\xff" * 7 if is_open else (len(content) | 1 << 56).to_bytes(8, "big")
    return name + size + content


def matroska(
    tags: Mapping[str, str], *, where: str = "front", shown: tuple[int, int] = (0, 0)
) -> bytes:
    """A film. ``where`` its tags are: in front of the frames, behind them, or behind frames of unknown
    length, so that only the index leads there.
    """
    sizes = element(0xB0, b"\x40") + element(0xBA, b"\x30")
    if shown[0]:
        sizes += element(0x54B0, bytes([shown[0]])) + element(0x54BA, bytes([shown[1]]))
    tracks = element(0x1654AE6B, element(0xAE, element(0x83, b"\1") + element(0xE0, sizes)))
    simple = b"".join(
        element(0x67C8, element(0x45A3, name.upper().encode()) + element(0x4487, text.encode()))
        for name, text in tags.items()
    )
    listed = element(0x1254C367, element(0x7373, element(0x63C0, b"") + simple))
    frames = element(0x1F43B675, bytes(3000), is_open=where == "index") * 3
    if where == "front":
        content = tracks + listed + frames
    else:
        seek = element(0x53AB, b"\x12\x54\xc3\x67")
        length = len(element(0x114D9B74, element(0x4DBB, seek + element(0x53AC, bytes(4)))))
        at = struct.pack(">I", length + len(tracks) + len(frames))
        index = element(0x114D9B74, element(0x4DBB, seek + element(0x53AC, at)))
        content = (index if where == "index" else b"") + tracks + frames + listed
    head = element(0x1A45DFA3, element(0x4282, b"webm"))
    return head + element(0x18538067, content, is_open=where == "index")


def comments(tags: Mapping[str, str]) -> bytes:
    """Vorbis comments."""
    listed = [f"{name.upper()}={text}".encode() for name, text in tags.items()]
    entries = b"".join(struct.pack("<I", len(one)) + one for one in listed)
    return struct.pack("<I", 4) + b"Lavf" + struct.pack("<I", len(listed)) + entries


def flac(tags: Mapping[str, str]) -> bytes:
    content = comments(tags)
    info = b"\0" + (34).to_bytes(3, "big") + bytes(34)
    return b"fLaC" + info + b"\x84" + len(content).to_bytes(3, "big") + content


def opus(tags: Mapping[str, str]) -> bytes:
    def pages(packet: bytes) -> bytes:
        found = b""
        full = 255 * 255
        for at in range(0, len(packet) + 1, full):
            body = packet[at : at + full]
            last = len(body) < full
            sizes = b"\xff" * (len(body) // 255) + (bytes([len(body) % 255]) if last else b"")
            found += b"OggS" + bytes(22) + bytes([len(sizes)]) + sizes + body
        return found

    return pages(b"OpusHead" + bytes(11)) + pages(b"OpusTags" + comments(tags))


def mp3(tags: Mapping[str, str], version: int = 4) -> bytes:
    def size(length: int, *, safe: bool) -> bytes:
        bits = 7 if safe else 8
        return bytes(length >> shift * bits & (1 << bits) - 1 for shift in (3, 2, 1, 0))

    frames = b""
    for name, text in tags.items():
        codec, mark = ("utf-8", b"\3") if version == 4 else ("utf-16", b"\1")
        end = b"\0" * (1 if version == 4 else 2)
        content = mark + name.encode(codec) + end + text.encode(codec) + end
        frames += b"TXXX" + size(len(content), safe=version == 4) + bytes(2) + content
    return b"ID3" + bytes([version, 0, 0]) + size(len(frames) + 10, safe=True) + frames + bytes(10)
