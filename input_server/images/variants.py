"""Cache of resized or re-encoded images (``?w=``, ``?h=``, ``?fmt=``, ``?q=``) and of gzipped texts.

Original files are never modified.
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
from .formats import HEIF_TYPES, OUTPUT_FORMATS, readable_types
from .memory import DEFAULT_IMAGE_MB, MemoryBudget, OverBudget
from .render import render
from .render_queue import Requester
from .variant_request import VariantError, VariantRequest, choose_format

MIN_TEXT_BYTES, MAX_TEXT_BYTES = 1024, 16 * 2**20
"""Size of texts that are compressed."""
SPARED_SECONDS = 5
"""Variants used so recently are not evicted."""


class NotCached(Exception):
    """The variant is not in the cache, and the caller asked not to create it.

    ``requester``: the client it would be created for; set by the handler.
    """

    requester = Requester()


class VariantCache:
    """Creates variants and stores them in a folder of at most ``max_mb`` megabytes; thread-safe.

    ``mode``: permissions of the folder; a reverse proxy that sends the variants must have access.
    ``memory``: budget shared by all images that are rendered at a time.
    """

    def __init__(
        self,
        folder: Path,
        max_mb: int,
        mode: int = 0o700,
        *,
        memory: MemoryBudget | None = None,
    ) -> None:
        self.memory = memory or MemoryBudget(DEFAULT_IMAGE_MB * 2**20)
        self.folder = folder.resolve()
        self._mode = mode
        self._max_bytes = max_mb * 2**20
        self._lock = threading.Lock()
        self._creating: dict[str, threading.Lock] = {}
        self._added = self._max_bytes  # so that the first variant evicts what earlier servers left
        self.on_variant: Callable[[str], None] = lambda _how: None
        """Called with "kept" for each variant from the cache, with "made" for each new one."""

    def image(
        self, file: OpenFile, name: str, request: VariantRequest, *, create: bool = True
    ) -> OpenFile:
        """Return the requested variant of an image, open; the original if that is the better answer.

        ``name``: the file name, for the Content-Disposition of the variant. Raises VariantError, and
        NotCached if the variant is missing and ``create`` is false.
        """
        if request.error:
            raise VariantError(request.error)
        if file.kind not in readable_types():
            if request.quality_only:
                return file
            raise _unreadable(file)
        chosen = choose_format(file.kind, request)
        output = OUTPUT_FORMATS[chosen]
        key = _key(file, "picture", request.width, request.height, chosen, request.quality)
        create_bytes = (lambda: self._render(file, output.pillow, request)) if create else None
        try:
            variant = self._get(key + output.suffix, file, create_bytes)
        except VariantError:
            if request.quality_only:
                return file
            raise
        if not variant.size:  # see _render
            os.close(variant.descriptor)
            return file
        etag = f'"{key[:32]}"'
        headers = {
            **variant.headers,
            **file_headers(f"{Path(name).stem}{output.suffix}", output.mime),
            "Last-Modified": file.headers["Last-Modified"],
            "ETag": etag,
        }
        return replace(
            variant, etag=etag, modified=file.modified, headers=headers, kind=output.mime
        )

    def _render(self, file: OpenFile, output: str, request: VariantRequest) -> bytes:
        """Return the variant; empty if the original is the better answer, so that this is cached."""
        try:
            content = render(file, output, request, self.memory)
        except VariantError:
            if request.quality_only:
                return b""
            raise
        return b"" if request.quality_only and len(content) >= file.size else content

    def is_compressible(self, file: OpenFile) -> bool:
        """Whether a file is a text of a size worth compressing."""
        return MIN_TEXT_BYTES <= file.size <= MAX_TEXT_BYTES and is_text(file.kind)

    def gzipped(self, file: OpenFile, *, create: bool = True) -> OpenFile:
        """Return a text compressed by gzip, open. Raises VariantError and NotCached, as ``image``."""
        key = _key(file, "gzip")
        create_bytes = (lambda: self._gzip(file)) if create else None
        variant = self._get(f"{key}.gz", file, create_bytes)
        etag = f'{file.etag[:-1]}-gz"'
        headers = {**file.headers, "ETag": etag}
        return replace(variant, etag=etag, modified=file.modified, headers=headers, kind=file.kind)

    def _gzip(self, file: OpenFile) -> bytes:
        try:
            with self.memory.reserve(2 * file.size):
                return gzip.compress(file.read(0, file.size), 6, mtime=0)
        except OverBudget:
            raise VariantError("This text is too large to be compressed.", 413) from None

    def _get(self, name: str, file: OpenFile, create: Callable[[], bytes] | None) -> OpenFile:
        """Return the cached variant of that name. If missing, one of the concurrent callers creates
        it.
        """
        path = self.folder / name
        with suppress(Missing):
            return self._cached(path)
        if create is None:
            raise NotCached
        with self._lock_name(name):
            with suppress(Missing):
                return self._cached(path)
            return self._store(path, file, create())

    def _cached(self, path: Path) -> OpenFile:
        found = open_file(path, self.folder, path.name, cached=False)
        with suppress(OSError):
            os.utime(path)
        self.on_variant("kept")
        return found

    def _store(self, path: Path, file: OpenFile, content: bytes) -> OpenFile:
        if not file.is_unchanged:
            raise VariantError("The file is being modified. Try again later.", 503)
        try:
            self.folder.mkdir(self._mode, parents=True, exist_ok=True)
            write_atomic(path, content)
            stored = open_file(path, self.folder, path.name, cached=False)
        except (OSError, Missing):
            raise VariantError(
                "The server cannot store the resized image. Try again later.", 503
            ) from None
        self.on_variant("made")
        self._evict(len(content))
        return stored

    @contextmanager
    def _lock_name(self, name: str) -> Iterator[None]:
        with self._lock:
            lock = self._creating.setdefault(name, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._creating.pop(name, None)

    def _evict(self, added: int) -> None:
        """Delete the least recently used variants above the limit; checked whenever 5 % of it were added."""
        with self._lock:
            self._added += added
            if self._added < self._max_bytes // 20:
                return
            self._added = 0
        variants = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                with suppress(OSError):
                    status = path.stat()
                    variants.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in variants)
        for used, size, path in sorted(variants):
            if total <= self._max_bytes or used > time.time() - SPARED_SECONDS:
                return
            with suppress(OSError):
                path.unlink()
                total -= size


def _unreadable(file: OpenFile) -> VariantError:
    if file.kind in HEIF_TYPES:
        return VariantError(
            "HEIC images cannot be read: the package pillow-heif is not installed.", 415
        )
    return VariantError("Only images can be resized.")


def _key(file: OpenFile, *parts: object) -> str:
    """A hash of everything the variant depends on, as the name of its file."""
    identity = (file.device, file.inode, file.mtime_ns, file.size, *parts)
    return hashlib.sha256(repr(identity).encode()).hexdigest()
