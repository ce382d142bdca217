"""``python -m input_server mounts …`` and ``… link …``: output, effects and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from input_server import urls
from input_server.auth import signing
from input_server.cli import main
from tests.waiting import TIMEOUT

HOUR, DAY = 3600, 24 * 3600
PROJECT = Path(__file__).resolve().parents[2]
KEYS = json.dumps(
    [
        {"name": "two", "key": "two-factors-here", "signature": "second"},
        {"name": "plain", "key": "12345678"},
    ]
)


class Shell:
    """Runs the command in this process and returns what it prints."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.file = folder / "mounts.json"

    def __call__(self, *argv: str, status: int = 0) -> str:
        """Return stdout of a command, or stderr if ``status`` is not 0. Asserts the exit status."""
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
    ("options", "fields", "lines"),
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
def test_an_added_mount_is_listed_with_its_rules(
    shell: Shell, options: tuple[str, ...], fields: dict[str, Any], lines: list[str]
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
    assert listed[1] == {**defaults, **fields}
    head, *rules = shell("mounts", "list").splitlines()[2:]
    assert head.split() == ["x", str(shell.folder / "more")]
    assert [rule.strip() for rule in rules] == lines
    (shell.folder / "more").rmdir()
    assert "(missing)" in shell("mounts", "list")


def test_adding_a_mount_again_changes_only_that_mount(shell: Shell) -> None:
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


def test_the_usage_command_reports_mounts_over_quota(shell: Shell) -> None:
    more = shell.folder / "more"
    (more / "a.bin").write_bytes(bytes(2**20))
    shell("mounts", "add", "exact", str(more), "--quota-mb", "1")
    shell("mounts", "add", "over", str(more), "--quota-mb", "0.9")
    usage = json.loads(shell("mounts", "usage", "--json"))
    assert usage["m"] == {"files": 0, "bytes": 0, "quota_mb": None, "exists": True}
    assert usage["over"] == {"files": 1, "bytes": 2**20, "quota_mb": 0.9, "exists": True}
    lines = {line.split()[0]: line for line in shell("mounts", "usage").splitlines()}
    assert lines["m"].split() == ["m", "0", "files", "0.0", "MB"]
    assert lines["exact"].split() == ["exact", "1", "files", "1.0", "MB", "of", "1", "MB"]
    assert lines["over"].endswith("of 0.9 MB  OVER ITS QUOTA")


def test_the_clean_command_deletes_only_in_the_named_mounts(shell: Shell) -> None:
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


def parse_link(link: str, key: str) -> tuple[urls.Route, str, float]:
    """Return the route of a link, the verdict on its signature, and the hours until it expires."""
    target = link.strip().partition("://")[2].partition("/")[2]
    route, query = urls.parse(f"/{target}"), urls.parse_query(f"/{target}")
    names = route.names if route.resource == "files" else ()
    verdict = signing.check_signature(key, route.resource, route.alias, names, query, time.time())
    return route, verdict, (int(query["exp"]) - time.time()) / HOUR


@pytest.mark.parametrize(
    ("arguments", "resource", "names", "key", "hours"),
    [
        (("m", "a/b.png"), "files", ("a", "b.png"), None, 24),
        (("m", "/a//b.png/"), "files", ("a", "b.png"), None, 24),
        (("m",), "gallery", ("",), None, 24),
        (("m", "a", "--hours", "0.5"), "files", ("a",), None, 0.5),
        (("m", "a", "--hours", "8760"), "files", ("a",), None, 8760),
        (("m", "a", "--key", "two"), "files", ("a",), "two-factors-here", 24),
    ],
)
def test_a_link_is_for_one_resource_and_expires(
    shell: Shell,
    arguments: tuple[str, ...],
    resource: str,
    names: tuple[str, ...],
    key: str | None,
    hours: float,
) -> None:
    link = shell("link", *arguments)
    assert link.startswith("http://127.0.0.1:5005/comfyui_server/")
    secret = "second" if key else "a-long-key-of-the-test"
    route, verdict, left = parse_link(link, secret)
    assert (route.resource, route.alias, route.names, route.key) == (resource, "m", names, key)
    assert verdict == "valid"
    assert hours - 0.1 < left <= hours
    assert (f"{'/'.join(names)} does not exist yet" in shell.err) == (resource == "files")


def test_the_base_url_of_a_link(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.folder / "m" / "a.png").touch()
    link = shell("link", "m", "a.png", "--base", "https://x.example/")
    assert urlsplit(link).netloc == "x.example"
    assert shell.err == ""
    monkeypatch.setenv("FILE_SERVER_BASE_URL", "https://y.example")
    monkeypatch.setenv("FILE_SERVER_URL_STYLE", "host")
    link = shell("link", "m", "a.png")
    assert link.startswith("https://y.example/pw=signed/files/comfyui/m/a.png?exp=")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("z",), "There is no mount 'z'. The mounts are: m."),
        (("m", ".hidden"), "never served"),
        (("m", "a", "--key", "plain"), "no key 'plain' that requires a signature"),
        (("m", "a", "--key", "none"), "no key 'none'"),
    ],
)
def test_the_link_command_reports_invalid_arguments(
    shell: Shell, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in shell("link", *arguments, status=2)


@pytest.mark.parametrize("hours", ["0", "-1", "8760.1", "nan", "x"])
def test_the_hours_of_a_link_are_positive_and_at_most_a_year(shell: Shell, hours: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        shell("link", "m", "--hours", hours)
    assert exit_.value.code == 2


def test_signing_a_link_requires_a_secret(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_ACCESS_KEY")
    assert "No key to sign links with is set" in shell("link", "m", status=2)
    monkeypatch.setenv("INPUT_SERVER_SIGNING_KEY", "signs")
    assert parse_link(shell("link", "m"), "signs")[1] == "valid"


@pytest.mark.parametrize("port", ["65536", "-1", "x", "²", "80.0", "9" * 5000])
def test_an_invalid_port_is_refused(
    shell: Shell, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        shell(f"--port={port}")
    assert exit_.value.code == 2
    assert "is not a port from 0 to 65535" in capsys.readouterr().err


def test_a_missing_package_is_reported_with_the_command_that_installs_it(shell: Shell) -> None:
    code = (
        "import sys; sys.modules['granian'] = None; "
        "from input_server.cli import main; sys.exit(main(['--port', '0']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert "granian is missing" in done.stderr
    assert Path(done.stderr.split(" -r ")[1].strip()).is_file()


def test_a_mount_whose_folder_is_gone_is_not_called_empty(shell: Shell) -> None:
    folder = shell.folder / "more"
    shell("mounts", "add", "x", str(folder), "--older-than-days", "3")
    folder.rmdir()
    lines = shell("mounts", "usage").splitlines()
    assert lines[-1].split(maxsplit=1) == ["x", f"the folder {folder} is not there"]
    assert json.loads(shell("mounts", "usage", "--json"))["x"]["exists"] is False
    cleaned = shell("mounts", "clean", "x")
    assert cleaned == f"x: nothing deleted, as the folder {folder} is not there\n"


@pytest.mark.parametrize(("page", "shown"), [("cp1252", "\\u732b"), ("cp936", "猫")])
def test_names_that_the_code_page_lacks_are_escaped(tmp_path: Path, page: str, shown: str) -> None:
    (tmp_path / "猫").mkdir()
    environment = {
        **os.environ,
        "COMFYUI_MOUNTS": f"m:{tmp_path / '猫'}",
        "COMFYUI_ACCESS_KEY": "key-of-the-test",
        "COMFYUI_MOUNTS_FILE": str(tmp_path / "mounts.json"),
        "PYTHONIOENCODING": page,
        "PYTHONUTF8": "0",
    }
    for arguments in (["list"], ["list", "--json"], ["usage", "--json"]):
        listed = subprocess.run(
            [sys.executable, "-m", "input_server", "mounts", *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert listed.returncode == 0, listed.stderr
        output = listed.stdout.decode(page)
        if "--json" in arguments:
            assert json.loads(output)
        else:
            assert shown in output
