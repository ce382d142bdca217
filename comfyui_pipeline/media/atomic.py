"""A file that grows where nobody sees it and gets its name once it is whole.

On Linux it has no name at all until then (``O_TMPFILE``, open(2)), so that a killed process leaves
nothing behind. Elsewhere it grows in a hidden folder, locked for as long as its process lives, and
whoever comes next sweeps away what a killed process left there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_FRESH_SECONDS = 60.0
"""A file this young may belong to a process that has not locked it yet."""
_READ_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class PendingFile:
    """A file without a name. ``file`` may be written and read until it is named."""

    def __init__(self, file: BinaryIO, path: Path | None) -> None:
        self.file = file
        self._path = path

    def name(self, target: Path) -> bool:
        """Give the file its name; False when another file has it. Raises OSError."""
        self.file.flush()
        if self._path is None:
            return _linked_open(self.file.fileno(), target)
        if os.name == "nt":
            self.file.close()
        try:
            return _linked(self._path, target)
        except FileNotFoundError:
            raise
        except OSError:
            return _claimed(self._path, target)

    def publish_replace(self, target: Path) -> None:
        """Give the file its name, in the place of a file that has it. Raises OSError."""
        beside = target.with_name(f".{secrets.token_hex(8)}")
        if self.name(beside):
            os.replace(beside, target)  # noqa: PTH105 - atomic on POSIX and Windows alike


@contextmanager
def atomic_file(folder: Path, nursery: Path) -> Iterator[PendingFile]:
    """A file that will be named inside ``folder``, which exists; gone at the end unless it was.

    ``nursery``: where it grows on systems without nameless files, on the same file system.
    Raises OSError.
    """
    path, descriptor = None, _nameless(folder)
    if descriptor is None:
        path, descriptor = _hidden(nursery)
    file = os.fdopen(descriptor, "w+b")
    try:
        yield PendingFile(file, path)
    finally:
        file.close()
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def _nameless(folder: Path) -> int | None:
    """None where the system or the file system knows no files without a name."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        descriptor = os.open(folder, flag | _READ_WRITE, 0o666)
    except OSError:
        return None
    if Path(f"/proc/self/fd/{descriptor}").exists():
        return descriptor
    os.close(descriptor)
    return None


def _hidden(nursery: Path) -> tuple[Path, int]:
    nursery.mkdir(parents=True, exist_ok=True)
    _sweep(nursery)
    path = nursery / f"{secrets.token_hex(12)}.part"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | _READ_WRITE, 0o666)
    _lock(descriptor)
    return path, descriptor


def _lock(descriptor: int) -> bool:
    """Mark a file as in use; False when another process has. Windows lets nobody remove it anyway."""
    if os.name == "nt":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(nursery: Path) -> None:
    """Remove what killed processes left."""
    oldest = time.time() - _FRESH_SECONDS
    for path in nursery.glob("*.part"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime > oldest:
                continue
            descriptor = os.open(path, _READ_WRITE)
            unused = _lock(descriptor)
            os.close(descriptor)
            if unused:
                path.unlink()


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def _linked_open(descriptor: int, target: Path) -> bool:
    """Name a file that has none. CPython calls linkat(2), which alone follows ``/proc/self/fd``,
    only when a descriptor of a folder is given; with a full path that one is not used.
    """
    try:
        os.link(f"/proc/self/fd/{descriptor}", target, src_dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _claimed(source: Path, target: Path) -> bool:
    """FAT, exFAT and some network file systems know no hard links.

    On Windows a rename never replaces. Elsewhere it does: there an empty file takes the name
    first, since only creating one is exclusive, and is replaced by the whole file.
    """
    try:
        if os.name == "nt":
            source.rename(target)
            return True
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    try:
        source.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return True
