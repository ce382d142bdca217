"""Tidying a mount up: first a plan of what would go and why, then that plan and nothing else."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .disk_usage import Entry, walk
from .resolve import Missing, Refused, locate, open_parent
from .table import Mount, MountTable

MIN_AGE_SECONDS = 3600.0
"""A file younger than this is never touched: somebody may just be looking at it, or writing it."""
FIRST_SECONDS, EVERY_SECONDS = 60.0, 3600.0
DAY = 24 * 3600.0
TEMP_PREFIX = ".removing-"
"""How the name begins to which a file is moved just before it is removed; such names are not served."""
CHANGED = "it has changed meanwhile"


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that would go, and why."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a clean-up of one mount would do."""

    mount: Mount
    removals: tuple[Removal, ...]

    @property
    def size(self) -> int:
        """Bytes that it would free."""
        return sum(removal.entry.size for removal in self.removals)


def plans(mounts: Iterable[Mount], now: float, beside: Iterable[Mount] = ()) -> Iterator[Plan]:
    """A plan for each mount; what lies in a read-only one, of these or ``beside``, stays by whichever
    name.
    """
    listed = list(mounts)
    spared = [mount.folder for mount in (*listed, *beside) if mount.read_only]
    return (plan(mount, now, spared=spared) for mount in listed)


def plan(
    mount: Mount,
    now: float,
    entries: Iterable[Entry] | None = None,
    spared: Iterable[Path] = (),
) -> Plan:
    """What the mount's rules say at that moment (``time.time()``); touches nothing.

    ``entries``: what lies in it, None to look; ``spared``: folders in which nothing may go.
    """
    if mount.read_only or not mount.clean:
        return Plan(mount, ())
    kept = _below(mount.folder, spared)
    found = sorted(
        walk(mount.folder) if entries is None else entries,
        key=lambda entry: (-entry.mtime_ns, entry.path),
    )
    removals = _removals(mount, found, now)
    return Plan(mount, tuple(r for r in removals if not _is_in(r.entry, kept)))


def _below(root: Path, folders: Iterable[Path]) -> list[tuple[str, ...]]:
    """Where those folders lie below a root, as parts; () for one that is the root or above it."""
    root = root.resolve()
    resolved = [folder.resolve() for folder in folders]
    inside = [folder.relative_to(root).parts for folder in resolved if folder.is_relative_to(root)]
    return inside + [() for folder in resolved if root.is_relative_to(folder)]


def _is_in(entry: Entry, folders: Sequence[tuple[str, ...]]) -> bool:
    return any(entry.names[: len(parts)] == parts for parts in folders)


def _removals(mount: Mount, newest_first: Sequence[Entry], now: float) -> Iterator[Removal]:
    """Oldest first, so that a plan that is stopped half-way has done the surest part."""
    rules = mount.clean
    count, total = len(newest_first), sum(entry.size for entry in newest_first)
    for entry in reversed(newest_first[rules.keep_newest :]):
        age = now - entry.mtime_ns / 1e9
        if age < MIN_AGE_SECONDS:
            return
        reason = ""
        if rules.older_than_days is not None and age > rules.older_than_days * DAY:
            reason = f"older than {rules.older_than_days:g} days"
        elif rules.most_files is not None and count > rules.most_files:
            reason = f"more than {rules.most_files} files"
        elif rules.total_mb is not None and total > rules.total_mb * 2**20:
            reason = f"more than {rules.total_mb:g} MB"
        if reason:
            count, total = count - 1, total - entry.size
            yield Removal(entry, reason)


def apply_plan(planned: Plan, log: Callable[[str], None]) -> tuple[int, int]:
    """Remove what was planned, if it is still the same; gives files and bytes removed.

    Each removal is logged, and each file that was left after all.
    """
    _outlive_leases()
    _remove_left_over(planned.mount.folder)
    files = freed = 0
    for removal in planned.removals:
        told = f"{planned.mount.alias}/{removal.entry.path} ({removal.entry.size} bytes)"
        problem = _remove(planned.mount, removal.entry)
        if problem:
            log(f"left {told}: {problem}")
            continue
        files, freed = files + 1, freed + removal.entry.size
        log(f"removed {told}: {removal.reason}")
    return files, freed


def _remove_left_over(folder: Path) -> None:
    """Remove what a process that was killed had moved aside; what is younger may be in use."""
    with suppress(OSError):
        for path in folder.glob(f"{TEMP_PREFIX}*"):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime >= MIN_AGE_SECONDS:
                    path.unlink()


