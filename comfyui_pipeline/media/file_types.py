"""Detect the type of a file from its content.

Names and ``Content-Type`` headers are ignored, as both come from untrusted sources. Nothing is
decoded here: ``image_decode.py`` does that, ``media_info.py`` reads the size of videos and audio.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import BinaryIO, Literal

from input_server.file_signatures import detect_mime
from input_server.light_dataclasses import dataclass, replace
from input_server.text_encoding import charset

from .redact import kilobytes

_HEAD = 64 * 1024  # bytes that are enough to detect every type below
_MAX_JSON = 2**20  # bytes; larger texts are not parsed to find out whether they are JSON

InputKind = Literal["image", "animation", "mask", "video", "audio", "file"]
"""What a node's input takes. An ``animation`` is an image that may have several frames, a ``mask`` an
image whose white or opaque areas are repainted."""

KindName = Literal["image", "video", "audio", "3d", "text", "file"]


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a file, and its size and duration where they are known and make sense.

    ``extension`` begins with a dot and is empty for an unknown type. ``width`` and ``height`` in
    pixels; ``seconds`` for videos, audio and animated images. ``note``: a remark on this file.
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

_BMP = Kind("image", "bmp", ".bmp", "image/bmp")
_TIFF = Kind("image", "tiff", ".tiff", "image/tiff")
_AVIF = Kind("image", "avif", ".avif", "image/avif")
_HEIC = Kind("image", "heic", ".heic", "image/heic")
_MATROSKA = Kind("video", "matroska", ".mkv", "video/x-matroska")
_AVI = Kind("video", "avi", ".avi", "video/x-msvideo")
_OGG_VIDEO = Kind("video", "ogg", ".ogv", "video/ogg")
_M4A = Kind("audio", "m4a", ".m4a", "audio/mp4")
_WMV = Kind("video", "wmv", ".wmv", "video/x-ms-wmv")
_AC3 = Kind("audio", "ac3", ".ac3", "audio/ac3")
_ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
"""The type of a video stream in an ASF header (ASF specification, 10.4)."""
_MP3 = Kind("audio", "mp3", ".mp3", "audio/mpeg")
_AAC = Kind("audio", "aac", ".aac", "audio/aac")
_PLY = Kind("3d", "ply", ".ply", "application/octet-stream")
_GLTF = Kind("3d", "gltf", ".gltf", "model/gltf+json")
_PLAIN = Kind("text", "plain", ".txt", "text/plain")
_HTML = Kind("text", "html", ".html", "text/html")

_BY_MIME = {
    "image/png": Kind("image", "png", ".png", "image/png"),
    "image/jpeg": Kind("image", "jpeg", ".jpg", "image/jpeg"),
    "image/gif": Kind("image", "gif", ".gif", "image/gif"),
    "image/webp": Kind("image", "webp", ".webp", "image/webp"),
    "image/avif": _AVIF,
    "image/heic": _HEIC,
    "image/heif": _HEIC,
    "video/quicktime": Kind("video", "mov", ".mov", "video/quicktime"),
    "video/mp4": Kind("video", "mp4", ".mp4", "video/mp4"),
    "video/webm": Kind("video", "webm", ".webm", "video/webm"),
    "audio/mp4": _M4A,
    "video/mp2t": Kind("video", "mpeg-ts", ".ts", "video/mp2t"),
    "audio/aiff": Kind("audio", "aiff", ".aiff", "audio/aiff"),
    "audio/x-caf": Kind("audio", "caf", ".caf", "audio/x-caf"),
    "audio/basic": Kind("audio", "au", ".au", "audio/basic"),
    "audio/x-ms-wma": Kind("audio", "wma", ".wma", "audio/x-ms-wma"),
    "audio/wav": Kind("audio", "wav", ".wav", "audio/wav"),
    "audio/flac": Kind("audio", "flac", ".flac", "audio/flac"),
    "audio/ogg": Kind("audio", "ogg", ".ogg", "audio/ogg"),
    "audio/mpeg": _MP3,
    "model/gltf-binary": Kind("3d", "glb", ".glb", "model/gltf-binary"),
    "application/pdf": Kind("file", "pdf", ".pdf", "application/pdf"),
}
"""Types that the file server detects as well (``input_server.file_signatures``)."""
_OTHER_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),  # BigTIFF
    (b"MM\0+", _TIFF),
    (b"\x1f\x8b\x08", Kind("file", "gzip", ".gz", "application/gzip")),
    (b"\x76\x2f\x31\x01", Kind("image", "exr", ".exr", "image/x-exr")),
    (b"8BPS", Kind("image", "psd", ".psd", "image/vnd.adobe.photoshop")),
    (b"ply\n", _PLY),
    (b"ply\r\n", _PLY),
    (b"Kaydara FBX Binary", Kind("3d", "fbx", ".fbx", "application/octet-stream")),
    (b"PK\x03\x04", Kind("file", "zip", ".zip", "application/zip")),
    (b"\xff\xf1", _AAC),
    (b"\xff\xf9", _AAC),
)
"""Types that only the pipeline has to know, at the beginning of a file."""


def detect(file: BinaryIO) -> Kind:
    """Return the type of a file from its first bytes; leaves ``file`` at its beginning.

    Unknown content has the kind ``file`` and the format ``unknown``.
    """
    file.seek(0)
    head = file.read(_HEAD)
    is_all = len(head) < _HEAD or not file.read(1)
    file.seek(0)
    kind = _by_signature(head) or _by_text(head, file, is_all)
    file.seek(0)
    return kind


def detect_bytes(content: bytes) -> Kind:
    """The same for bytes in memory."""
    return detect(BytesIO(content))


def is_known(head: bytes) -> bool:
    """Return whether bytes certainly begin an image, video, audio, 3D or other known file.

    Signatures of two bytes do not count: arbitrary text decoded as base64 has them too.
    """
    kind = _by_signature(head)
    short = kind is None or kind in (_AAC, _AC3, _MP3)
    return not short or head[:3] == b"ID3"


def is_web_page(content: bytes) -> bool:
    """Return whether the bytes begin an HTML page."""
    return _looks_like_html(content[:_HEAD])


_KIND_NAMES = {
    "image": "an image",
    "video": "a video",
    "audio": "an audio file",
    "3d": "a 3D file",
    "file": "a file",
}
_TEXT_NAMES = {"html": "a web page", "json": "JSON", "svg": "an SVG drawing"}


def describe_kind(kind: Kind, size: int | None = None) -> str:
    """Return a type for a reader: ``a video (mp4)``, ``JSON``, ``12 bytes of an unknown format``.

    ``size``: the bytes of the file, if they are known.
    """
    if size == 0:
        return "0 bytes"
    if kind.kind == "text":
        return _TEXT_NAMES.get(kind.format, "a text file")
    if kind.format == "unknown":
        amount = "data" if size is None else kilobytes(size)
        return f"{amount} of an unknown format"
    return f"{_KIND_NAMES[kind.kind]} ({kind.format})"


def _by_signature(head: bytes) -> Kind | None:
    mime = detect_mime(head)
    if mime is not None:
        return _refined(_BY_MIME[mime], head)
    for signature, kind in _OTHER_SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _AVI
    if _is_bmp(head):
        return _BMP
    if len(head) > 5 and head[:2] == b"\x0b\x77" and head[5] >> 3 <= 16:  # ATSC A/52, 5.3
        return _AC3
    if len(head) > 3 and head[0] == 0xFF and head[1] in (0xFB, 0xFA, 0xF3, 0xF2):
        return _MP3
    return None


def _refined(kind: Kind, head: bytes) -> Kind:
    """Tell formats apart that share a signature."""
    if kind.format == "webm" and b"webm" not in head[:64]:
        return _MATROSKA
    if kind.format == "ogg" and b"\x80theora" in head[:128]:
        return _OGG_VIDEO
    if kind.format == "mp4" and head[8:12] == b"M4B ":
        return _M4A
    if kind.format == "wma" and _ASF_VIDEO in head:
        return _WMV
    return kind


def _is_bmp(head: bytes) -> bool:
    """Two letters are not enough: the length of the header must be one of the known ones, too."""
    lengths = (12, 16, 40, 52, 56, 64, 108, 124)
    header = int.from_bytes(head[14:18], "little")
    return len(head) >= 26 and head[:2] == b"BM" and header in lengths


def _looks_like_html(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith((b"<?xml", b"<!--")):
        return b"<html" in start or b"<!doctype html" in start
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _by_text(head: bytes, file: BinaryIO, is_all: bool) -> Kind:
    text = _as_text(head, is_all)
    if text is None:
        encoding = charset(head)
        other = encoding.startswith("utf-16") or encoding == "gb18030"
        return replace(_PLAIN, mime=f"text/plain; charset={encoding}") if other else _UNKNOWN
    if _looks_like_html(head):
        return _HTML
    if "<svg" in text[:1024] and text.lstrip().startswith("<"):
        return Kind("text", "svg", ".svg", "image/svg+xml")
    if text.lstrip()[:1] in ("{", "["):
        return _by_json(file)
    if text.startswith("solid ") and "facet normal" in text[:1024]:
        return Kind("3d", "stl", ".stl", "model/stl")
    return _PLAIN


def _as_text(head: bytes, is_all: bool) -> str | None:
    """The beginning as UTF-8 text; None when it is empty or binary. Its last character may be cut."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if is_all or error.start < len(head) - 3 or error.reason != "unexpected end of data":
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
        return _PLAIN
    asset = document.get("asset") if isinstance(document, dict) else None
    if isinstance(asset, dict) and "version" in asset:  # glTF 2.0, 5.9 Asset
        return _GLTF
    return Kind("text", "json", ".json", "application/json")
