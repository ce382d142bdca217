"""Files that appear complete or not at all, and a lock on a file that several processes change.

On Linux a pending file has no name until it is published (``O_TMPFILE``, open(2)), so that a killed
process leaves nothing behind. Elsewhere it is a hidden temp file, locked by its process; the next
writer deletes those that killed processes left.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

REPLACE_SECONDS = 2.0
MIN_AGE_SECONDS = 60.0
"""A younger temp file may belong to a process that has not locked it yet."""
TEMP_NAME = f".{'[0-9a-f]' * 24}.part"
_READ_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class PendingFile:
    """A file that is not published yet; ``file`` can be written and read until then."""

    def __init__(self, file: BinaryIO, path: Path | None) -> None:
        self.file = file
        self._path = path  # of the temp file; None if it has no name

    def publish_new(self, target: Path) -> bool:
        """Publish the file as ``target``; return False if that exists. Raises OSError."""
        if not self.file.closed:  # as after an attempt under a name that was taken
            self.file.flush()
        if self._path is None:
            return _link_unnamed(self.file.fileno(), target)
        if os.name == "nt":  # which renames no open file
            self.file.close()
        try:
            return _link(self._path, target)
        except FileNotFoundError:
            raise
        except OSError:
            return _rename_new(self._path, target)

    def publish_replace(self, target: Path) -> None:
        """Publish the file as ``target``, replacing an existing file. Raises OSError."""
        new_link = target.with_name(f".{os.urandom(8).hex()}")
        if self.publish_new(new_link):
            try:
                _replace(new_link, target)
            except OSError:
                new_link.unlink(missing_ok=True)
                raise


@contextmanager
def atomic_file(folder: Path, temp_dir: Path) -> Iterator[PendingFile]:
    """Yield a file to be published in ``folder``, which exists; delete it if it was not published.

    ``temp_dir``: for temp files on systems without unnamed files, on the same file system.
    Raises OSError.
    """
    path, descriptor = None, _open_unnamed(folder)
    if descriptor is None:
        path, descriptor = _open_temp(temp_dir)
    file = os.fdopen(descriptor, "w+b")
    try:
        yield PendingFile(file, path)
    finally:
        file.close()
        if path is not None:
            with suppress(OSError):
                path.unlink()


def write_atomic(file: Path, content: bytes) -> None:
    """Write a file, or replace it, in one step. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file.parent, file.parent) as pending:
        pending.file.write(content)
        pending.publish_replace(file)


@contextmanager
def file_lock(file: Path) -> Iterator[None]:
    """Hold a lock against other processes that read and write ``file`` under this lock.

    Leaves an empty ``.<name>.lock`` in the folder. Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("ab") as lock:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)  # tries for ten seconds
            try:
                yield
            finally:
                lock.seek(0)
                msvcrt.locking(lock.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
            yield


def _open_unnamed(folder: Path) -> int | None:
    """Open a file without a name; None if the system or the file system has none."""
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


def _open_temp(folder: Path) -> tuple[Path, int]:
    folder.mkdir(parents=True, exist_ok=True)
    _delete_abandoned(folder)
    path = folder / f".{os.urandom(12).hex()}.part"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | _READ_WRITE, 0o666)
    _lock(descriptor)
    return path, descriptor


def _lock(descriptor: int) -> bool:
    """Mark a temp file as in use; return False if another process has. Windows needs no lock, as it
    does not delete open files.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _delete_abandoned(folder: Path) -> None:
    """Delete the temp files of killed processes."""
    oldest = time.time() - MIN_AGE_SECONDS
    for path in folder.glob(TEMP_NAME):
        with suppress(OSError):
            if path.stat().st_mtime > oldest:
                continue
            descriptor = os.open(path, _READ_WRITE)
            unused = _lock(descriptor)
            os.close(descriptor)
            if unused:
                path.unlink()


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def _link_unnamed(descriptor: int, target: Path) -> bool:
    """Name an unnamed file. Only linkat(2) follows ``/proc/self/fd``, and CPython calls it only if a
    folder's descriptor is given, which is not used for an absolute path.
    """
    try:
        os.link(f"/proc/self/fd/{descriptor}", target, src_dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _replace(source: Path, target: Path) -> None:
    """Replace a file in one step. Windows refuses that while another process has it open, such as a
    reader or a virus scanner, so that it is tried for ``REPLACE_SECONDS``. Raises OSError.
    """
    until = time.monotonic() + REPLACE_SECONDS
    while True:
        try:
            os.replace(source, target)  # noqa: PTH105 - atomic on POSIX and Windows alike
        except PermissionError:
            if os.name != "nt" or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def _rename_new(source: Path, target: Path) -> bool:
    """Rename without replacing, for file systems without hard links (FAT, exFAT, some network ones).

    A rename never replaces on Windows. Elsewhere it does, so that an empty file reserves the name
    first (``O_EXCL``) and is replaced then.
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
