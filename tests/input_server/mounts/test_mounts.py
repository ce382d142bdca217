"""Mounts that are added and removed at run time, and their cleanup."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from input_server.mounts.disk_usage import Entry, walk
from input_server.mounts.mount import CleanRules, Mount
from input_server.mounts.mounts_file import mount_to_json, read_mounts_file, write_mounts_file
from input_server.mounts.removal import apply_plan
from input_server.mounts.resolve import Missing
from input_server.mounts.retention import plan, plans
from input_server.mounts.table import ConfigError, MountTable
from tests.input_server.running import PROJECT, Running
from tests.waiting import TIMEOUT, wait_until
from tests.wine import not_under_wine

HOUR, DAY = 3600.0, 24 * 3600.0


def test_a_mount_is_added_and_removed_while_the_server_runs(tmp_path: Path) -> None:
    more = tmp_path / "更多 more"
    more.mkdir()
    (more / "a.txt").write_text("more", "utf-8")
    with Running(tmp_path / "m") as server:
        url = server.files.replace("/files/m", "/files/more") + "/a.txt"
        path = url.removeprefix(server.url)
        assert server.get(path).status_code == 404
        added = server.command(
            "mounts", "add", "more", str(more), "--private", "--keep-newest", "3"
        )
        assert added.returncode == 0, added.stderr
        wait_until(lambda: server.get(path).status_code == 200)
        assert server.get(path).headers["Cache-Control"] == "private, max-age=3600"
        listed = json.loads(server.command("mounts", "list", "--json").stdout)
        assert [mount["alias"] for mount in listed] == ["m", "more"]
        usage = json.loads(server.command("mounts", "usage", "--json").stdout)
        assert usage["more"] == {"files": 1, "bytes": 4, "quota_mb": None, "exists": True}
        assert server.command("mounts", "remove", "more").returncode == 0
        wait_until(lambda: server.get(path).status_code == 404)
        fixed = server.command("mounts", "remove", "m")
        assert (fixed.returncode, "COMFYUI_MOUNTS" in fixed.stderr) == (2, True)
        assert server.command("mounts", "add", "gallery", str(more)).returncode == 2
        assert server.command("mounts", "add", "x", str(tmp_path / "nowhere")).returncode == 2
        for rule in ("--quota-mb=-1", "--older-than-days=-1", "--total-mb=nan", "--keep-newest=-1"):
            refused = server.command("mounts", "add", "x", str(more), rule)
            assert (refused.returncode, rule[2:9].replace("-", "_") in refused.stderr) == (2, True)
        assert server.command("mounts", "list").returncode == 0


def test_an_invalid_mounts_file_leaves_the_mounts_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("input_server.mounts.table.CHECK_SECONDS", 0.0)
    file = tmp_path / "mounts.json"
    lines: list[str] = []
    table = MountTable((Mount("a", tmp_path),), file, lines.append)
    write_mounts_file(file, [Mount("b", tmp_path / "b", cache_seconds=0)])
    assert [mount.alias for mount in table] == ["a", "b"]
    assert table.get("b") == Mount("b", tmp_path / "b", cache_seconds=0)
    file.write_text("{", "utf-8")
    assert [mount.alias for mount in table] == ["a", "b"]
    assert [("mounts.json" in text, "stay in use" in text) for text in lines] == [(True, True)]
    file.unlink()
    assert [mount.alias for mount in table] == ["a"]


def test_mounts_are_read_as_written(tmp_path: Path) -> None:
    clean = CleanRules(older_than_days=2.5, total_mb=10, most_files=7, keep_newest=3)
    mounts = (
        Mount("图", tmp_path / "一 二"),
        Mount("b", tmp_path, 60, False, 5.5, False, clean, read_only=True),
    )
    write_mounts_file(tmp_path / "mounts.json", mounts)
    assert read_mounts_file(tmp_path / "mounts.json") == mounts
    nothing = (Mount("c", tmp_path, 0, True, 0, clean=CleanRules(0, 0, 0, 0)),)
    write_mounts_file(tmp_path / "mounts.json", nothing)
    assert read_mounts_file(tmp_path / "mounts.json") == nothing
    assert mount_to_json(mounts[0]) == {"alias": "图", "folder": str(tmp_path / "一 二")}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"alias": "a"}, "folder"),
        ({"alias": "a b", "folder": "x"}, "alias"),
        ({"alias": "_cache", "folder": "x"}, "alias"),
        ({"alias": "a", "folder": "x", "cache": 1}, "'cache'"),
        ({"alias": "a", "folder": "x", "cache_seconds": "long"}, "cache_seconds"),
        ({"alias": "a", "folder": "x", "cache_seconds": -1}, "at least 0"),
        ({"alias": "a", "folder": "x", "cache_seconds": float("nan")}, "cache_seconds"),
        ({"alias": "a", "folder": "x", "quota_mb": float("inf")}, "quota_mb"),
        ({"alias": "a", "folder": "x", "public": 1}, "public"),
        pytest.param(
            {"alias": "a", "folder": "~no-such-user/x"},
            "no such user",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows expands any user's ~"),
        ),
        ({"alias": "a", "folder": "x", "clean": {"size": 1}}, "clean"),
        ({"alias": "a", "folder": "x", "clean": {"most_files": True}}, "most_files"),
        ("a:x", "alias"),
    ],
)
def test_an_invalid_entry_is_named_in_the_error(
    tmp_path: Path, entry: object, expected: str
) -> None:
    (tmp_path / "mounts.json").write_text(json.dumps({"mounts": [entry]}), "utf-8")
    with pytest.raises(ConfigError, match=expected):
        read_mounts_file(tmp_path / "mounts.json")


# -- cleaning --------------------------------------------------------------------------------------

NOW = 1_800_000_000.0


def aged(name: str, days: float, size: int = 2**20) -> Entry:
    return Entry((name,), size, int((NOW - days * DAY) * 1e9), 1)


def planned(clean: CleanRules, *entries: Entry, read_only: bool = False) -> dict[str, str]:
    mount = Mount("m", Path("nowhere"), clean=clean, read_only=read_only)
    found = plan(mount, NOW, entries)
    return {removal.entry.path: removal.reason for removal in found.removals}


FILES = (aged("new", 0.01), aged("a", 1), aged("b", 5), aged("c", 20), aged("d", 90))


@pytest.mark.parametrize(
    ("clean", "deleted"),
    [
        (CleanRules(), ""),
        (CleanRules(older_than_days=10), "dc"),
        (CleanRules(older_than_days=10, keep_newest=4), "d"),
        (CleanRules(older_than_days=0), "dcba"),
        (CleanRules(most_files=2), "dcb"),
        (CleanRules(most_files=0), "dcba"),
        (CleanRules(total_mb=3.5), "dc"),
        (CleanRules(total_mb=3.5, keep_newest=4), "d"),
        (CleanRules(older_than_days=30, most_files=3), "dc"),
    ],
)
def test_a_plan_follows_the_rules_and_excludes_recent_files(
    clean: CleanRules, deleted: str
) -> None:
    assert list(planned(clean, *FILES)) == list(deleted)
    assert planned(clean, *FILES, read_only=True) == {}


def test_a_plan_has_reasons_and_its_size() -> None:
    assert planned(CleanRules(older_than_days=10), *FILES)["d"] == "older than 10 days"
    assert planned(CleanRules(most_files=4), *FILES)["d"] == "more than 4 files"
    assert planned(CleanRules(total_mb=4.5), *FILES)["d"] == "more than 4.5 MB"
    mount = Mount("m", Path("nowhere"), clean=CleanRules(older_than_days=10))
    assert plan(mount, NOW, FILES).size == 2 * 2**20


def old_file(path: Path, text: str = "old", age: float = 3 * DAY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_a_cleanup_deletes_the_planned_files_and_logs_it(tmp_path: Path) -> None:
    mount = Mount("m", tmp_path / "in", clean=CleanRules(older_than_days=1))
    expired = old_file(tmp_path / "in" / "子 sub" / "expired.txt")
    changed = old_file(tmp_path / "in" / "changed.txt")
    young = old_file(tmp_path / "in" / "young.txt", age=HOUR / 2)
    hidden = old_file(tmp_path / "in" / ".hidden.txt")
    written = old_file(tmp_path / "in" / "written.txt")
    outside = old_file(tmp_path / "out" / "precious.txt")
    if os.name == "posix":
        (tmp_path / "in" / "link.txt").symlink_to(outside)
        (tmp_path / "in" / "linked").symlink_to(tmp_path / "out")
    found = plan(mount, time.time())
    assert sorted(r.entry.path for r in found.removals) == [
        "changed.txt",
        "written.txt",
        "子 sub/expired.txt",
    ]
    old_file(changed, "another", age=2 * DAY)
    log: list[str] = []
    with written.open("a", encoding="utf-8"):
        files, freed = apply_plan(found, log.append)
    assert (files, freed) == (1, 3)
    assert not expired.exists()
    for left in (changed, young, hidden, outside, written):
        assert left.exists()
    assert "deleted m/子 sub/expired.txt (3 bytes): older than 1 days" in log
    assert any("changed.txt" in line and "changed since" in line for line in log)
    kept = "written.txt" if os.name == "nt" else "being written"  # worded by the system there
    assert any("written.txt" in line and kept in line for line in log)
    assert apply_plan(plan(mount, time.time()), log.append)[0] == 2


@pytest.mark.skipif(not hasattr(signal, "SIGIO"), reason="Windows has no leases, nor their signal")
def test_a_cleanup_survives_processes_that_start_writing_meanwhile(tmp_path: Path) -> None:
    file = old_file(tmp_path / "m" / "a.txt")
    writing = (
        "import os, sys\n"
        "while os.path.exists(sys.argv[1]): os.close(os.open(sys.argv[1], os.O_WRONLY))"
    )
    cleaning = (
        "import sys, time; from pathlib import Path\n"
        "from input_server.mounts import removal, retention; from input_server.mounts.mount import Mount\n"
        "removal.apply_plan(retention.Plan(Mount('m', Path(sys.argv[1]).parent), ()), print)\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end: removal._is_open_for_writing(sys.argv[1], None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", writing, str(file)]):
        cleaner = [sys.executable, "-c", cleaning, str(file)]
        done = subprocess.run(cleaner, cwd=PROJECT, check=False, timeout=TIMEOUT)
        file.unlink()
    assert done.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_folder_replaced_by_a_symlink_after_the_plan_loses_nothing(tmp_path: Path) -> None:
    mount = Mount("m", tmp_path / "in", clean=CleanRules(older_than_days=1))
    old_file(tmp_path / "in" / "sub" / "a.txt")
    found = plan(mount, time.time())
    (tmp_path / "in" / "sub").rename(tmp_path / "elsewhere")
    (tmp_path / "in" / "sub").symlink_to(tmp_path / "elsewhere")
    log: list[str] = []
    assert apply_plan(found, log.append) == (0, 0)
    assert (tmp_path / "elsewhere" / "a.txt").exists()


def test_files_in_a_read_only_mount_are_not_deleted_through_another_mount(tmp_path: Path) -> None:
    old_file(tmp_path / "m" / "a.txt")
    old_file(tmp_path / "m" / "keep" / "b.txt")
    old_file(tmp_path / "m" / "keeper" / "c.txt")
    every = CleanRules(most_files=0)
    mounts = [
        Mount("all", tmp_path / "m", clean=every),
        Mount("protected", tmp_path / "m" / "keep", read_only=True),
        Mount("deeper", tmp_path / "m" / "keep", clean=every),
    ]
    planned_files = {
        found.mount.alias: sorted(removal.entry.path for removal in found.removals)
        for found in plans(mounts, time.time())
    }
    assert planned_files == {"all": ["a.txt", "keeper/c.txt"], "protected": [], "deeper": []}


@not_under_wine("waits 10 ms for a lock instead of 10 s")
def test_concurrent_additions_lose_no_mount(tmp_path: Path) -> None:
    with Running(tmp_path / "m") as server, ThreadPoolExecutor(8) as pool:
        adding = [
            pool.submit(server.command, "mounts", "add", f"m{number}", str(tmp_path / "m"))
            for number in range(8)
        ]
        assert {one.result().returncode for one in adding} == {0}
        usage = json.loads(server.command("mounts", "usage", "--json").stdout)
    assert sorted(usage) == ["m", *(f"m{number}" for number in range(8))]


def test_the_clean_command_has_a_dry_run(tmp_path: Path) -> None:
    with Running(tmp_path / "m") as server:
        victim = old_file(tmp_path / "m" / "a.txt")
        server.command("mounts", "add", "m", str(tmp_path / "m"), "--older-than-days", "1")
        dry = server.command("mounts", "clean", "--dry-run").stdout
        assert "would delete m/a.txt: older than 1 days" in dry
        assert victim.exists()
        done = server.command("mounts", "clean", "m").stdout
        assert "deleted m/a.txt" in done
        assert not victim.exists()
        assert server.command("mounts", "clean", "nope").returncode == 2


def test_a_walk_lists_only_servable_files(tmp_path: Path) -> None:
    for name in ("a.txt", "sub/b.txt", ".hid/c.txt", ".d.txt"):
        old_file(tmp_path / name)
    if os.name == "posix":
        old_file(tmp_path / "sub" / "e. ")  # Windows drops the end of this name
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "link.txt").symlink_to("a.txt")
    assert sorted(entry.path for entry in walk(tmp_path)) == ["a.txt", "sub/b.txt"]
    with pytest.raises(Missing):
        list(walk(tmp_path / "nowhere"))
