"""``python -m input_server mounts …`` and ``… link …``: what they print, do and refuse."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from input_server import urls
from input_server.__main__ import main
from input_server.auth import signing

HOUR, DAY = 3600, 24 * 3600
KEYS = json.dumps(
    [
        {"name": "two", "key": "two-factors-here", "signature": "second"},
        {"name": "plain", "key": "12345678"},
    ]
)


class Shell:
    """The command with settings of its own, and what it printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.file = folder / "mounts.json"

    def __call__(self, *argv: str, status: int = 0) -> str:
        """stdout of a command that gives this status, or its stderr when that is not 0."""
        assert main(argv) == status
        out, err = self._capsys.readouterr()
        self.err = err
        return err if status else out


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    (tmp_path / "m").mkdir()
    (tmp_path / "more").mkdir()
    settings = {
        "COMFYUI_ACCESS_KEY": "a-long-key-of-the-test",
        "COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}",
        "COMFYUI_MOUNTS_FILE": str(tmp_path / "mounts.json"),
        "COMFYUI_KEYS": KEYS,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Shell(tmp_path, capsys)


ALL = (
    *("--cache-seconds", "5", "--private", "--no-compress", "--quota-mb", "1", "--read-only"),
    *("--older-than-days", "2", "--total-mb", "3", "--most-files", "4", "--keep-newest", "6"),
)


@pytest.mark.parametrize(
    ("options", "told", "lines"),
    [
        ((), {}, ["cached 3600 s, public"]),
        (
            ALL,
            {
                "cache_seconds": 5,
                "public": False,
                "compress": False,
                "quota_mb": 1.0,
                "read_only": True,
                "clean": {
                    "older_than_days": 2.0,
                    "total_mb": 3.0,
                    "most_files": 4,
                    "keep_newest": 6,
                },
            },
            [
                "cached 5 s, private",
                "quota 1 MB",
                "read only",
                "deletes files older than 2 days",
                "deletes the oldest files above 3 MB",
                "deletes the oldest files above 4 files",
                "never deletes the newest 6",
            ],
        ),
    ],
)
def test_a_mount_that_is_added_is_listed_with_its_rules(
    shell: Shell, options: tuple[str, ...], told: dict[str, Any], lines: list[str]
) -> None:
    added = shell("mounts", "add", "x", str(shell.folder / "more"), *options)
    assert added == f"x is now served: {shell.folder / 'more'}\n"
    defaults = {
        "alias": "x",
        "folder": str(shell.folder / "more"),
        "cache_seconds": 3600,
        "public": True,
        "compress": True,
        "quota_mb": None,
        "read_only": False,
        "exists": True,
        "clean": {
            "older_than_days": None,
            "total_mb": None,
            "most_files": None,
            "keep_newest": 0,
        },
    }
    listed = json.loads(shell("mounts", "list", "--json"))
    assert [mount["alias"] for mount in listed] == ["m", "x"]
    assert listed[1] == {**defaults, **told}
    head, *rules = shell("mounts", "list").splitlines()[2:]
    assert head.split() == ["x", str(shell.folder / "more")]
    assert [rule.strip() for rule in rules] == lines
    (shell.folder / "more").rmdir()
    assert "(missing)" in shell("mounts", "list")


def test_a_mount_that_is_added_again_is_changed_and_others_stay(shell: Shell) -> None:
    for alias in ("x", "y", "x"):
        shell(
            "mounts", "add", alias, str(shell.folder / "more"), "--cache-seconds", str(len(alias))
        )
    assert [mount["alias"] for mount in json.loads(shell("mounts", "list", "--json"))] == [
        "m",
        "y",
        "x",
    ]
    assert shell("mounts", "remove", "y").startswith("y is no longer served")
    assert "has no mount 'y'.\n" in shell("mounts", "remove", "y", status=2)
    assert "set in COMFYUI_MOUNTS" in shell("mounts", "remove", "m", status=2)
    assert "is not a folder" in shell("mounts", "add", "z", str(shell.folder / "none"), status=2)
    assert (shell.folder / "more").is_dir()


def test_usage_counts_and_says_what_is_over_its_quota(shell: Shell) -> None:
    more = shell.folder / "more"
    (more / "a.bin").write_bytes(bytes(2**20))
    shell("mounts", "add", "exact", str(more), "--quota-mb", "1")
    shell("mounts", "add", "over", str(more), "--quota-mb", "0.9")
    told = json.loads(shell("mounts", "usage", "--json"))
    assert told["m"] == {"files": 0, "bytes": 0, "quota_mb": None}
    assert told["over"] == {"files": 1, "bytes": 2**20, "quota_mb": 0.9}
    lines = {line.split()[0]: line for line in shell("mounts", "usage").splitlines()}
    assert lines["m"].split() == ["m", "0", "files", "0.0", "MB"]
    assert lines["exact"].split() == ["exact", "1", "files", "1.0", "MB", "of", "1", "MB"]
    assert lines["over"].endswith("of 0.9 MB  OVER ITS QUOTA")


def test_a_clean_up_removes_only_where_and_when_it_is_asked_to(shell: Shell) -> None:
    for name in ("x", "y"):
        folder = shell.folder / name
        folder.mkdir()
        (folder / "old.bin").write_bytes(bytes(2**20))
        os.utime(folder / "old.bin", (time.time() - 5 * DAY,) * 2)
        (folder / "new.bin").write_bytes(b"x")
        os.utime(folder / "new.bin", (time.time() - 2 * HOUR,) * 2)
        shell("mounts", "add", name, str(folder), "--older-than-days", "3")
    dry = shell("mounts", "clean", "x", "--dry-run").splitlines()
    assert dry[0].startswith("would delete x/old.bin: ")
    assert dry[1:] == ["x: 1 files, 1.0 MB would be deleted"]
    assert (shell.folder / "x" / "old.bin").exists()
    assert shell("mounts", "clean", "x").splitlines()[-1] == "x: 1 files, 1.0 MB deleted"
    assert sorted(path.name for path in (shell.folder / "x").iterdir()) == ["new.bin"]
    assert (shell.folder / "y" / "old.bin").exists()
    every = shell("mounts", "clean").splitlines()
    assert [line for line in every if line.endswith(" deleted")] == [
        "m: 0 files, 0.0 MB deleted",
        "x: 0 files, 0.0 MB deleted",
        "y: 1 files, 1.0 MB deleted",
    ]
    assert "There is no mount 'z'. The mounts are: m, x, y." in shell(
        "mounts", "clean", "z", status=2
    )


def opened(link: str, key: str) -> tuple[urls.Route, str, float]:
    """The route of a link, what its signature is worth, and the hours until its end."""
    target = link.strip().partition("://")[2].partition("/")[2]
    route, query = urls.parse(f"/{target}"), urls.parse_query(f"/{target}")
    names = route.names if route.resource == "files" else ()
    worth = signing.check_signature(key, route.resource, route.alias, names, query, time.time())
    return route, worth, (int(query["exp"]) - time.time()) / HOUR


@pytest.mark.parametrize(
    ("arguments", "what", "names", "key", "hours"),
    [
        (("m", "a/b.png"), "files", ("a", "b.png"), None, 24),
        (("m", "/a//b.png/"), "files", ("a", "b.png"), None, 24),
        (("m",), "gallery", ("",), None, 24),
        (("m", "a", "--hours", "0.5"), "files", ("a",), None, 0.5),
        (("m", "a", "--hours", "8760"), "files", ("a",), None, 8760),
        (("m", "a", "--key", "two"), "files", ("a",), "two-factors-here", 24),
    ],
)
def test_a_link_opens_one_thing_for_so_long(
    shell: Shell,
    arguments: tuple[str, ...],
    what: str,
    names: tuple[str, ...],
    key: str | None,
    hours: float,
) -> None:
    link = shell("link", *arguments)
    assert link.startswith("http://127.0.0.1:5005/comfyui_server/")
    secret = "second" if key else "a-long-key-of-the-test"
    route, worth, left = opened(link, secret)
    assert (route.resource, route.alias, route.names, route.key) == (what, "m", names, key)
    assert worth == "valid"
    assert hours - 0.1 < left <= hours
    assert (f"{'/'.join(names)} does not exist yet" in shell.err) == (what == "files")


def test_a_link_begins_as_it_is_asked_to(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.folder / "m" / "a.png").touch()
    link = shell("link", "m", "a.png", "--base", "https://x.example/")
    assert urlsplit(link).netloc == "x.example"
    assert shell.err == ""
    monkeypatch.setenv("FILE_SERVER_BASE_URL", "https://y.example")
    monkeypatch.setenv("FILE_SERVER_URL_STYLE", "host")
    link = shell("link", "m", "a.png")
    assert link.startswith("https://y.example/pw=signed/files/comfyui/m/a.png?exp=")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("z",), "There is no mount 'z'. The mounts are: m."),
        (("m", ".hidden"), "never served"),
        (("m", "a", "--key", "plain"), "no key 'plain' that requires a signature"),
        (("m", "a", "--key", "none"), "no key 'none'"),
    ],
)
def test_no_link_that_could_never_open(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    assert told in shell("link", *arguments, status=2)


@pytest.mark.parametrize("hours", ["0", "-1", "8760.1", "nan", "x"])
def test_hours_are_more_than_none_and_at_most_a_year(shell: Shell, hours: str) -> None:
    with pytest.raises(SystemExit) as ended:
        shell("link", "m", "--hours", hours)
    assert ended.value.code == 2


def test_without_a_secret_nothing_can_be_signed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMFYUI_ACCESS_KEY")
    assert "No key to sign links with is set" in shell("link", "m", status=2)
    monkeypatch.setenv("INPUT_SERVER_SIGNING_KEY", "signs")
    assert opened(shell("link", "m"), "signs")[1] == "valid"


@pytest.mark.parametrize("port", ["65536", "-1", "x", "²", "80.0", "9" * 5000])
def test_no_port_beyond_the_systems(
    shell: Shell, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        shell(f"--port={port}")
    assert ended.value.code == 2
    assert "is not a port from 0 to 65535" in capsys.readouterr().err
