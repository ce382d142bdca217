"""Recognise a file by its own bytes.

Names and ``Content-Type`` headers are never asked: both come from strangers. Nothing is decoded
here; ``pictures.py`` does that, ``measures.py`` asks films and sounds for their length.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import BinaryIO, Literal

from input_server.light_dataclasses import dataclass

MAX_IMAGE_BYTES = 50 * 2**20
MAX_FILE_BYTES = 200 * 2**20
"""Largest input of any other kind: video, sound, 3D."""

_HEAD = 64 * 1024  # bytes that are enough to recognise anything below
_MAX_JSON = 2**20  # larger texts are not parsed to find out whether they are JSON

InputKind = Literal["image", "animation", "mask", "video", "audio", "file"]
"""What an input takes. An ``animation`` is a picture that may have several frames, a ``mask`` one
whose see-through parts are what counts."""

MAX_BYTES: dict[str, int] = {
    "image": MAX_IMAGE_BYTES,
    "animation": MAX_IMAGE_BYTES,
    "mask": MAX_IMAGE_BYTES,
    "video": MAX_FILE_BYTES,
    "audio": MAX_FILE_BYTES,
    "file": MAX_FILE_BYTES,
}
"""Largest input by what is wanted."""

KindName = Literal["image", "video", "audio", "3d", "text", "file"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is. ``None`` where a measure is unknown or has no meaning.

    ``extension`` begins with a dot and is empty for an unknown file. ``width`` and ``height`` in
    pixels, ``seconds`` for what plays. ``note``: what a reader should know of this very file.
    """

    kind: KindName
    format: str
    extension: str
    mime: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None
    note: str = ""


_UNKNOWN = Kind("file", "unknown", "", "application/octet-stream")

_PNG = Kind("image", "png", ".png", "image/png")
_JPEG = Kind("image", "jpeg", ".jpg", "image/jpeg")
_GIF = Kind("image", "gif", ".gif", "image/gif")
_WEBP = Kind("image", "webp", ".webp", "image/webp")
_BMP = Kind("image", "bmp", ".bmp", "image/bmp")
_TIFF = Kind("image", "tiff", ".tiff", "image/tiff")
_HTML = Kind("text", "html", ".html", "text/html")
_GLTF = Kind("3d", "gltf", ".gltf", "model/gltf+json")

_MP4 = Kind("video", "mp4", ".mp4", "video/mp4")
_WEBM = Kind("video", "webm", ".webm", "video/webm")
_MP3 = Kind("audio", "mp3", ".mp3", "audio/mpeg")
_AAC = Kind("audio", "aac", ".aac", "audio/aac")

_PREFIXES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),  # BigTIFF
    (b"MM\0+", _TIFF),
    (b"\x1f\x8b\x08", Kind("file", "gzip", ".gz", "application/gzip")),
    (b"\x76\x2f\x31\x01", Kind("image", "exr", ".exr", "image/x-exr")),
    (b"8BPS", Kind("image", "psd", ".psd", "image/vnd.adobe.photoshop")),
    (b"fLaC", Kind("audio", "flac", ".flac", "audio/flac")),
    (b"ID3", _MP3),
    (b"glTF", Kind("3d", "glb", ".glb", "model/gltf-binary")),
    (b"ply\n", Kind("3d", "ply", ".ply", "application/octet-stream")),
    (b"ply\r\n", Kind("3d", "ply", ".ply", "application/octet-stream")),
    (b"Kaydara FBX Binary", Kind("3d", "fbx", ".fbx", "application/octet-stream")),
    (b"%PDF-", Kind("file", "pdf", ".pdf", "application/pdf")),
    (b"PK\x03\x04", Kind("file", "zip", ".zip", "application/zip")),
    (b"\xff\xf1", _AAC),
    (b"\xff\xf9", _AAC),
)

_RIFF: dict[bytes, Kind] = {
    b"WEBP": _WEBP,
    b"WAVE": Kind("audio", "wav", ".wav", "audio/wav"),
    b"AVI ": Kind("video", "avi", ".avi", "video/x-msvideo"),
}

_HEIC = Kind("image", "heic", ".heic", "image/heic")
_AVIF = Kind("image", "avif", ".avif", "image/avif")
_M4A = Kind("audio", "m4a", ".m4a", "audio/mp4")
_ISO_BRANDS: dict[bytes, Kind] = {
    b"avif": _AVIF,
    b"avis": _AVIF,
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"), _HEIC),
    b"mif1": _HEIC,
    b"msf1": _HEIC,
    b"M4A ": _M4A,
    b"M4B ": _M4A,
    b"qt  ": Kind("video", "mov", ".mov", "video/quicktime"),
}


