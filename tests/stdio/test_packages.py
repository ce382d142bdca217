"""The packages are found: in .venv, through .venv's Python, or the answer says what to run."""

from __future__ import annotations

import importlib.machinery
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import PackagesMissing
from comfyui_pipeline.process import dependencies, reexec
from comfyui_pipeline.process.signals import Signals
from tests.waiting import TIMEOUT

BARE = (sys.executable, "-I", "-S")
"""A Python that sees no installed package, as a host's may be."""
NEEDS_PACKAGES = {"info": "queue"}


def test_without_packages_the_answer_says_what_to_run(plugin: Any) -> None:
    answered = plugin.call(NEEDS_PACKAGES, python=BARE)
    assert "lacks requests, websocket, dotenv, PIL" in answered.error
    assert "run.py setup" in answered.error


def test_a_list_of_workflows_needs_no_package_at_all(plugin: Any) -> None:
    assert "text2img_api" in plugin.call({"info": "workflows"}, python=BARE).text


def _lib(venv: Path) -> Path:
    if sys.platform == "win32":
        (venv / "Lib").mkdir(parents=True)
        version = f"version = {sys.version_info[0]}.{sys.version_info[1]}.0\n"
        (venv / "pyvenv.cfg").write_text(version, "utf-8")
        return venv / "Lib" / "site-packages"
    folder = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    folder.mkdir(parents=True)
    return folder / "site-packages"


def test_the_projects_own_venv_lends_its_packages_when_the_version_fits(ready: Any) -> None:
    _lib(ready.folder / ".venv").symlink_to(sysconfig.get_paths()["purelib"])
    assert ready.call(NEEDS_PACKAGES, python=BARE).text.startswith("0 running")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for another Python")
def test_a_venv_of_another_version_answers_with_its_own_python(ready: Any) -> None:
    python = ready.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "utf-8")
    python.chmod(0o755)
    assert ready.call(NEEDS_PACKAGES, python=BARE).text.startswith("0 running")
    answered = ready.call({"workflow": "no such"}, "--exit-code", python=BARE)
    assert "no workflow" in answered.error
    assert answered.status == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for another Python")
@pytest.mark.parametrize(
    "script", ["exit 3", "echo not json", f"exec '{sys.executable}' -I -S \"$@\""]
)
def test_a_broken_venv_ends_in_one_answer_and_not_in_a_circle(plugin: Any, script: str) -> None:
    python = plugin.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    python.chmod(0o755)
    assert "run.py" in plugin.call(NEEDS_PACKAGES, python=BARE).error


def test_run_py_says_its_commands_when_it_is_given_none() -> None:
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [*BARE, "run.py"], cwd=project, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2
    assert "run.py demo" in done.stderr


def found_beside(folder: Path, monkeypatch: pytest.MonkeyPatch, *lacking: str) -> Path | None:
    """What ``prepare`` gives for a project whose packages, but for those, are importable."""
    there = folder / "there"
    for name, (_, file) in dependencies.NEEDED.items():
        if name not in lacking:
            (there / name).mkdir(parents=True, exist_ok=True)
            (there / name / file).touch()

    def found(name: str) -> Any:
        if name in lacking:
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(there / name)]
        return spec

    monkeypatch.setattr(dependencies.importlib.util, "find_spec", found)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return dependencies.make_importable(folder)


def test_with_every_package_there_no_other_python_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert found_beside(tmp_path, monkeypatch) is None
    for name in dependencies.NEEDED:
        assert found_beside(tmp_path, monkeypatch, name) == python


@pytest.mark.parametrize("inside", ["bin/python", "Scripts/python.exe"])
def test_a_python_that_we_started_starts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    python = tmp_path / ".venv" / inside
    python.parent.mkdir(parents=True)
    python.touch()
    assert found_beside(tmp_path, monkeypatch, "PIL") == python
    monkeypatch.setenv(reexec.GUARD, "1")
    with pytest.raises(PackagesMissing, match="lacks PIL"):
        found_beside(tmp_path, monkeypatch, "PIL")


HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(
    ("written", "lent"),
    [
        (f"version = {HERE}.4", True),
        (f"home = /x\nversion_info={HERE}.4.final.0", True),
        (f"version = {HERE}", True),
        ("version = 3.1.2", False),
        (f"home = {HERE}", False),
        ("", False),
        (None, False),
    ],
)
def test_packages_are_lent_only_to_the_version_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, lent: bool
) -> None:
    folder = tmp_path / ".venv" / "Lib" / "site-packages"
    folder.mkdir(parents=True)
    if written is not None:
        (tmp_path / ".venv" / "pyvenv.cfg").write_text(written, "utf-8")
    assert found_beside(tmp_path, monkeypatch) is None
    assert (sys.path[0] == str(folder)) is lent


@pytest.mark.parametrize(("version", "lent"), [(HERE, True), ("3.1", False)])
def test_and_they_are_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, lent: bool
) -> None:
    folder = tmp_path / ".venv" / "lib" / f"python{version}" / "site-packages"
    folder.mkdir(parents=True)
    assert found_beside(tmp_path, monkeypatch) is None
    assert (sys.path[0] == str(folder)) is lent


def test_only_an_old_python_looks_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dependencies.python_to_use_instead(tmp_path) is None
    for version, old in [((3, 10, 0), False), ((3, 9, 99), True), ((4, 0, 0), False)]:
        monkeypatch.setattr(sys, "version_info", (*version, "final", 0))
        if not old:
            assert dependencies.python_to_use_instead(tmp_path) is None
            continue
        with pytest.raises(PackagesMissing, match=r"needs Python 3\.10 or newer.* 3\.9\."):
            dependencies.python_to_use_instead(tmp_path)


def relayed(folder: Path, python: Path, seconds: float = TIMEOUT) -> Any:
    now = time.monotonic()
    command = [str(python), str(folder / "comfyui_plugin.py"), "-x"]
    return reexec.answer_with(command, b"call", Signals(), now + seconds, now - 7)


def test_a_python_that_answers_in_our_place_gets_the_call_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "comfyui_plugin.py").write_text(
        "import json, os, sys\n"
        f"told = [sys.stdin.read(), sys.argv[1:], float(os.environ[{reexec.GUARD!r}])]\n"
        "print(json.dumps({'status': 'error', 'error': told}))",
        "utf-8",
    )
    text, argv, seconds = relayed(tmp_path, Path(sys.executable))["error"]
    assert (text, argv) == ("call", ["-x"])
    assert 7 <= seconds < TIMEOUT
    assert "could not be started" in relayed(tmp_path, tmp_path / "none")["error"]


def test_a_python_that_does_not_answer_in_time_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "comfyui_plugin.py").write_text("import time; time.sleep(1000)", "utf-8")
    error = relayed(tmp_path, Path(sys.executable), 0)["error"]
    assert "did not respond within this call's time limit" in error
    assert "may still be running" in error
