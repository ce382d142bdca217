"""Retention rules: boundary values, and concurrent changes during a cleanup."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_server.mounts import disk_usage, removal, retention
from input_server.mounts.cleanup import clean_all
from input_server.mounts.disk_usage import Entry, walk
from input_server.mounts.mount import CleanRules, Mount
from input_server.mounts.removal import apply_plan
from input_server.mounts.retention import plan
from tests.input_server.running import PROJECT
from tests.waiting import TIMEOUT

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 24 * 3600.0
POSIX = pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")


def aged(name: str, seconds: float, size: int = 2**20) -> Entry:
    return Entry((name,), size, int((NOW - seconds) * 1e9), 1)


def planned(clean: CleanRules, *entries: Entry) -> list[str]:
    found = plan(Mount("m", Path("nowhere"), clean=clean), NOW, entries)
    return [removal.entry.path for removal in found.removals]


def old_file(path: Path, text: str = "old", age: float = 3 * DAY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


# -- boundary values -----------------------------------------------------------------------------------------


def test_a_file_exactly_at_the_age_limit_is_not_deleted() -> None:
    rule = CleanRules(older_than_days=2)
    assert planned(rule, aged("a", 2 * DAY)) == []
    assert planned(rule, aged("a", 2 * DAY + 0.001)) == ["a"]


def test_files_exactly_at_the_count_or_size_limit_are_not_deleted() -> None:
    files = [aged(name, days * DAY) for days, name in enumerate("abc", 1)]
    assert planned(CleanRules(most_files=3), *files) == []
    assert planned(CleanRules(most_files=2), *files) == ["c"]
    assert planned(CleanRules(total_mb=3), *files) == []
    assert planned(CleanRules(total_mb=3 - 2**-20), *files) == ["c"]
    assert planned(CleanRules(total_mb=0), *files) == ["c", "b", "a"]


def test_a_file_is_not_deleted_in_its_first_hour() -> None:
    assert planned(CleanRules(most_files=0), aged("a", HOUR)) == ["a"]
    assert planned(CleanRules(most_files=0), aged("a", HOUR - 0.001)) == []
    assert planned(CleanRules(most_files=0), aged("a", -DAY)) == [], "from the future"
    young = [aged("a", HOUR / 2), aged("b", 2 * DAY), aged("c", 3 * DAY)]
    assert planned(CleanRules(most_files=2), *young) == ["c"], "a recent file counts"


def test_files_of_the_same_age_are_deleted_by_descending_name() -> None:
    same = [aged(name, DAY) for name in "bca"]
    assert planned(CleanRules(most_files=1), *same) == ["c", "b"]
    assert planned(CleanRules(most_files=0, keep_newest=1), *same) == ["c", "b"]
    assert planned(CleanRules(most_files=0, keep_newest=3), *same) == []


def test_the_reason_is_the_first_matching_rule() -> None:
    files = [aged("a", 9 * DAY), aged("b", 8 * DAY)]
    mount = Mount("m", Path("x"), clean=CleanRules(older_than_days=8.5, total_mb=0.5, most_files=5))
    assert [r.reason for r in plan(mount, NOW, files).removals] == [
        "older than 8.5 days",
        "more than 0.5 MB",
    ]
    both = Mount("m", Path("x"), clean=CleanRules(total_mb=0.5, most_files=1))
    assert plan(both, NOW, files).removals[0].reason == "more than 1 files"


def test_without_a_rule_nothing_is_deleted() -> None:
    assert planned(CleanRules(keep_newest=0), aged("a", 999 * DAY)) == []
    assert not CleanRules(keep_newest=5)
    assert CleanRules(older_than_days=0)
    assert CleanRules(total_mb=0)
    assert CleanRules(most_files=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    ages=st.lists(st.floats(0, 20 * DAY, allow_nan=False), max_size=12),
    older=st.none() | st.floats(0, 20),
    total=st.none() | st.floats(0, 12),
    most=st.none() | st.integers(0, 12),
    keep=st.integers(0, 5),
)
def test_the_newest_files_stay_and_the_limits_hold_for_all_rules(
    ages: list[float],
    older: float | None,
    total: float | None,
    most: int | None,
    keep: int,
) -> None:
    files = [aged(f"f{number}", age) for number, age in enumerate(ages)]
    deleted = set(planned(CleanRules(older, total, most, keep), *files))
    by_age = sorted(files, key=lambda entry: (-entry.mtime_ns, entry.path))
    left = [entry for entry in by_age if entry.path not in deleted]
    removable = [e for e in by_age[keep:] if NOW - e.mtime_ns / 1e9 >= HOUR]
    assert deleted <= {entry.path for entry in removable}
    if (older, total, most) == (None, None, None):
        assert not deleted
    for entry in left:
        if entry in removable:
            assert older is None or NOW - entry.mtime_ns / 1e9 <= older * DAY + 1e-3
            assert most is None or len(left) <= most
            assert total is None or len(left) * 2**20 <= total * 2**20


# -- races -----------------------------------------------------------------------------------------

CLEANER = """
import sys, time
from pathlib import Path
from input_server.mounts.cleanup import clean_all
from input_server.mounts.mount import CleanRules, Mount
folder, done = Path(sys.argv[1]), Path(sys.argv[2])
mount = Mount("m", folder, clean=CleanRules(older_than_days=1))
protected = Mount("protected", folder / "protected", read_only=True)
log = []
while not done.exists():
    clean_all([mount, protected], log.append)