def recognise(file: BinaryIO) -> Kind:
    """What this file is, by its first bytes; leaves ``file`` at its beginning.

    Never raises for content it does not know: kind ``file``, format ``unknown``.
    """
    file.seek(0)
    head = file.read(_HEAD)
    whole = len(head) < _HEAD or not file.read(1)
    file.seek(0)
    kind = _by_magic(head) or _by_text(head, file, whole)
    file.seek(0)
    return kind


def of_bytes(content: bytes) -> Kind:
    """The same for bytes in memory."""
    return recognise(BytesIO(content))


def is_known(head: bytes) -> bool:
    """Whether bytes surely begin like a picture, a film, a sound or a 3D file.

    Signs of two bytes do not count: other text in base64 has them too.
    """
    kind = _by_magic(head)
    return (
        kind is not None and head[:2] not in (b"\xff\xf1", b"\xff\xf9") and kind is not _MP3
    ) or (head[:3] == b"ID3")


def is_web_page(content: bytes) -> bool:
    """Whether the bytes begin like an HTML page."""
    return _looks_like_html(content[:_HEAD])


def a(kind: Kind) -> str:
    """The kind in words for an error: ``a picture``."""
    words = {"image": "a picture", "video": "a video", "audio": "a sound", "3d": "a 3D file"}
    if kind.kind in words:
        return words[kind.kind]
    return f"a text ({kind.format})" if kind.kind == "text" else f"{kind.format.upper()} data"


def _by_magic(head: bytes) -> Kind | None:
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        matroska = Kind("video", "matroska", ".mkv", "video/x-matroska")
        return _WEBM if b"webm" in head[:64] else matroska
    if head[:4] == b"OggS":
        video = b"\x80theora" in head[:128]
        ogg = Kind("audio", "ogg", ".ogg", "audio/ogg")
        return Kind("video", "ogg", ".ogv", "video/ogg") if video else ogg
    if _is_bmp(head):
        return _BMP
    if len(head) > 3 and head[0] == 0xFF and head[1] in (0xFB, 0xFA, 0xF3, 0xF2):
        return _MP3
    return None


def _by_brands(head: bytes) -> Kind:
    """``mif1`` and ``msf1`` say only that it is an image; how it is coded, another brand says
    (ISO/IEC 23008-12, 10.2).
    """
    kind = _ISO_BRANDS.get(head[8:12], _MP4)
    if head[8:12] in (b"mif1", b"msf1"):
        brands = head[16 : min(int.from_bytes(head[:4], "big"), 256)]
        others = {brands[at : at + 4] for at in range(0, len(brands), 4)}
        return _AVIF if others & {b"avif", b"avis"} else kind
    return kind


def _is_bmp(head: bytes) -> bool:
    """Two letters are too weak a sign: the header's length must be one of the known ones too."""
    known = (12, 16, 40, 52, 56, 64, 108, 124)
    return len(head) >= 26 and head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in known


def _looks_like_html(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith((b"<?xml", b"<!--")):
        return b"<html" in start or b"<!doctype html" in start
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _by_text(head: bytes, file: BinaryIO, whole: bool) -> Kind:
    text = _as_text(head, whole)
    if text is None:
        return _UNKNOWN
    if _looks_like_html(head):
        return _HTML
    if "<svg" in text[:1024] and text.lstrip().startswith("<"):
        return Kind("text", "svg", ".svg", "image/svg+xml")
    if text.lstrip()[:1] in ("{", "["):
        return _by_json(file)
    if text.startswith("solid ") and "facet normal" in text[:1024]:
        return Kind("3d", "stl", ".stl", "model/stl")
    return Kind("text", "plain", ".txt", "text/plain")


def _as_text(head: bytes, whole: bool) -> str | None:
    """The head as UTF-8 text; None when it is empty or binary. A cut last letter is forgiven."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode("utf-8-sig")
    if not text or any(letter < " " and letter not in "\t\n\r\f\x1b" for letter in text):
        return None
    return text


def _by_json(file: BinaryIO) -> Kind:
    content = file.read(_MAX_JSON + 1)
    try:
        document = json.loads(content) if len(content) <= _MAX_JSON else None
    except (ValueError, RecursionError):
        document = None
    if document is None:
        return Kind("text", "plain", ".txt", "text/plain")
    asset = document.get("asset") if isinstance(document, dict) else None
    if isinstance(asset, dict) and "version" in asset:  # glTF 2.0, 5.9 Asset
        return _GLTF
    return Kind("text", "json", ".json", "application/json")
