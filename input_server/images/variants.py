"""Smaller and lighter copies of what is asked for, made once and kept for a while.

Pictures by ``?w=``, ``?h=``, ``?fmt=`` and ``?q=`` (Pillow), texts by gzip. The original is never
touched.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..atomic import write_atomic
from ..content_type import file_headers, is_text
from ..mounts.open_files import OpenFile, open_file
from ..mounts.resolve import Missing
from .encode import (
    FORMATS,
    HEIF_TYPES,
    VariantError,
    VariantRequest,
    choose_format,
    readable_types,
    render,
)
from .memory import DEFAULT_IMAGE_MB, MemoryBudget, OverBudget
from .render_queue import Requester

MIN_TEXT_BYTES, MAX_TEXT_BYTES = 1024, 16 * 2**20


class NotCached(Exception):
    """A copy is not there yet, and whoever asked does not want to wait until it is rendered.

    ``requester``: for whom it would be.
    """

    requester = Requester()


class VariantCache:
    """Makes copies and keeps them in a folder of at most so many megabytes; thread-safe.

    ``mode``: the folder's; where another user's server sends the copies, it has to get there.
    ``memory``: what the pictures that are rendered at once may take.
    """

    def __init__(
        self,
        folder: Path,
        most_mb: int,
        mode: int = 0o700,
        *,
        memory: MemoryBudget | None = None,
    ) -> None:
        self.memory = memory or MemoryBudget(DEFAULT_IMAGE_MB * 2**20)
        self.folder = folder.resolve()
        self._mode = mode
        self._most = most_mb * 2**20
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._grown = self._most  # what an earlier server left is looked at once
        self.copied: Callable[[str], None] = lambda _how: None
        """Is told "kept" or "made" of every copy."""

    def image(
        self, file: OpenFile, name: str, wish: VariantRequest, *, make: bool = True
    ) -> OpenFile:
        """The picture as it is wished for, open; maybe the file itself.

        ``make``: whether to make one that is not there yet, which takes its time. Raises Unmakeable,
        and Unmade.
        """
        if wish.wrong:
            raise VariantError(wish.wrong)
        if file.kind not in readable_types():
            if wish.quality_only:
                return file
            if file.kind in HEIF_TYPES:
                raise VariantError(
                    "HEIC cannot be read here: the package pillow-heif is missing.", 415
                )
            raise VariantError("Only pictures can be made smaller.")
        form = choose_format(file.kind, wish)
        pillow, kind, ending = FORMATS[form]
        key = _key(file, "picture", wish.width, wish.height, form, wish.quality)
        try:
            made = self._get(
                key + ending, file, (lambda: self._make(file, pillow, wish)) if make else None
            )
        except VariantError:
            if wish.quality_only:
                return file
            raise
        if not made.size:
            os.close(made.descriptor)
            return file
        headers = {
            **made.headers,
            **file_headers(f"{Path(name).stem}{ending}", kind),
            "Last-Modified": file.headers["Last-Modified"],
            "ETag": f'"{key[:32]}"',
        }
        return replace(
            made, etag=f'"{key[:32]}"', modified=file.modified, headers=headers, kind=kind
        )

    def _make(self, file: OpenFile, form: str, wish: VariantRequest) -> bytes:
        """The copy's bytes; none where the file itself is better, so that this too is kept."""
        try:
            content = render(file, form, wish, self.memory)
        except VariantError:
            if wish.quality_only:
                return b""
            raise
        return b"" if wish.quality_only and len(content) >= file.size else content

    def is_compressible(self, file: OpenFile) -> bool:
        """Whether a file is a text that is worth it."""
        return MIN_TEXT_BYTES <= file.size <= MAX_TEXT_BYTES and is_text(file.kind)

    def gzipped(self, file: OpenFile, *, make: bool = True) -> OpenFile:
        """A text by gzip, open; ``make`` as with ``picture``. Raises Unmakeable, and Unmade."""
        key = _key(file, "gzip")
        made = self._get(f"{key}.gz", file, (lambda: self._gzip(file)) if make else None)
        etag = f'{file.etag[:-1]}-gz"'
        headers = {**file.headers, "ETag": etag}
        return replace(made, etag=etag, modified=file.modified, headers=headers, kind=file.kind)

    def _gzip(self, file: OpenFile) -> bytes:
        try:
            with self.memory.reserve(2 * file.size):
                return gzip.compress(file.read(0, file.size), 6, mtime=0)
        except OverBudget:
            raise VariantError("This text is too large to be compressed.", 413) from None

    def _get(self, name: str, file: OpenFile, make: Callable[[], bytes] | None) -> OpenFile:
        """The kept copy of that name; made first when there is none, by one of those who ask."""
        path = self.folder / name
        with suppress(Missing):
            return self._kept(path)
        if make is None:
            raise NotCached
        with self._alone(name):
            with suppress(Missing):
                return self._kept(path)
            content = make()
            if not file.is_unchanged:
                raise VariantError("The file is just being changed; ask again.", 503)
            try:
                self.folder.mkdir(self._mode, parents=True, exist_ok=True)
                write_atomic(path, content)
                found = open_file(path, self.folder, name, cached=False)
            except (OSError, Missing):
                raise VariantError("There is no room for a copy.", 503) from None
            self.copied("made")
            self._make_room(len(content))
            return found

    def _kept(self, path: Path) -> OpenFile:
        found = open_file(path, self.folder, path.name, cached=False)
        with suppress(OSError):
            os.utime(path)
        self.copied("kept")
        return found

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._lock:
            lock = self._making.setdefault(name, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._making.pop(name, None)

    def _make_room(self, added: int) -> None:
        """Now and then remove the copies that were not asked for the longest."""
        with self._lock:
            self._grown += added
            if self._grown < self._most // 20:
                return
            self._grown = 0
        known = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                with suppress(OSError):
                    seen = path.stat()
                    known.append((seen.st_mtime, seen.st_size, path))
        total = sum(size for _, size, _ in known)
        for moment, size, path in sorted(known):
            if total <= self._most or moment > time.time() - 5:
                return
            with suppress(OSError):
                path.unlink()
                total -= size


def _key(file: OpenFile, *parts: object) -> str:
    whole = (file.device, file.inode, file.mtime_ns, file.size, *parts)
    return hashlib.sha256(repr(whole).encode()).hexdigest()
