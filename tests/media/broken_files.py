"""Broken and unusual files for tests of results."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

FILES = Path(__file__).resolve().parent.parent / "data" / "media"
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


def saved(form: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.effect_noise(size, 80).convert(mode)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def with_odd_exif() -> bytes:
    """A JPEG whose EXIF ends in the middle of a value (struct.error in Pillow's reader)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved("JPEG", exif=exif)
    at = content.index(b"Exif\0\0")
    directory = content.index(b"\x01\x12", at) if b"\x01\x12" in content else at + 20
    return content[: directory + 2] + b"\xff" * 6 + content[directory + 8 :]


def broken_avif() -> bytes:
    """Its boxes are all there, its data is not AV1."""
    content = saved("AVIF")
    at = content.index(b"mdat") + 4
    return content[:at] + bytes(len(content) - at)


def tiff_header() -> bytes:
    """Says that it has a strip, which is not there."""
    entries = [(256, 4, 1, 64), (257, 4, 1, 48), (273, 4, 1, 8192), (279, 4, 1, 9216)]
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def psd_header() -> bytes:
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 48, 64, 8, 3) + bytes(12)


def avif_header() -> bytes:
    content = saved("AVIF")
    return content[: content.index(b"mdat") - 4]


def gif_without_frames() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b";"


def jpeg_header() -> bytes:
    content = saved("JPEG")
    return content[: content.index(b"\xff\xda")] + b"\xff\xd9"


def png_without_data() -> bytes:
    content = saved("PNG")
    begin, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    return content[:begin] + _chunk(b"IDAT", b"") + content[end:]


def _chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def webm_with(seconds: float) -> bytes:
    """The duration of the test video, replaced (Matroska element 0x4489, 8 bytes)."""
    content = (FILES / "film.webm").read_bytes()
    at = content.index(b"\x44\x89\x88") + 3
    return content[:at] + struct.pack(">d", seconds) + content[at + 8 :]


def mp4_with(scale: int, length: int) -> bytes:
    content = (FILES / "film.mp4").read_bytes()
    at = content.index(b"mvhd") + 4 + 12
    return content[:at] + struct.pack(">II", scale, length) + content[at + 8 :]


def wav_with(rate: int, size: int) -> bytes:
    content = (FILES / "sound.wav").read_bytes()
    return content[:24] + struct.pack("<II", rate, size) + content[32:]


def giant_gif(frames: int = 40) -> bytes:
    """A few bytes a frame; the frames are far larger than the canvas that the head names."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 16000, 16000, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


def png_of(width: int, height: int, depth: int, color: int) -> bytes:
    """A PNG of zeros, as small as can be."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    row = 1 + -(-width * depth * channels // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(row * 50)) for _ in range(height // 50)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


STORED = {
    "avif.avif": broken_avif(),
    "exif.jpg": with_odd_exif(),
    "nan.webm": webm_with(float("nan")),
    "endless.webm": webm_with(float("inf")),
    "negative.webm": webm_with(-1.5),
    "no scale.mp4": mp4_with(0, 90),
    "longest.mp4": mp4_with(1, 2**32 - 1),
    "rate.wav": wav_with(0, 0),
    "cut.flac": (FILES / "sound.flac").read_bytes()[:60],
    "cut.mp3": (FILES / "sound.mp3").read_bytes()[:40],
    "cut.opus": (FILES / "sound.opus").read_bytes()[:50],
    "text.txt": b"\xff\xfe broken \x00 text",
    "empty.txt": b"",
    "deep.json": b"[" * 100_000,
    "missing end.jpg": saved("JPEG", (640, 480))[:-2],
    "fine.png": saved("PNG"),
    "fine.tiff": saved("TIFF"),
    "fine.avif": saved("AVIF"),
}
"""Odd files that are stored, and named in the answer."""
FAILED = {
    "empty.png": (b"", "0 bytes"),
    "empty.wav": (b"", "0 bytes"),
    "empty": (b"", "0 bytes"),
    "page.png": (PAGE, "a web page"),
    "page.mp4": (PAGE, "a web page"),
    "page.bin": (PAGE, "a web page"),
    "error.webp": (b'{"error": "no"}', "JSON"),
    "error.mp4": (b'{"error": "no"}', "JSON"),
    "words.gif": (b"Bad gateway", "a text"),
    "packed.png": (b"\x1f\x8b\x08" + bytes(40), "gzip"),
    "noise.bmp": (bytes(range(7, 200)), "of an unknown format"),
    "film.png": ((FILES / "film.mp4").read_bytes(), "a video"),
    "head.tif": (tiff_header(), "a TIFF header without image data"),
    "head.psd": (psd_header(), "a PSD header without image data"),
    "head.avif": (avif_header(), "a AVIF header without image data"),
    "head.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC header without image data"),
    "head.exr": (b"\x76\x2f\x31\x01\2\0\0\0", "a EXR header without image data"),
    "head.gif": (gif_without_frames(), "broken or cut-off GIF"),
    "head.jpg": (jpeg_header(), "broken or cut-off JPEG"),
    "head.png": (png_without_data(), "broken or cut-off PNG"),
    "head.bmp": (saved("BMP")[:54], "broken or cut-off BMP"),
    "head.webp": (saved("WEBP")[:30], "broken or cut-off WEBP"),
}
"""Files that are not what their names say, and what the answer says of them."""
