"""What a file is sent as: its type by content, and what keeps a browser from running it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import quote

BINARY = "application/octet-stream"
TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".webp": "image/webp",
        ".gif": "image/gif",
        ".avif": "image/avif",
        ".heic": "image/heic",
        ".heif": "image/heif",
        ".bmp": "image/bmp",
        ".tiff": "image/tiff",
        ".tif": "image/tiff",
        ".svg": "image/svg+xml",
        ".mp4": "video/mp4",
        ".webm": "video/webm",
        ".mov": "video/quicktime",
        ".mkv": "video/x-matroska",
        ".mp3": "audio/mpeg",
        ".wav": "audio/wav",
        ".flac": "audio/flac",
        ".ogg": "audio/ogg",
        ".opus": "audio/ogg",
        ".m4a": "audio/mp4",
        ".glb": "model/gltf-binary",
        ".gltf": "model/gltf+json",
        ".json": "application/json",
        ".txt": "text/plain; charset=utf-8",
        ".md": "text/plain; charset=utf-8",
        ".log": "text/plain; charset=utf-8",
        ".csv": "text/csv; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".htm": "text/html; charset=utf-8",
        ".xhtml": "application/xhtml+xml",
        ".xml": "application/xml",
        ".pdf": "application/pdf",
    }
)
"""Our own table: the system's may name a picture a script."""
SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    *((4, b"ftyp" + brand, "image/heic") for brand in (b"heic", b"heix", b"heim", b"heis")),
    *((4, b"ftyp" + brand, "image/heif") for brand in (b"mif1", b"msf1", b"hevc", b"hevx")),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"%PDF-", "application/pdf"),
)
"""Offset, bytes, type."""
KIN = frozenset(
    {
        ("video/webm", "video/x-matroska"),
        ("video/mp4", "audio/mp4"),
        ("image/heif", "image/heic"),
        ("image/heic", "image/heif"),
        ("image/heif", "image/avif"),
    }
)
"""Types that share a sign: the one that is seen, and the one that the name may mean."""
SIGNED = frozenset(kind for _, _, kind in SIGNATURES)
HEAD_BYTES = 16

INLINE = ("image/", "video/", "audio/", "text/plain")
TEXTS = ("text/", "application/json", "model/gltf+json", "image/svg+xml", "application/xml")
"""What becomes much smaller when it is compressed."""
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
PLAYED = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'"
"""For films and sounds: a browser's own player loads its file as the page's, so in no sandbox."""


def detect_type(name: str, head: bytes) -> str:
    """The type of a file by its first bytes and its name.

    What the bytes say wins; a name that promises a known type which the bytes do not keep makes it
    plain data, so that nothing is ever run or shown as what it is not.
    """
    named = TYPES.get(PurePath(name).suffix.lower(), BINARY)
    seen = next((kind for at, sign, kind in SIGNATURES if head.startswith(sign, at)), None)
    if seen is not None:
        return named if (seen, named) in KIN else seen
    broken_promise = named in SIGNED and named != "audio/mpeg" and head
    return BINARY if broken_promise else named


def file_headers(name: str, kind: str) -> dict[str, str]:
    """Type, disposition (RFC 6266, with any script's letters) and policy of a file."""
    shown = kind.startswith(INLINE) and kind != "image/svg+xml"
    fallback = re.sub(r'[^ -~]|["\\%]', "_", name)
    where = "inline" if shown else "attachment"
    return {
        "Content-Type": kind,
        "Content-Disposition": (
            f"{where}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"
        ),
        "Content-Security-Policy": PLAYED if kind.startswith(("video/", "audio/")) else SANDBOX,
    }


@lru_cache(maxsize=4096)  # asked for every request; pathlib is slow
def may_be_compressible(name: str) -> bool:
    """Whether a file of that name could be one that is worth compressing."""
    return is_text(TYPES.get(PurePath(name).suffix.lower(), BINARY))


def is_text(kind: str) -> bool:
    """Whether a type is worth compressing."""
    return kind.startswith(TEXTS)
