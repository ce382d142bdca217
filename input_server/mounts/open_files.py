"""Files held open for a while, so that what was looked at is what is sent, to its end.

A file that is replaced meanwhile gets another inode; whoever was told of the old one still gets the
old one. Looking a known path up costs one ``stat``.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

from ..content_type import HEAD_BYTES, detect_type, file_headers
from .resolve import locate, lookup_error, open_regular_file
from .table import Mount

MAX_CACHED = 256 if os.name == "posix" else 0
"""Files that stay open to be sent again. On Windows an open file could not be replaced."""
IDLE_SECONDS = 20.0
"""How long a file that nobody asks for stays open."""
PINNED_SECONDS = 5.0
"""By then whoever was given a pinned path has opened it; replaced files stay open so long at least."""
WINDOWS_DESCRIPTORS = 8192
"""The most files that its C library lets a process have open (_setmaxstdio)."""


def descriptor_limit() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:
        return WINDOWS_DESCRIPTORS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open plain file and what is said of it. ``path`` has every link resolved.

    ``headers`` are those of every answer that carries it; ``modified`` in whole seconds. ``held``:
    whether it stays open for the next. Whoever was given one gives it back (``OpenFiles.done``).
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
        """A path that means this very file for as long as it is held, where the system has one."""
        return f"/proc/self/fd/{self.descriptor}" if self.cached and PINNABLE else None

    @property
    def is_unchanged(self) -> bool:
        """Whether nobody has written into it since it was looked at."""
        now = os.fstat(self.descriptor)
        return (now.st_mtime_ns, now.st_size) == (self.mtime_ns, self.size)

    def read(self, start: int, length: int) -> bytes:
        """Some of its bytes; fewer at its end."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, length, start)
        with READING:
            os.lseek(self.descriptor, start, os.SEEK_SET)
            return os.read(self.descriptor, length)

    def read_cached(self, start: int, length: int) -> bytes | None:
        """The same, None where it would have to wait for the disk (preadv2(2), RWF_NOWAIT)."""
        if NOWAIT is None:
            return None
        buffer = bytearray(length)
        try:
            release = os.preadv(self.descriptor, [buffer], start, NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if release == length else None


LATEST = 253_402_300_799
"""The last second of the year 9999; file systems know later ones."""
PINNABLE = Path("/proc/self/fd").is_dir()
NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
READING = threading.Lock()
"""Where there is no ``pread`` (Windows), seeking and reading is one step."""


Key = tuple[str, ...]


class OpenFileCache:
    """The files that are open; thread-safe. ``hold``: how many stay so, for whoever ``sweep``s.
    ``most``: how many there may be of those and of replaced ones; None means a quarter of all that
    the process may open.

    ``patience``: seconds that one stays open once another has its name. By then whoever was given its
    pinned path has opened that, or was given up: a descriptor that meant another file would send it.
    """

    def __init__(
        self, max_cached: int = MAX_CACHED, retire_seconds: float = 60.0, most: int | None = None
    ) -> None:
        self._most = descriptor_limit() // 4 if most is None else most
        self._hold = min(max_cached, self._most // 2)
        self._patience = retire_seconds
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, tuple[OpenFile, float]] = OrderedDict()
        self._retired: deque[tuple[float, OpenFile]] = deque()
        self._users: Counter[int] = Counter()  # of held files, by their descriptors

    @property
    def count(self) -> int:
        """How many files are open here."""
        return len(self._held) + len(self._retired)

    def acquire(self, mount: Mount, names: Sequence[str]) -> OpenFile:
        """The file of these judged names, as it is now. Raises Refused, Missing and Exhausted."""
        key = (str(mount.folder), *names)
        now = time.monotonic()
        with self._lock:
            entry = self._held.get(key)
            if entry is not None and _same(key, entry[0]):
                self._held[key] = (entry[0], now)
                self._held.move_to_end(key)
                self._users[entry[0].descriptor] += 1
                return entry[0]
        return self._open(key, mount, names, now)

    def release(self, file: OpenFile) -> None:
        """Give back what ``find`` gave; closes it unless it is held."""
        if not file.cached:
            os.close(file.descriptor)
            return
        with self._lock:
            self._users[file.descriptor] -= 1
            if not self._users[file.descriptor]:
                del self._users[file.descriptor]

    def sweep(self) -> None:
        """Close what nobody asked for lately, and what was replaced long enough ago."""
        now = time.monotonic()
        with self._lock:
            for key, (_, used) in list(self._held.items()):
                if now - used > IDLE_SECONDS:
                    self._retired.append((now, self._held.pop(key)[0]))
            self._close_retired(now, self._patience)

    def close(self) -> None:
        """Close everything that nobody uses just now."""
        with self._lock:
            files = [file for file, _ in self._held.values()] + [file for _, file in self._retired]
            self._held.clear()
            self._retired.clear()
            for file in files:
                if file.descriptor not in self._users:
                    os.close(file.descriptor)

    def _open(self, key: Key, mount: Mount, names: Sequence[str], now: float) -> OpenFile:
        path, root = locate(mount.folder, names)
        file = open_file(path, root, names[-1], cached=self._has_room(now))
        if not file.cached:
            return file
        with self._lock:
            before = self._held.pop(key, None)
            self._held[key] = (file, now)
            self._users[file.descriptor] += 1
            if before is not None:
                self._retired.append((now, before[0]))
            while len(self._held) > self._hold:
                self._retired.append((now, self._held.popitem(last=False)[1][0]))
            self._close_retired(now, self._patience)
        return file

    def _has_room(self, now: float) -> bool:
        """Whether one more file may be held; where there is no room, the oldest replaced ones go."""
        if self._hold <= 0:
            return False
        with self._lock:
            if self.count >= self._most:
                self._close_retired(now, min(self._patience, PINNED_SECONDS), self._most - 1)
            return self.count < self._most

    def _close_retired(self, now: float, retire_seconds: float, down_to: int = 0) -> None:
        """Close the oldest replaced files while there are more than ``down_to`` files open."""
        in_use: list[tuple[float, OpenFile]] = []
        while (
            self._retired
            and self.count + len(in_use) > down_to
            and now - self._retired[0][0] > retire_seconds
        ):
            file = self._retired.popleft()[1]
            if file.descriptor in self._users:
                in_use.append((now, file))
            else:
                os.close(file.descriptor)
        self._retired += in_use


def open_file(path: Path, root: Path, name: str, *, cached: bool) -> OpenFile:
    """Open a located file and see what it is. ``name``: what it is called. Raises Missing and
    Exhausted.
    """
    descriptor = open_regular_file(path, root)
    try:
        seen = os.fstat(descriptor)
        kind = detect_type(name, _head(descriptor))
    except OSError as problem:
        os.close(descriptor)
        raise lookup_error(problem) from None
    seconds = min(max(seen.st_mtime_ns // 10**9, 0), LATEST)
    etag = f'"{seen.st_mtime_ns:x}-{seen.st_size:x}-{seen.st_ino:x}"'
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
        seen.st_dev,
        seen.st_ino,
        seen.st_size,
        seen.st_mtime_ns,
        etag,
        modified,
        kind,
        headers,
        cached,
    )


def _head(descriptor: int) -> bytes:
    head = os.read(descriptor, HEAD_BYTES)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return head


def _same(key: Key, file: OpenFile) -> bool:
    """Whether the path as it was asked for, links and all, still means this file, unchanged."""
    try:
        seen = os.stat(os.path.join(*key))  # noqa: PTH116, PTH118 - on the way of every request
    except OSError:
        return False
    return (
        seen.st_ino == file.inode
        and seen.st_mtime_ns == file.mtime_ns
        and seen.st_size == file.size
        and seen.st_dev == file.device
    )
