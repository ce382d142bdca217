"""Cache of downloads, so that an unchanged file is not transferred twice.

A cached file is used only after its server has confirmed that it is unchanged (RFC 9110, 13.1). Its
URL is not stored, as it may contain a secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from input_server.atomic import atomic_file
from input_server.light_dataclasses import dataclass

MAX_BYTES = 256 * 2**20
"""Bytes of all cached files."""
MAX_FILE_BYTES = MAX_BYTES // 4
_MAX_HEADER_BYTES = 4096
_MIN_AGE_SECONDS = 1.0
"""A younger file may belong to a download that still runs."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file with the validators that its server sent."""

    content: bytes
    etag: str
    modified: str

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers of a conditional request."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in headers.items() if value}


@dataclass(frozen=True, slots=True)
class DownloadCache:
    """Cached files in a folder; None disables the cache. Disk errors are treated as cache misses."""

    folder: Path | None

    def get(self, url: str) -> CachedFile | None:
        """Return the cached file of a URL; None when there is none or it is damaged."""
        if self.folder is None:
            return None
        path = self._path(url)
        try:
            first_line, _, content = path.read_bytes().partition(b"\n")
            header = json.loads(first_line)
            if header.get("sha256") != hashlib.sha256(content).hexdigest():
                return None
            os.utime(path)
        except (OSError, ValueError, AttributeError):
            return None
        return CachedFile(content, str(header.get("etag") or ""), str(header.get("modified") or ""))

    def put(self, url: str, headers: Mapping[str, str], content: bytes) -> None:
        """Cache a response, unless its server forbids that or sent no validator."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        forbidden = "no-store" in headers.get("Cache-Control", "").lower()
        if self.folder is None or forbidden or not (etag or modified):
            return
        digest = hashlib.sha256(content).hexdigest()
        header = json.dumps({"etag": etag, "modified": modified, "sha256": digest}).encode()
        if len(header) > _MAX_HEADER_BYTES or len(content) > MAX_FILE_BYTES:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(len(content))
            with atomic_file(self.folder, self.folder) as new:
                new.file.write(header + b"\n" + content)
                new.publish_replace(self._path(url))

    def _path(self, url: str) -> Path:
        if self.folder is None:
            raise ValueError("the cache is disabled")
        return self.folder / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()

    def _make_room(self, size: int) -> None:
        """Delete the least recently used files."""
        if self.folder is None:
            return
        files = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = size + sum(bytes_used for _, bytes_used, _ in files)
        for used_at, bytes_used, path in sorted(files):
            if total <= MAX_BYTES or used_at > time.time() - _MIN_AGE_SECONDS:
                return
            with suppress(OSError):
                path.unlink()
                total -= bytes_used