def _remove(mount: Mount, entry: Entry) -> str:
    """Why it was not removed; "" when it was."""
    try:
        path, root = locate(mount.folder, entry.names)
        if path != root.joinpath(*entry.names):
            return "a link lies on its way"
        with open_parent(path, root) as (name, folder):
            problem = _why_not(name, folder, entry)
            return problem or _take_out(name, folder, root, entry)
    except (Missing, FileNotFoundError):
        return "it is gone"
    except (Refused, OSError) as problem:
        return str(getattr(problem, "strerror", None) or "it lies outside")


def _why_not(name: str, folder: int | None, entry: Entry) -> str:
    seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not _is_same(seen, entry):
        return CHANGED
    if time.time() - seen.st_mtime < MIN_AGE_SECONDS:
        return "it is younger than an hour"
    if _is_written(name, folder):
        return "it is being written"
    return ""


def _is_same(seen: os.stat_result, entry: Entry) -> bool:
    found = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    return found == (entry.inode, entry.size, entry.mtime_ns)


def _take_out(name: str, folder: int | None, root: Path, entry: Entry) -> str:
    """Remove what bears a name, if it still is what was planned. It is moved aside before that is seen:
    another file could otherwise take the name between the look and the removal, and be lost.
    """
    aside = root / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    try:
        os.rename(name, aside, src_dir_fd=folder)
    except OSError as problem:
        if problem.errno not in (errno.EXDEV, errno.EACCES, errno.EROFS):
            raise
        os.unlink(name, dir_fd=folder)  # another file system below, or a folder that is not ours
        return ""
    if _is_same(aside.lstat(), entry):
        aside.unlink()
        return ""
    _put_back(aside, name, folder)
    return CHANGED


def _put_back(aside: Path, name: str, folder: int | None) -> None:
    """Give a file its name again, or one beside it where an even newer file has that."""
    stem, dot, ending = name.rpartition(".")
    beside = f"{stem or ending}.{secrets.token_hex(4)}{dot}{ending if stem else ''}".rstrip(".")
    for wanted in (name, beside):
        with suppress(FileExistsError):
            _rename_new(aside, wanted, folder)
            return


def _rename_new(path: Path, name: str, folder: int | None) -> None:
    """Rename a file to a name that none has. Raises OSError, FileExistsError where one has it."""
    if os.name == "nt":
        path.rename(name)
        return
    try:
        os.link(path, name, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise
    except (
        OSError
    ):  # a file system without links: then what has the name since is looked for at least
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            raise FileExistsError from None
        os.rename(path, name, dst_dir_fd=folder)
        return
    path.unlink()


def _is_written(name: str, folder: int | None) -> bool:
    """Whether somebody has the file open for writing: then Linux gives nobody a lease to read it
    (fcntl(2), F_SETLEASE). Windows removes no file that others hold open; elsewhere, and where a
    lease could end the process, nobody can tell.
    """
    with suppress(ImportError):
        import fcntl

        if not hasattr(fcntl, "F_SETLEASE") or signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
            return False
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return True
        except OSError:  # another user's file, or a file system without leases: nobody can tell
            return False
        finally:
            os.close(descriptor)
    return False


def _outlive_leases() -> None:
    """Whoever holds a lease is told by SIGIO that somebody wants to write, and that would be its end.
    Only a process's main thread can say otherwise; it does so before it begins to clean.
    """
    if hasattr(signal, "SIGIO"):
        with suppress(ValueError):
            signal.signal(signal.SIGIO, signal.SIG_IGN)


def clean_all(mounts: Iterable[Mount], log: Callable[[str], None]) -> None:
    """Carry out every mount's plan once; what goes wrong with one is logged and hinders no other."""
    listed = list(mounts)
    for mount in listed:
        try:
            (planned,) = plans([mount], time.time(), listed)
            if planned.removals:
                apply_plan(planned, log)
        except (OSError, RuntimeError, ValueError) as problem:
            with suppress(OSError, ValueError):
                log(f"{mount.alias} was not cleaned: {problem}")


def start_cleanup_thread(mounts: MountTable, log: Callable[[str], None]) -> None:
    """A thread that carries out every mount's plan once an hour, for as long as the process lives.

    To be called from the main thread.
    """
    _outlive_leases()

    def work() -> None:
        time.sleep(FIRST_SECONDS)
        while True:
            clean_all(mounts, log)
            time.sleep(EVERY_SECONDS)

    threading.Thread(target=work, name="cleaning", daemon=True).start()
