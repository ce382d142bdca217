"""What a file is answered with: status, headers and which bytes (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from input_server.mounts import Found

TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".webp": "image/webp",
        ".gif": "image/gif",
        ".avif": "image/avif",
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
        ".html": "text/html; charset=utf-8",
        ".htm": "text/html; charset=utf-8",
        ".xhtml": "application/xhtml+xml",
        ".xml": "application/xml",
        ".pdf": "application/pdf",
    }
)
"""Our own table: the system's may name a picture a script."""
INLINE = ("image/", "video/", "audio/", "text/plain")
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
LONGEST_RANGE = 100
SAFE: Mapping[str, str] = MappingProxyType(
    {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
)


@dataclass(frozen=True, slots=True)
class Reply:
    """``path`` with ``start`` and ``length`` in bytes, or ``text`` when no file goes out."""

    status: int
    headers: Mapping[str, str]
    text: str = ""
    path: Path | None = None
    start: int = 0
    length: int = 0


def plain(status: int, text: str, **headers: str) -> Reply:
    """A short text instead of a file."""
    head = {**SAFE, "Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"}
    return Reply(status, {**head, **{k.replace("_", "-"): v for k, v in headers.items()}}, text)


def reply(found: Found, headers: Mapping[str, str]) -> Reply:
    """The answer to a GET or HEAD of this file. ``headers``: the request's, names in lower case."""
    etag = f'"{found.mtime_ns:x}-{found.size:x}-{found.inode:x}"'
    modified = datetime.fromtimestamp(found.mtime_ns // 10**9, timezone.utc)
    head = {
        **SAFE,
        "ETag": etag,
        "Last-Modified": format_datetime(modified, usegmt=True),
        "Cache-Control": "public, max-age=3600",
        "Accept-Ranges": "bytes",
    }
    status = _precondition(headers, etag, modified)
    if status == 304:
        return Reply(304, head)
    if status == 412:
        return plain(412, "The file has changed.")
    head.update(_content(found.path.name))
    span = _range(headers, found.size, etag, modified)
    if isinstance(span, str):
        return plain(416, "No such part.", Content_Range=f"bytes */{found.size}")
    if span is None:
        head["Content-Length"] = str(found.size)
        return Reply(200, head, path=found.path, length=found.size)
    first, last = span
    head["Content-Range"] = f"bytes {first}-{last}/{found.size}"
    head["Content-Length"] = str(last - first + 1)
    return Reply(206, head, path=found.path, start=first, length=last - first + 1)


def _content(name: str) -> dict[str, str]:
    """Type and disposition; what a browser could run is kept from running."""
    kind = TYPES.get(Path(name).suffix.lower(), "application/octet-stream")
    shown = kind.startswith(INLINE) and kind != "image/svg+xml"
    fallback = re.sub(r'[^ -~]|["\\%]', "_", name)
    where = "inline" if shown else "attachment"
    disposition = f"{where}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Type": kind,
        "Content-Disposition": disposition,
        "Content-Security-Policy": SANDBOX,
    }


def _precondition(headers: Mapping[str, str], etag: str, modified: datetime) -> int:
    """412, 304, or 200 to go on, in the order of RFC 9110, 13.2.2."""
    if "if-match" in headers:
        if not _listed(headers["if-match"], etag, weak=False):
            return 412
    elif (since := _date(headers.get("if-unmodified-since"))) and modified > since:
        return 412
    if "if-none-match" in headers:
        return 304 if _listed(headers["if-none-match"], etag, weak=True) else 200
    if (since := _date(headers.get("if-modified-since"))) and modified <= since:
        return 304
    return 200


def _listed(field: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags names this one; a weak tag counts only where ``weak``."""
    if field.strip() == "*":
        return True
    found = re.findall(r'(W/)?("[^"]*")', field)
    return any(tag == etag and (weak or not mark) for mark, tag in found)


def _date(value: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(value) if value else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=timezone.utc)


def _range(
    headers: Mapping[str, str], size: int, etag: str, modified: datetime
) -> tuple[int, int] | str | None:
    """First and last byte; None for the whole file, "unsatisfiable" for a part that is not there.

    Several parts, and anything odd, mean the whole file, as RFC 9110, 14.2 allows.
    """
    asked = headers.get("range", "")
    match = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", asked.strip(), re.ASCII)
    if len(asked) > LONGEST_RANGE or match is None or match[0] == "bytes=-":
        return None
    if "if-range" in headers:
        condition = headers["if-range"].strip()
        if condition != etag and _date(condition) != modified:
            return None
    if not match[1]:
        wanted = int(match[2])
        return (max(0, size - wanted), size - 1) if wanted and size else "unsatisfiable"
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    return (first, last) if first < size else "unsatisfiable"
