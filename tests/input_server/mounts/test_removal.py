"""Files that the cleanup must not delete."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from input_server.mounts import cleanup, retention
from input_server.mounts.mount import CleanRules, Mount
from input_server.mounts.removal import apply_plan
from input_server.mounts.retention import plan

DAY = 24 * 3600.0


def old(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (time.time() - 9 * DAY, time.time() - 9 * DAY))
    return path


def test_a_read_only_mount_inside_a_cleaned_one_keeps_its_files(tmp_path: Path) -> None:
    protected, expired = old(tmp_path / "keep" / "a.txt"), old(tmp_path / "a.txt")
    cleaned = Mount("all", tmp_path, clean=CleanRules(most_files=0))
    read_only = Mount("keep", tmp_path / "keep", read_only=True)
    (planned,) = retention.plans([cleaned], time.time(), [read_only])
    assert [removal.entry.path for removal in planned.removals] == ["a.txt"]
    cleanup.clean_all([cleaned, read_only], lambda _: None)
    assert protected.exists()
    assert not expired.exists()


@pytest.mark.parametrize("change", ["newer", "longer", "another"])
def test_a_file_changed_after_the_plan_is_not_deleted(tmp_path: Path, change: str) -> None:
    path = old(tmp_path / "a.txt")
    mount = Mount("m", tmp_path, clean=CleanRules(most_files=0))
    planned = plan(mount, time.time())
    assert len(planned.removals) == 1
    if change == "newer":  # the same bytes, written again two days ago
        os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))
    elif change == "longer":
        seen = path.stat()
        path.write_text("xy", "utf-8")
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    else:
        seen = path.stat()
        path.rename(tmp_path / "b.txt")
        path.write_text("x", "utf-8")
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    lines: list[str] = []
    assert apply_plan(planned, lines.append) == (0, 0)
    assert path.exists()
    assert lines == ["kept m/a.txt (1 bytes): it has changed since"]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_file_behind_a_new_symlink_is_not_deleted(tmp_path: Path) -> None:
    protected = old(tmp_path / "m" / "sub" / "a.txt")
    mount = Mount("m", tmp_path / "m", clean=CleanRules(most_files=0))
    planned = plan(mount, time.time())
    assert len(planned.removals) == 1
    (tmp_path / "m" / "sub").rename(tmp_path / "m" / "protected")
    (tmp_path / "m" / "sub").symlink_to(tmp_path / "m" / "protected")
    lines: list[str] = []
    assert apply_plan(planned, lines.append) == (0, 0)
    assert (tmp_path / "m" / "protected" / protected.name).exists()
    assert lines == ["kept m/sub/a.txt (1 bytes): its path contains a symlink"]
