"""Downloads kept for a while, so that a file that has not changed is not fetched twice.

A kept file is only ever used after its server has said that it has not changed (RFC 9110, 13.1).
The address itself is not written down: it can hold a secret.
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

MOST_BYTES = 256 * 2**20
"""All kept files together."""
LARGEST = MOST_BYTES // 4
_LONGEST_HEAD = 4096


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file that was fetched before, with what its server called that state of it."""

    content: bytes
    etag: str
    modified: str

    @property
    def conditions(self) -> dict[str, str]:
        """The headers of a request that asks only for a change."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class DownloadCache:
    """Kept files in a folder; None keeps nothing. A trouble with the disk only means fetching anew."""

    folder: Path | None

    def get(self, url: str) -> CachedFile | None:
        """What was kept of this address."""
        if self.folder is None:
            return None
        path = self._path(url)
        try:
            head, _, content = path.read_bytes().partition(b"\n")
            told = json.loads(head)
            digest = hashlib.sha256(content).hexdigest()
            if told.get("sha256") != digest:
                return None
            os.utime(path)
        except (OSError, ValueError, AttributeError):
            return None
        return CachedFile(content, str(told.get("etag") or ""), str(told.get("modified") or ""))

    def put(self, url: str, headers: Mapping[str, str], content: bytes) -> None:
        """Keep what an address gave, unless its server wants nothing kept or cannot tell changes."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        secret = "no-store" in headers.get("Cache-Control", "").lower()
        if self.folder is None or secret or not (etag or modified) or len(content) > LARGEST:
            return
        digest = hashlib.sha256(content).hexdigest()
        told = json.dumps({"etag": etag, "modified": modified, "sha256": digest}).encode()
        if len(told) > _LONGEST_HEAD:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(len(content))
            with atomic_file(self.folder, self.folder) as new:
                new.file.write(told + b"\n" + content)
                new.publish_replace(self._path(url))

    def _path(self, url: str) -> Path:
        if self.folder is None:
            raise ValueError("nothing is kept")
        return self.folder / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()

    def _make_room(self, size: int) -> None:
        """Remove the files that were not asked for the longest."""
        if self.folder is None:
            return
        known = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                seen = path.stat()
                known.append((seen.st_mtime, seen.st_size, path))
        total = size + sum(entry[1] for entry in known)
        for moment, taken, path in sorted(known):
            if total <= MOST_BYTES or moment > time.time() - 1:
                return
            with suppress(OSError):
                path.unlink()
                total -= taken
