"""A cache of open files. The file that was checked is the file that is sent.

A replaced file gets another inode; requests that acquired the old one keep reading the old one.
Looking up a cached file costs one ``stat``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

from ..content_type import detect_type, file_headers, head_bytes
from .mount import Mount
from .resolve import locate, lookup_error, open_located_file

MAX_CACHED = 256 if os.name == "posix" else 0
"""Files that stay open for later requests. On Windows an open file could not be replaced."""
PINNED_SECONDS = 5.0
"""By then native code has opened a pinned path; files stay open for at least as long after their use."""
IDLE_SECONDS = PINNED_SECONDS
"""How long an unused file stays open. Not for long: a drive with an open file cannot be unmounted."""
WINDOWS_DESCRIPTORS = 8192
"""The most files that the C library of Windows lets a process open (_setmaxstdio)."""
MAX_SECONDS = 253_402_300_799
"""The last second of the year 9999; file systems have later ones."""
PINNABLE = Path("/proc/self/fd").is_dir()
NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
READ_LOCK = threading.Lock()
"""Makes seek and read one step where there is no ``pread`` (Windows)."""


def descriptor_limit() -> int:
    """Return how many files this process may open."""
    if sys.platform == "win32":
        return WINDOWS_DESCRIPTORS
    try:
        import resource
    except ImportError:
        return WINDOWS_DESCRIPTORS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open regular file; has to be released (``OpenFileCache.release``).

    ``path`` and ``root``: file and mount, symlinks resolved. ``modified``: in seconds. ``kind``:
    content type. ``headers``: sent with the file. ``cached``: stays open for later requests.
    """

    descriptor: int
    path: Path
    root: Path
    device: int
    inode: int
    size: int
    mtime_ns: int
    etag: str
    modified: datetime
    kind: str
    headers: Mapping[str, str]
    cached: bool

    @property
    def pinned_path(self) -> str | None:
        """A path that means this very file while it is cached; None where there is no /proc."""
        return f"/proc/self/fd/{self.descriptor}" if self.cached and PINNABLE else None

    @property
    def is_unchanged(self) -> bool:
        """Whether the file has not been written since it was opened."""
        now = os.fstat(self.descriptor)
        return (now.st_mtime_ns, now.st_size) == (self.mtime_ns, self.size)

    def read(self, start: int, length: int) -> bytes:
        """Return some bytes, fewer at the end of the file."""
        if sys.platform != "win32" and hasattr(os, "pread"):
            return os.pread(self.descriptor, length, start)
        with READ_LOCK:
            os.lseek(self.descriptor, start, os.SEEK_SET)
            return os.read(self.descriptor, length)

    def read_cached(self, start: int, length: int) -> bytes | None:
        """Return some bytes, None if that would wait for the disk (preadv2(2), RWF_NOWAIT)."""
        if sys.platform == "win32" or NOWAIT is None:
            return None
        buffer = bytearray(length)
        try:
            done = os.preadv(self.descriptor, [buffer], start, NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if done == length else None


CacheKey = tuple[str, ...]
"""The mount's folder and the names below it."""


class OpenFileCache:
    """Opens files and keeps recently used ones open. Thread-safe.

    ``max_cached``: files that stay open; ``sweep`` has to be called regularly then. ``most``: the limit
    for those and for replaced files that are still open, None for a quarter of the process's limit.
    ``retire_seconds``: how long a replaced file stays open. By then the clients that got its pinned
    path have opened that or were aborted; a reused descriptor would send them another file.
    """

    def __init__(
        self, max_cached: int = MAX_CACHED, retire_seconds: float = 60.0, most: int | None = None
    ) -> None:
        self._most = descriptor_limit() // 4 if most is None else most
        self._max_cached = min(max_cached, self._most // 2)
        self._retire_seconds = retire_seconds
        self._lock = threading.Lock()
        self._cached: OrderedDict[CacheKey, OpenFile] = OrderedDict()
        self._retired: deque[tuple[float, OpenFile]] = deque()
        self._users: Counter[int] = Counter()  # of cached files, by descriptor
        self._released: dict[int, float] = {}  # when the last user of a cached file ended

    @property
    def count(self) -> int:
        """How many files are open here."""
        return len(self._cached) + len(self._retired)

    def acquire(self, mount: Mount, names: Sequence[str]) -> OpenFile:
        """Open a file, or return it from the cache if it is unchanged.

        ``names`` must have been checked. Raises Refused, Missing and Exhausted.
        """
        key = (str(mount.folder), *names)
        now = time.monotonic()
        with self._lock:
            entry = self._cached.get(key)
            if entry is not None and _is_current(key, entry):
                self._cached.move_to_end(key)
                self._users[entry.descriptor] += 1
                return entry
        return self._open(key, mount, names, now)

    def release(self, file: OpenFile) -> None:
        """End the use of an acquired file; closes it unless it is cached."""
        if not file.cached:
            os.close(file.descriptor)
            return
        with self._lock:
            self._users[file.descriptor] -= 1
            if not self._users[file.descriptor]:
                del self._users[file.descriptor]
                self._released[file.descriptor] = time.monotonic()

    def sweep(self) -> None:
        """Close files that are idle, or that were replaced long enough ago."""
        now = time.monotonic()
        with self._lock:
            for key, file in list(self._cached.items()):
                is_used = file.descriptor in self._users
                if not is_used and now - self._released[file.descriptor] > IDLE_SECONDS:
                    del self._cached[key]
                    self._close(file)
            self._close_retired(now, self._retire_seconds)

    def close(self) -> None:
        """Close every file that is not in use."""
        with self._lock:
            files = list(self._cached.values())
            files += [file for _, file in self._retired]
            self._cached.clear()
            self._retired.clear()
            for file in files:
                if file.descriptor not in self._users:
                    self._close(file)

    def _close(self, file: OpenFile) -> None:
        self._released.pop(file.descriptor, None)
        os.close(file.descriptor)

    def _open(self, key: CacheKey, mount: Mount, names: Sequence[str], now: float) -> OpenFile:
        path, root = locate(mount.folder, names)
        file = open_file(path, root, names[-1], cached=self._has_room(now))
        if not file.cached:
            return file
        with self._lock:
            replaced = self._cached.pop(key, None)
            self._cached[key] = file
            self._users[file.descriptor] += 1
            if replaced is not None:
                self._retired.append((now, replaced))
            while len(self._cached) > self._max_cached:
                self._retired.append((now, self._cached.popitem(last=False)[1]))
            self._close_retired(now, self._retire_seconds)
        return file

    def _has_room(self, now: float) -> bool:
        """Return whether one more file may be cached; closes old replaced ones to make room."""
        if self._max_cached <= 0:
            return False
        with self._lock:
            if self.count >= self._most:
                seconds = min(self._retire_seconds, PINNED_SECONDS)
                self._close_retired(now, seconds, self._most - 1)
            return self.count < self._most

    def _close_retired(self, now: float, seconds: float, down_to: int = 0) -> None:
        """Close files retired more than ``seconds`` ago, while more than ``down_to`` are open."""
        in_use: list[tuple[float, OpenFile]] = []
        while (
            self._retired
            and self.count + len(in_use) > down_to
            and now - self._retired[0][0] > seconds
        ):
            file = self._retired.popleft()[1]
            if file.descriptor in self._users:
                in_use.append((now, file))
            else:
                self._close(file)
        self._retired += in_use


def open_file(path: Path, root: Path, name: str, *, cached: bool) -> OpenFile:
    """Open a located file and detect its type. ``name``: the file name to send.

    Raises Missing and Exhausted.
    """
    descriptor = open_located_file(path, root)
    try:
        stat = os.fstat(descriptor)
        kind = detect_type(name, _head(descriptor, head_bytes(name)))
    except OSError as error:
        os.close(descriptor)
        raise lookup_error(error) from None
    seconds = min(max(stat.st_mtime_ns // 10**9, 0), MAX_SECONDS)
    etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"'
    modified = datetime.fromtimestamp(seconds, timezone.utc)
    headers = {
        "ETag": etag,
        "Last-Modified": format_datetime(modified, usegmt=True),
        "Accept-Ranges": "bytes",
        **file_headers(name, kind),
    }
    return OpenFile(
        descriptor,
        path,
        root,
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        stat.st_mtime_ns,
        etag,
        modified,
        kind,
        headers,
        cached,
    )


def _head(descriptor: int, length: int) -> bytes:
    head = os.read(descriptor, length)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return head


def _is_current(key: CacheKey, file: OpenFile) -> bool:
    """Return whether the requested path, symlinks included, still means this file, unchanged."""
    try:
        stat = os.stat(os.path.join(*key))  # noqa: PTH116, PTH118 - runs for every request
    except OSError:
        return False
    return (
        stat.st_ino == file.inode
        and stat.st_mtime_ns == file.mtime_ns
        and stat.st_size == file.size
        and stat.st_dev == file.device
    )
