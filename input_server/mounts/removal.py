"""Removes planned files, unless they have changed since or are in use."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .disk_usage import Entry
from .mount import Mount
from .resolve import Missing, Refused, locate, open_parent
from .retention import MIN_AGE_SECONDS, Plan

TEMP_PREFIX = ".removing-"
"""Prefix of the name to which a file is moved just before it is deleted. Hidden names are not served."""
CHANGED = "it has changed since"


def apply_plan(plan: Plan, log: Callable[[str], None]) -> tuple[int, int]:
    """Delete the planned files. Returns the number of deleted files and bytes.

    Logs each deleted file, and each file that was not deleted.
    """
    ignore_lease_breaks()
    _delete_abandoned(plan.mount.folder)
    files = freed = 0
    for removal in plan.removals:
        file = f"{plan.mount.alias}/{removal.entry.path} ({removal.entry.size} bytes)"
        problem = _remove(plan.mount, removal.entry)
        if problem:
            log(f"kept {file}: {problem}")
            continue
        files, freed = files + 1, freed + removal.entry.size
        log(f"deleted {file}: {removal.reason}")
    return files, freed


def _delete_abandoned(folder: Path) -> None:
    """Delete what killed processes had renamed; younger files may belong to a running one."""
    with suppress(OSError):
        for path in folder.glob(f"{TEMP_PREFIX}*"):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime >= MIN_AGE_SECONDS:
                    path.unlink()


def _remove(mount: Mount, entry: Entry) -> str:
    """Delete a file. Returns "", or why it was not deleted."""
    try:
        path, root = locate(mount.folder, entry.names)
        if path != root.joinpath(*entry.names):
            return "its path contains a symlink"
        with open_parent(path, root) as (name, directory):
            return _blocker(name, directory, entry) or _delete(name, directory, root, entry)
    except (Missing, FileNotFoundError):
        return "it is missing"
    except (Refused, OSError) as error:
        return str(getattr(error, "strerror", None) or "it is outside the mount")


def _blocker(name: str, directory: int | None, entry: Entry) -> str:
    """Return why a file must not be deleted now, "" if it may be."""
    stat = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not _is_same(stat, entry):
        return CHANGED
    if time.time() - stat.st_mtime < MIN_AGE_SECONDS:
        return "it is less than an hour old"
    if _is_open_for_writing(name, directory):
        return "it is being written"
    return ""


def _is_same(stat: os.stat_result, entry: Entry) -> bool:
    found = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found == (entry.inode, entry.size, entry.mtime_ns)


def _delete(name: str, directory: int | None, root: Path, entry: Entry) -> str:
    """Delete a file if it is still the planned one. Returns "", or why it was not deleted.

    The file is renamed before it is checked: otherwise another file could take its name between the
    check and the deletion, and be lost.
    """
    renamed = root / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    try:
        os.rename(name, renamed, src_dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EACCES, errno.EROFS):
            raise
        # the file is on another file system, or the mount's root is not writable
        os.unlink(name, dir_fd=directory)
        return ""
    if _is_same(renamed.lstat(), entry):
        renamed.unlink()
        return ""
    _restore(renamed, name, directory)
    return CHANGED


def _restore(renamed: Path, name: str, directory: int | None) -> None:
    """Rename a file back, or to a similar name if an even newer file has taken it."""
    stem, dot, suffix = name.rpartition(".")
    token = secrets.token_hex(4)
    similar = f"{stem or suffix}.{token}{dot}{suffix if stem else ''}".rstrip(".")
    for candidate in (name, similar):
        with suppress(FileExistsError):
            _rename_new(renamed, candidate, directory)
            return


def _rename_new(path: Path, name: str, directory: int | None) -> None:
    """Rename a file without replacing another. Raises OSError, FileExistsError if the name is taken."""
    if os.name == "nt":
        path.rename(name)
        return
    try:
        os.link(path, name, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: check first, as well as that can be done
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
            raise FileExistsError from None
        os.rename(path, name, dst_dir_fd=directory)
        return
    path.unlink()


def _is_open_for_writing(name: str, directory: int | None) -> bool:
    """Return whether a process has the file open for writing: Linux then grants no read lease.

    (fcntl(2), F_SETLEASE.) False where that cannot be found out: on other systems (Windows removes no
    open file anyway), for another user's file, and where a lease could end this process.
    """
    if sys.platform == "win32":
        return False
    with suppress(ImportError):
        import fcntl

        if not hasattr(fcntl, "F_SETLEASE") or signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
            return False
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(name, flags, dir_fd=directory)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return True
        except OSError:  # another user's file, or a file system without leases
            return False
        finally:
            os.close(descriptor)
    return False


def ignore_lease_breaks() -> None:
    """Ignore SIGIO, which would end a process that holds a lease when another one writes.

    Only the main thread can; in others this does nothing.
    """
    if hasattr(signal, "SIGIO"):
        with suppress(ValueError):
            signal.signal(signal.SIGIO, signal.SIG_IGN)
