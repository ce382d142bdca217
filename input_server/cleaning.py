"""Tidying a mount up: first a plan of what would go and why, then that plan and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .mounts import Mount, MountTable
from .paths import Missing, Refused, locate
from .usage import Entry, walk

SPARED_SECONDS = 3600.0
"""A file younger than this is never touched: somebody may just be looking at it, or writing it."""
FIRST_SECONDS, EVERY_SECONDS = 60.0, 3600.0
DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that would go, and why."""

    entry: Entry
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a clean-up of one mount would do."""

    mount: Mount
    removals: tuple[Removal, ...]

    @property
    def size(self) -> int:
        """Bytes that it would free."""
        return sum(removal.entry.size for removal in self.removals)


def plan(mount: Mount, now: float, entries: Iterable[Entry] | None = None) -> Plan:
    """What the mount's rules say at that moment (``time.time()``); touches nothing."""
    if mount.read_only or not mount.clean:
        return Plan(mount, ())
    found = sorted(
        walk(mount.folder) if entries is None else entries,
        key=lambda entry: (-entry.mtime_ns, entry.path),
    )
    return Plan(mount, tuple(_removals(mount, found, now)))


def _removals(mount: Mount, newest_first: Sequence[Entry], now: float) -> Iterator[Removal]:
    """Oldest first, so that a plan that is stopped half-way has done the surest part."""
    rules = mount.clean
    count, total = len(newest_first), sum(entry.size for entry in newest_first)
    for entry in reversed(newest_first[rules.keep_newest :]):
        age = now - entry.mtime_ns / 1e9
        if age < SPARED_SECONDS:
            return
        why = ""
        if rules.older_than_days is not None and age > rules.older_than_days * DAY:
            why = f"older than {rules.older_than_days:g} days"
        elif rules.most_files is not None and count > rules.most_files:
            why = f"more than {rules.most_files} files"
        elif rules.total_mb is not None and total > rules.total_mb * 2**20:
            why = f"more than {rules.total_mb:g} MB"
        if why:
            count, total = count - 1, total - entry.size
            yield Removal(entry, why)


def carry_out(planned: Plan, log: Callable[[str], None]) -> tuple[int, int]:
    """Remove what was planned, if it is still the same; gives files and bytes removed.

    Each removal is logged, and each file that was left after all.
    """
    _outlive_leases()
    files = freed = 0
    for removal in planned.removals:
        told = f"{planned.mount.alias}/{removal.entry.path} ({removal.entry.size} bytes)"
        problem = _remove(planned.mount, removal.entry)
        if problem:
            log(f"left {told}: {problem}")
            continue
        files, freed = files + 1, freed + removal.entry.size
        log(f"removed {told}: {removal.why}")
    return files, freed


def _remove(mount: Mount, entry: Entry) -> str:
    """Why it was not removed; "" when it was."""
    try:
        path, root = locate(mount.folder, entry.names)
        if path != root.joinpath(*entry.names):
            return "a link lies on its way"
        seen = path.lstat()
        same = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if same != (entry.inode, entry.size, entry.mtime_ns):
            return "it has changed meanwhile"
        if time.time() - seen.st_mtime < SPARED_SECONDS:
            return "it is younger than an hour"
        if _is_written(str(path)):
            return "it is being written"
        path.unlink()
    except (Missing, FileNotFoundError):
        return "it is gone"
    except (Refused, OSError) as problem:
        return str(getattr(problem, "strerror", None) or "it lies outside")
    return ""


def _is_written(path: str) -> bool:
    """Whether somebody has the file open for writing: then Linux gives nobody a lease to read it
    (fcntl(2), F_SETLEASE). Windows removes no file that others hold open; elsewhere, and where a
    lease could end the process, nobody can tell.
    """
    with suppress(ImportError):
        import fcntl

        if not hasattr(fcntl, "F_SETLEASE") or signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
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


def clean_now_and_then(mounts: MountTable, log: Callable[[str], None]) -> None:
    """A thread that carries out every mount's plan once an hour, for as long as the process lives.

    To be called from the main thread.
    """
    _outlive_leases()

    def work() -> None:
        time.sleep(FIRST_SECONDS)
        while True:
            for mount in mounts:
                planned = plan(mount, time.time())
                if planned.removals:
                    carry_out(planned, log)
            time.sleep(EVERY_SECONDS)

    threading.Thread(target=work, name="cleaning", daemon=True).start()
