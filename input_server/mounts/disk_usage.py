"""The regular files of a mount, and the space they take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .mount import Mount
from .resolve import Missing, Refused, check_names, is_exhausted, lookup_error
from .table import MountTable

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
        """The path below the mount."""
        return "/".join(self.names)


def walk(folder: Path) -> Iterator[Entry]:
    """Yield every file that may be served, at most MAX_FILES; no symlinks or hidden files.

    Files that disappear meanwhile are skipped. Raises Missing if ``folder`` itself is not there or may
    not be read, and Exhausted rather than skip files for lack of descriptors or memory.
    """
    pending: list[tuple[str, tuple[str, ...]]] = [(str(folder), ())]
    left = MAX_FILES
    while pending:
        directory, parents = pending.pop()
        try:
            entries = list(os.scandir(directory))
        except OSError as error:
            if is_exhausted(error) or not parents:
                raise lookup_error(error) from None
            continue
        for entry in entries:
            names = (*parents, entry.name)
            try:
                check_names((entry.name,))
                if entry.is_dir(follow_symlinks=False) and len(names) < MAX_DEPTH:
                    pending.append((entry.path, names))
                elif entry.is_file(follow_symlinks=False):
                    left -= 1
                    yield _entry(entry, names)
            except (Refused, Missing, OSError) as error:
                if is_exhausted(error):
                    raise lookup_error(error) from None
                continue
            if left <= 0:
                return


def _entry(entry: os.DirEntry[str], names: tuple[str, ...]) -> Entry:
    stat = entry.stat(follow_symlinks=False)
    inode = stat.st_ino or entry.inode()  # on Windows DirEntry.stat() has no inode
    return Entry(names, stat.st_size, stat.st_mtime_ns, inode)


def measure(mount: Mount) -> tuple[int, int]:
    """Return the number of files and their bytes. Raises Missing and Exhausted, as ``walk``."""
    sizes = [entry.size for entry in walk(mount.folder)]
    return len(sizes), sum(sizes)


def cached_usage(
    mounts: MountTable, seconds: float = 60.0
) -> Callable[[], Mapping[str, tuple[int, int]]]:
    """Return a function that measures every mount, at most once in ``seconds``.

    A mount that cannot be measured keeps its previous figures; one whose folder is gone has none.
    """
    lock = threading.Lock()
    cached: dict[str, tuple[int, int]] = {}
    measured_at = [-seconds]

    def usage() -> Mapping[str, tuple[int, int]]:
        with lock:
            if time.monotonic() - measured_at[0] >= seconds:
                found = {}
                for mount in mounts:
                    try:
                        found[mount.alias] = measure(mount)
                    except OSError:
                        if mount.alias in cached:
                            found[mount.alias] = cached[mount.alias]
                    except Missing:
                        continue
                cached.clear()
                cached.update(found)
                measured_at[0] = time.monotonic()
            return dict(cached)

    return usage
