"""``run.py``: its setup, and the processes it starts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from devtools import isolated
from tests.waiting import TIMEOUT, wait_until

PROJECT = Path(__file__).resolve().parent.parent
SERVE = """
import sys, run
run.set_up, run.python = (lambda _: True), (lambda: sys.executable)
sys.exit(run.main(["serve", "--port", "0", "--stop-with-stdin"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_port_is_free_after_run_py_ends(tmp_path: Path, number: signal.Signals) -> None:
    checkout = isolated.copy_project(tmp_path / "checkout")
    shutil.copy(PROJECT / "run.py", checkout)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=checkout,
        env={**os.environ, "FILE_SERVER_ACCESS_KEY": "key-of-the-test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT).text == "ok"
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), TIMEOUT)


TIED = """
import sys, run
program = "import sys; print('up', flush=True); sys.stdin.read(); open('ended', 'w').close()"
sys.exit(run.run_tied([sys.executable, "-c", program]))
"""


def test_a_tied_server_ends_with_a_run_py_that_is_killed(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "run.py", tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", TIED],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(TIMEOUT)
    wait_until((tmp_path / "ended").exists, "the server runs on")


# -- commands and setup ---------------------------------------------------------------------------


class Runner:
    """run.py of an empty checkout. ``started``: its commands; ``statuses``: their exit statuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(PROJECT / "run.py", folder)
        for name in ("requirements.txt", "requirements-serve.txt", "requirements-test.txt"):
            (folder / name).write_text(name, "utf-8")
        (folder / "tests" / "node").mkdir(parents=True)
        (folder / "tests" / "node" / "package.json").write_text("{}", "utf-8")
        spec = importlib.util.spec_from_file_location("run_of_a_checkout", folder / "run.py")
        assert spec is not None
        assert spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.python = Path(self.module.python())
        self.started: list[list[str]] = []
        self.statuses: dict[str, int] = {}
        self.module.subprocess = SimpleNamespace(run=self.start)
        self.module.os = SimpleNamespace(**{**vars(os), "execve": self.replace})
        self.module.shutil = SimpleNamespace(which=lambda _: None, rmtree=shutil.rmtree)

    def start(self, command: list[str], **kind: Any) -> Any:
        self.started.append(command)
        line = " ".join(command)
        if "venv" in command:
            self.python.parent.mkdir(parents=True, exist_ok=True)
            self.python.touch()
        if "npm" in command[0]:
            (self.folder / "tests" / "node" / "node_modules").mkdir()
        given = [status for part, status in self.statuses.items() if part in line]
        return SimpleNamespace(returncode=max(given, default=0))

    def replace(self, program: str, command: list[str], environment: dict[str, str]) -> None:
        assert environment["PYTHONUTF8"] == "1"
        self.started.append(command)
        raise SystemExit(0)

    def main(self, *argv: str) -> int:
        return int(self.module.main(argv))

    def ran(self, part: str) -> list[list[str]]:
        return [command for command in self.started if part in " ".join(command)]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.chdir(tmp_path)
    return Runner(tmp_path)


@pytest.mark.parametrize(
    ("argv", "started", "requirements"),
    [
        (["demo", "x"], ["-m", "demo", "x"], "requirements-serve.txt"),
        (["bench", "files"], ["-m", "benchmarks", "files"], "requirements-serve.txt"),
        (["test", "-n0", "x"], ["-m", "pytest", "-n0", "x"], "requirements-test.txt"),
        (["setup"], None, "requirements-serve.txt"),
    ],
)
def test_requirements_are_installed_once_before_a_command_starts(
    runner: Runner, argv: list[str], started: list[str] | None, requirements: str
) -> None:
    for _ in range(2):
        assert runner.main(*argv) == 0
    (installed,) = runner.ran("pip install")
    assert installed[-2:] == ["-r", str(runner.folder / requirements)]
    assert len(runner.ran("-m venv")) == 1
    if started:
        assert runner.started[-1] == [str(runner.python), *started]
    (runner.folder / "requirements.txt").write_text("another", "utf-8")
    assert runner.main(*argv) == 0
    assert len(runner.ran("pip install")) == 2


@pytest.mark.skipif(os.name != "posix", reason="on Windows it is a child")
def test_serve_replaces_the_process_of_run_py(runner: Runner) -> None:
    with pytest.raises(SystemExit):
        runner.main("serve", "--port", "0")
    assert runner.started[-1] == [str(runner.python), "-m", "input_server", "--port", "0"]


@pytest.mark.parametrize("argv", [[], ["dance"], ["--help"]])
def test_an_unknown_command_prints_the_commands(
    runner: Runner, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert runner.main(*argv) == 2
    assert runner.started == []
    error = capsys.readouterr().err
    assert all(f"run.py {command}" in error for command in runner.module.COMMANDS)


@pytest.mark.parametrize("failing", ["ruff check", "ruff format", "-m mypy", "-m pytest"])
def test_every_check_runs_and_the_highest_status_is_returned(runner: Runner, failing: str) -> None:
    runner.statuses = {failing: 3}
    assert runner.main("test") == 3
    checks = [command[2] for command in runner.started if command[1:2] == ["-m"]]
    assert checks[-6:] == ["ruff", "ruff", "mypy", "mypy", "mypy", "pytest"]
    assert runner.started[-1][3:] == ["-n", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal"]


def test_with_arguments_only_pytest_runs(runner: Runner) -> None:
    runner.statuses = {"ruff": 1}
    assert runner.main("test", "tests/test_run.py") == 0
    assert runner.started[-1][-1] == "tests/test_run.py"
    assert "-n" in runner.started[-1]
    assert not runner.ran("ruff")


@pytest.mark.parametrize("failing", ["-m venv", "pip install"])
def test_a_failed_setup_is_reported_and_tried_again(
    runner: Runner, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    runner.statuses = {failing: 1}
    assert runner.main("demo") == 1
    assert not runner.ran("-m demo")
    error = capsys.readouterr().err
    assert ("-venv`" in error) == (failing == "-m venv")
    assert ("Check the network" in error) == (failing == "pip install")
    runner.statuses = {}
    assert runner.main("demo") == 0


def test_a_venv_whose_python_does_not_run_is_replaced(runner: Runner) -> None:
    runner.main("setup")
    (runner.folder / "requirements.txt").write_text("another", "utf-8")
    runner.statuses = {"sys.version_info": 1}
    assert runner.main("setup") == 0
    assert len(runner.ran("-m venv")) == 2


def test_node_packages_are_installed_once_if_npm_exists(runner: Runner) -> None:
    runner.module.shutil.which = lambda name: f"/x/{name}"
    for _ in range(2):
        assert runner.main("test", "-n0") == 0
    assert len(runner.ran("npm install")) == 1
    shutil.rmtree(runner.folder / "tests" / "node" / "node_modules")
    runner.statuses = {"npm": 1}
    for _ in range(2):
        assert runner.main("test", "-n0") == 0
        shutil.rmtree(runner.folder / "tests" / "node" / "node_modules")
    assert len(runner.ran("npm install")) == 3


def test_an_old_python_is_refused_before_anything_is_installed(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    assert runner.main("setup") == 2
    assert runner.started == []
    assert "Python 3.10 or newer" in capsys.readouterr().err


@pytest.mark.parametrize("fails", [False, True])
def test_npm_succeeded_only_with_status_zero_and_a_folder(
    runner: Runner, fails: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """npm may fail after creating the folder, and succeed without creating it."""
    runner.module.shutil.which = lambda _: "npm"
    stamp = runner.folder / "tests" / "node" / "node_modules" / ".installed"
    if fails:
        runner.statuses["npm"] = 1
    else:
        runner.module.subprocess.run = lambda command, **kind: SimpleNamespace(returncode=0)
    runner.module.set_up_node()
    assert not stamp.exists()
    assert stamp.parent.is_dir() == fails
    assert "npm could not install it" in capsys.readouterr().err