print(sum(line.startswith("deleted") for line in log), sum("not cleaned" in line for line in log))
"""
REPLACER = """
import os, sys, time
from pathlib import Path
folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
old = time.time() - 3 * 24 * 3600
for number in range(first, last):
    path = folder / f"{number % 40}" / f"{number}.txt"
    path.parent.mkdir(exist_ok=True)
    for text in ("old", "new"):
        part = folder / f".{number}.part"
        part.write_text(text)
        if text == "old":
            os.utime(part, (old, old))
        os.replace(part, path)
        time.sleep(number % 7 / 5000)
"""
SWAPPER = """
import os, shutil, sys
from pathlib import Path
folder, outside, done = map(Path, sys.argv[1:4])
sub, away, deleted = folder / "sub", folder.parent / "away", folder / "deleted"
while not done.exists():
    sub.rename(away)
    sub.symlink_to(outside)
    sub.unlink()
    away.rename(sub)
    for number in range(3):
        (deleted / "deep").mkdir(parents=True, exist_ok=True)
        (deleted / "deep" / f"{number}.txt").write_text("old")
        os.utime(deleted / "deep" / f"{number}.txt", (1, 1))
    shutil.rmtree(deleted, ignore_errors=True)
"""


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


@POSIX
def test_two_concurrent_cleanups_lose_no_replaced_moved_or_outside_file(tmp_path: Path) -> None:
    folder, outside, done = tmp_path / "m", tmp_path / "outside", tmp_path / "done"
    protected = [old_file(folder / "protected" / f"{number}.txt") for number in range(5)]
    precious = [old_file(outside / f"{number}.txt") for number in range(40)]
    for number in range(40):
        old_file(folder / "sub" / f"{number}.txt")
    cleaners = [child(CLEANER, folder, done) for _ in range(2)]
    swapper = child(SWAPPER, folder, outside, done)
    writers = [child(REPLACER, folder, n * 1000, (n + 1) * 1000) for n in range(2)]
    for process in writers:
        assert process.wait(TIMEOUT) == 0
        process.communicate()
    done.touch()
    counts = [process.communicate(timeout=TIMEOUT)[0].split() for process in (*cleaners, swapper)]
    assert [process.returncode for process in (*cleaners, swapper)] == [0, 0, 0]
    assert sum(int(count[0]) for count in counts[:2]) > 0, "nothing was cleaned"
    assert [count[1] for count in counts[:2]] == ["0", "0"]
    lost = [n for n in range(2000) if not (folder / f"{n % 40}" / f"{n}.txt").exists()]
    assert lost == []
    assert {path.read_text() for path in (*protected, *precious)} == {"old"}
    assert list(folder.glob(".*")) == [], "temp files were left"


@POSIX
def test_a_file_replaced_at_the_last_moment_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount("m", tmp_path / "in", clean=CleanRules(older_than_days=1))
    victim = old_file(tmp_path / "in" / "sub" / "a.txt")
    todo = plan(mount, time.time())

    def replaced(_name: str, _folder: int | None) -> bool:
        new = victim.with_name("b.txt")
        new.write_text("new", "utf-8")
        new.replace(victim)
        return False

    monkeypatch.setattr(removal, "_is_open_for_writing", replaced)
    log: list[str] = []
    assert apply_plan(todo, log.append) == (0, 0)
    assert victim.read_text("utf-8") == "new"
    assert [path.name for path in (tmp_path / "in").rglob("*")] == ["sub", "a.txt"]
    assert "changed since" in log[0]


@POSIX
def test_a_restored_file_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    newer = old_file(folder / "a.b.txt", "newer")
    aside = old_file(folder / f"{removal.TEMP_PREFIX}1", "moved aside")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        removal._restore(aside, "a.b.txt", descriptor)
    finally:
        os.close(descriptor)
    assert newer.read_text("utf-8") == "newer"
    (other,) = set(folder.iterdir()) - {newer}
    assert (other.name[:4], other.suffix, other.read_text("utf-8")) == (
        "a.b.",
        ".txt",
        "moved aside",
    )


def test_files_renamed_by_a_killed_process_are_deleted_after_an_hour(tmp_path: Path) -> None:
    mount = Mount("m", tmp_path, clean=CleanRules(older_than_days=1))
    left = old_file(tmp_path / f"{removal.TEMP_PREFIX}1")
    in_use = old_file(tmp_path / f"{removal.TEMP_PREFIX}2", age=HOUR / 2)
    other = old_file(tmp_path / ".another")
    apply_plan(plan(mount, time.time()), print)
    assert (left.exists(), in_use.exists(), other.exists()) == (False, True, True)


def test_an_error_in_one_mount_does_not_prevent_cleaning_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = CleanRules(older_than_days=1)
    victim = old_file(tmp_path / "good" / "a.txt")
    mounts = [Mount("bad", tmp_path / "bad", clean=rule), Mount("good", victim.parent, clean=rule)]
    old_file(tmp_path / "bad" / "a.txt")

    def walked(folder: Path) -> list[Entry]:
        if folder.name == "bad":
            raise OSError(24, "Too many open files")
        return list(walk(folder))

    monkeypatch.setattr(retention, "walk", walked)
    log: list[str] = []
    clean_all(mounts, log.append)
    assert not victim.exists()
    assert "bad was not cleaned" in log[0]
    assert "Too many open files" in log[0]


def test_clean_all_respects_read_only_mounts(tmp_path: Path) -> None:
    protected = old_file(tmp_path / "m" / "keep" / "a.txt")
    mounts = [
        Mount("all", tmp_path / "m", clean=CleanRules(most_files=0)),
        Mount("protected", tmp_path / "m" / "keep", read_only=True),
    ]
    clean_all(mounts, print)
    assert protected.exists()


# -- usage and walks -----------------------------------------------------------------------------


def test_a_walk_is_limited_in_files_and_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (disk_usage.MAX_FILES, disk_usage.MAX_DEPTH) == (200_000, 24)
    for number in range(5):
        old_file(tmp_path / f"{number}.txt")
    monkeypatch.setattr(disk_usage, "MAX_FILES", 3)
    assert len(list(walk(tmp_path))) == 3
    monkeypatch.setattr(disk_usage, "MAX_FILES", 100)
    monkeypatch.setattr(disk_usage, "MAX_DEPTH", 3)
    old_file(tmp_path / "1" / "2" / "yes.txt")
    old_file(tmp_path / "1" / "2" / "3" / "no.txt")
    names = {entry.path for entry in walk(tmp_path)}
    assert "1/2/yes.txt" in names
    assert "1/2/3/no.txt" not in names


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sizes=st.lists(st.integers(0, 3000), max_size=8))
def test_usage_counts_all_files_and_bytes(tmp_path: Path, sizes: list[int]) -> None:
    folder = tmp_path / f"{time.monotonic_ns()}"
    folder.mkdir()
    for number, size in enumerate(sizes):
        (folder / f"{number}.bin").write_bytes(bytes(size))
    assert disk_usage.measure(Mount("m", folder)) == (len(sizes), sum(sizes))


def test_cleanup_skips_a_folder_that_is_gone(tmp_path: Path) -> None:
    logged: list[str] = []
    clean_all([Mount("gone", tmp_path / "x", clean=CleanRules(most_files=1))], logged.append)
    assert logged == []
