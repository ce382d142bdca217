"""Which files of a mount its rules remove: a plan, which touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .disk_usage import Entry, walk
from .mount import Mount

MIN_AGE_SECONDS = 3600.0
"""Younger files are never removed: they may be in use, or incomplete."""
DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Removal:
    """A file to remove, and why."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What the cleanup of a mount removes, the oldest files first."""

    mount: Mount
    removals: tuple[Removal, ...]

    @property
    def size(self) -> int:
        """Bytes that it frees."""
        return sum(removal.entry.size for removal in self.removals)


def plans(mounts: Iterable[Mount], now: float, others: Iterable[Mount] = ()) -> Iterator[Plan]:
    """Yield a plan for each of ``mounts``.

    Files in a read-only mount, also one of ``others``, are not removed through another mount either.
    """
    listed = list(mounts)
    protected = [mount.folder for mount in (*listed, *others) if mount.read_only]
    return (plan(mount, now, protected=protected) for mount in listed)


def plan(
    mount: Mount,
    now: float,
    entries: Iterable[Entry] | None = None,
    protected: Iterable[Path] = (),
) -> Plan:
    """Apply the mount's rules at the time ``now`` (``time.time()``).

    ``entries``: its files, None to list them; ``protected``: folders in which nothing is removed.
    Raises Missing and Exhausted, as ``walk``.
    """
    if mount.read_only or not mount.clean:
        return Plan(mount, ())
    excluded = _relative_parts(mount.folder, protected)
    newest_first = sorted(
        walk(mount.folder) if entries is None else entries,
        key=lambda entry: (-entry.mtime_ns, entry.path),
    )
    removals = _removals(mount, newest_first, now)
    return Plan(mount, tuple(r for r in removals if not _is_in(r.entry, excluded)))


def _relative_parts(root: Path, folders: Iterable[Path]) -> list[tuple[str, ...]]:
    """Return the paths of the folders below ``root``; () for one that is or contains ``root``."""
    root = root.resolve()
    resolved = [folder.resolve() for folder in folders]
    inside = [folder.relative_to(root).parts for folder in resolved if folder.is_relative_to(root)]
    return inside + [() for folder in resolved if root.is_relative_to(folder)]


def _is_in(entry: Entry, folders: Sequence[tuple[str, ...]]) -> bool:
    return any(entry.names[: len(parts)] == parts for parts in folders)


def _removals(mount: Mount, newest_first: Sequence[Entry], now: float) -> Iterator[Removal]:
    """Yield the files to remove, oldest first: an interrupted cleanup has removed the oldest ones."""
    count, total = len(newest_first), sum(entry.size for entry in newest_first)
    for entry in reversed(newest_first[mount.clean.keep_newest :]):
        age = now - entry.mtime_ns / 1e9
        if age < MIN_AGE_SECONDS:
            return
        reason = _reason(mount, age, count, total)
        if reason:
            count, total = count - 1, total - entry.size
            yield Removal(entry, reason)


def _reason(mount: Mount, age: float, count: int, total: int) -> str:
    """Return the rule by which the oldest file is removed, "" if it stays."""
    rules = mount.clean
    if rules.older_than_days is not None and age > rules.older_than_days * DAY:
        return f"older than {rules.older_than_days:g} days"
    if rules.most_files is not None and count > rules.most_files:
        return f"more than {rules.most_files} files"
    if rules.total_mb is not None and total > rules.total_mb * 2**20:
        return f"more than {rules.total_mb:g} MB"
    return ""
