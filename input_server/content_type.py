"""The content type of a file, and headers that keep a browser from running it as a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import quote

from .file_signatures import HEAD_BYTES, SIGNATURES, detect_mime, is_ogg_video
from .text_encoding import SAMPLE_BYTES, charset

BINARY = "application/octet-stream"
TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".png": "image/png",
        ".apng": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".jfif": "image/jpeg",
        ".pjpeg": "image/jpeg",
        ".pjp": "image/jpeg",
        ".jpe": "image/jpeg",
        ".webp": "image/webp",
        ".gif": "image/gif",
        ".avif": "image/avif",
        ".heic": "image/heic",
        ".heif": "image/heif",
        ".bmp": "image/bmp",
        ".tiff": "image/tiff",
        ".tif": "image/tiff",
        ".svg": "image/svg+xml",
        ".ico": "image/vnd.microsoft.icon",
        ".mp4": "video/mp4",
        ".m4v": "video/mp4",
        ".ogv": "video/ogg",
        ".webm": "video/webm",
        ".mov": "video/quicktime",
        ".mkv": "video/x-matroska",
        ".mp3": "audio/mpeg",
        ".wav": "audio/wav",
        ".flac": "audio/flac",
        ".ogg": "audio/ogg",
        ".oga": "audio/ogg",
        ".weba": "audio/webm",
        ".opus": "audio/ogg",
        ".m4a": "audio/mp4",
        ".aac": "audio/aac",
        ".aiff": "audio/aiff",
        ".aif": "audio/aiff",
        ".aifc": "audio/aiff",
        ".caf": "audio/x-caf",
        ".au": "audio/basic",
        ".ac3": "audio/ac3",
        ".wma": "audio/x-ms-wma",
        ".wmv": "video/x-ms-wmv",
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
"""By suffix. The system's table is not used: it may declare an image to be a script."""
SAME_SIGNATURE = frozenset(
    {
        ("video/webm", "video/x-matroska"),
        ("video/webm", "audio/webm"),
        ("audio/ogg", "video/ogg"),
        ("video/mp4", "audio/mp4"),
        ("audio/x-ms-wma", "video/x-ms-wmv"),
        ("image/heif", "image/heic"),
        ("image/heic", "image/heif"),
    }
)
"""Types that share a signature: the one in SIGNATURES, and one that the suffix may mean."""
WITH_SIGNATURE = frozenset(
    {kind for _, _, kind in SIGNATURES} | {named for _, named in SAME_SIGNATURE}
)

INLINE = ("image/", "video/", "audio/", "text/plain")
COMPRESSIBLE = ("text/", "application/json", "model/gltf+json", "image/svg+xml", "application/xml")
SANDBOX_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
MEDIA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'"
"""For video and audio. No sandbox: the browser's player loads its file as part of the page."""


def head_bytes(name: str) -> int:
    """How many of its first bytes the type of a file with that name depends on."""
    named = TYPES.get(PurePath(name).suffix.lower(), BINARY)
    return SAMPLE_BYTES if named.startswith("text/") else HEAD_BYTES


def detect_type(name: str, head: bytes) -> str:
    """Return the type of a file by its first bytes (``head_bytes``) and its name.

    The bytes decide, also about the encoding of a text. If the suffix means a type with a signature and
    the bytes have none, the type is binary, so that a browser neither runs nor displays the file.
    """
    named = TYPES.get(PurePath(name).suffix.lower(), BINARY)
    detected = "video/ogg" if is_ogg_video(head) else detect_mime(head)
    if detected is not None:
        return named if (detected, named) in SAME_SIGNATURE else detected
    if named.startswith("text/"):
        encoding = charset(head)
        return named.partition(";")[0] + (f"; charset={encoding}" if encoding else "")
    is_mismatch = named in WITH_SIGNATURE and named != "audio/mpeg" and head
    return BINARY if is_mismatch else named


def file_headers(name: str, kind: str) -> dict[str, str]:
    """Return content type, disposition (RFC 6266) and security policy of a file."""
    is_inline = kind.startswith(INLINE) and kind != "image/svg+xml"
    fallback = re.sub(r'[^ -~]|["\\%]', "_", name)
    disposition = "inline" if is_inline else "attachment"
    return {
        "Content-Type": kind,
        "Content-Disposition": (
            f"{disposition}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"
        ),
        "Content-Security-Policy": MEDIA_POLICY
        if kind.startswith(("video/", "audio/"))
        else SANDBOX_POLICY,
    }


@lru_cache(maxsize=4096)  # asked for every request; pathlib is slow
def may_be_compressible(name: str) -> bool:
    """Return whether a file of that name may have a type worth compressing."""
    return is_text(TYPES.get(PurePath(name).suffix.lower(), BINARY))


def is_text(kind: str) -> bool:
    """Return whether files of a type are worth compressing."""
    return kind.startswith(COMPRESSIBLE)
