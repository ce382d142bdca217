"""What lies in a mount: its plain files, as a walk finds them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .resolve import Missing, Refused, check_names, is_exhausted, lookup_error
from .table import Mount, MountTable

MAX_FILES = 200_000
MAX_DEPTH = 24


@dataclass(frozen=True, slots=True)
class Entry:
    """One file; ``names`` are the parts of its path below the mount, times in nanoseconds."""

    names: tuple[str, ...]
    size: int
    mtime_ns: int
    inode: int

    @property
    def path(self) -> str:
        return "/".join(self.names)


def walk(folder: Path) -> Iterator[Entry]:
    """Every file that could be served: no links, nothing hidden, no odd names; at most MOST_FILES.

    What vanishes meanwhile is passed over. Raises Exhausted rather than to leave files out.
    """
    waiting: list[tuple[str, tuple[str, ...]]] = [(str(folder), ())]
    left = MAX_FILES
    while waiting:
        place, above = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as problem:
            if is_exhausted(problem):
                raise lookup_error(problem) from None
            continue
        for entry in entries:
            names = (*above, entry.name)
            try:
                check_names((entry.name,))
                if entry.is_dir(follow_symlinks=False) and len(names) < MAX_DEPTH:
                    waiting.append((entry.path, names))
                elif entry.is_file(follow_symlinks=False):
                    seen = entry.stat(follow_symlinks=False)
                    left -= 1
                    inode = seen.st_ino or entry.inode()  # Windows leaves the first one out
                    yield Entry(names, seen.st_size, seen.st_mtime_ns, inode)
            except (Refused, Missing, OSError) as problem:
                if is_exhausted(problem):
                    raise lookup_error(problem) from None
                continue
            if left <= 0:
                return


def measure(mount: Mount) -> tuple[int, int]:
    """Number of files and their bytes."""
    sizes = [entry.size for entry in walk(mount.folder)]
    return len(sizes), sum(sizes)


def cached_usage(
    mounts: MountTable, seconds: float = 60.0
) -> Callable[[], Mapping[str, tuple[int, int]]]:
    """Measures every mount, and again only when the figures are older than that. One that cannot be
    measured just now keeps the figures that it had.
    """
    lock = threading.Lock()
    kept: dict[str, tuple[int, int]] = {}
    moment = [-seconds]

    def figures() -> Mapping[str, tuple[int, int]]:
        with lock:
            if time.monotonic() - moment[0] >= seconds:
                found = {}
                for mount in mounts:
                    with suppress(OSError):
                        found[mount.alias] = measure(mount)
                    if mount.alias in kept:
                        found.setdefault(mount.alias, kept[mount.alias])
                kept.clear()
                kept.update(found)
                moment[0] = time.monotonic()
            return dict(kept)

    return figures
