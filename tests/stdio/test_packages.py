"""Packages are found in .venv or through its Python; otherwise the error says what to run."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
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
from tests.stdio.processes import INFO, posix, response_of, start_process, write_stdin
from tests.waiting import TIMEOUT
from tests.wine import not_under_wine

BARE = (sys.executable, "-I", "-S")
"""A Python without installed packages, as a host may have."""
NEEDS_PACKAGES = {"info": "queue"}


def test_without_packages_the_error_says_what_to_run(plugin: Any) -> None:
    answered = plugin.call(NEEDS_PACKAGES, python=BARE)
    assert "lacks requests, websocket, dotenv, PIL" in answered.error
    assert "run.py setup" in answered.error


def test_listing_workflows_needs_no_package(plugin: Any) -> None:
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


@not_under_wine("a symlink to a folder does nothing")
def test_the_packages_of_a_venv_of_the_same_version_are_used(ready: Any) -> None:
    _lib(ready.folder / ".venv").symlink_to(sysconfig.get_paths()["purelib"])
    assert ready.call(NEEDS_PACKAGES, python=BARE).text.startswith("0 running")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script replaces another Python")
def test_a_venv_of_another_version_responds_with_its_own_python(ready: Any) -> None:
    python = ready.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "utf-8")
    python.chmod(0o755)
    assert ready.call(NEEDS_PACKAGES, python=BARE).text.startswith("0 running")
    answered = ready.call({"workflow": "no such"}, "--exit-code", python=BARE)
    assert "no workflow" in answered.error
    assert answered.status == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script replaces another Python")
@pytest.mark.parametrize(
    "script", ["exit 3", "echo not json", f"exec '{sys.executable}' -I -S \"$@\""]
)
def test_a_broken_venv_gives_one_error_and_no_loop(plugin: Any, script: str) -> None:
    python = plugin.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    python.chmod(0o755)
    assert "run.py" in plugin.call(NEEDS_PACKAGES, python=BARE).error


def test_run_py_without_a_command_lists_its_commands() -> None:
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [*BARE, "run.py"], cwd=project, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2
    assert "run.py demo" in done.stderr


def python_for(folder: Path, monkeypatch: pytest.MonkeyPatch, *missing: str) -> Path | None:
    """Return the Python that is to run instead when only the ``missing`` packages are absent."""
    packages = folder / "packages"
    for name, (_, file) in dependencies.NEEDED.items():
        if name not in missing:
            (packages / name).mkdir(parents=True, exist_ok=True)
            (packages / name / file).touch()

    def found(name: str) -> Any:
        if name in missing:
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(packages / name)]
        return spec

    monkeypatch.setattr(dependencies.importlib.util, "find_spec", found)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return dependencies.make_importable(folder)


def test_another_python_is_used_only_if_a_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert python_for(tmp_path, monkeypatch) is None
    for name in dependencies.NEEDED:
        assert python_for(tmp_path, monkeypatch, name) == python


@pytest.mark.parametrize("inside", ["bin/python", "Scripts/python.exe"])
def test_a_started_python_starts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    python = tmp_path / ".venv" / inside
    python.parent.mkdir(parents=True)
    python.touch()
    assert python_for(tmp_path, monkeypatch, "PIL") == python
    monkeypatch.setenv(reexec.GUARD, "1")
    with pytest.raises(PackagesMissing, match="lacks PIL"):
        python_for(tmp_path, monkeypatch, "PIL")


HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(
    ("written", "used"),
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
def test_packages_of_a_windows_venv_are_used_only_by_their_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, used: bool
) -> None:
    folder = tmp_path / ".venv" / "Lib" / "site-packages"
    folder.mkdir(parents=True)
    if written is not None:
        (tmp_path / ".venv" / "pyvenv.cfg").write_text(written, "utf-8")
    assert python_for(tmp_path, monkeypatch) is None
    assert (sys.path[0] == str(folder)) is used


@pytest.mark.parametrize(("version", "used"), [(HERE, True), ("3.1", False)])
def test_packages_of_the_venv_are_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, used: bool
) -> None:
    folder = tmp_path / ".venv" / "lib" / f"python{version}" / "site-packages"
    folder.mkdir(parents=True)
    assert python_for(tmp_path, monkeypatch) is None
    assert (sys.path[0] == str(folder)) is used


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


def test_another_python_gets_the_call_unchanged(tmp_path: Path) -> None:
    (tmp_path / "comfyui_plugin.py").write_text(
        "import json, os, sys\n"
        f"received = [sys.stdin.read(), sys.argv[1:], float(os.environ[{reexec.GUARD!r}])]\n"
        "print(json.dumps({'status': 'error', 'error': received}))",
        "utf-8",
    )
    text, argv, seconds = relayed(tmp_path, Path(sys.executable))["error"]
    assert (text, argv) == ("call", ["-x"])
    assert 7 <= seconds < TIMEOUT
    assert "could not be started" in relayed(tmp_path, tmp_path / "none")["error"]


def test_another_python_is_stopped_at_the_time_limit(tmp_path: Path) -> None:
    (tmp_path / "comfyui_plugin.py").write_text("import time; time.sleep(1000)", "utf-8")
    error = relayed(tmp_path, Path(sys.executable), 0)["error"]
    assert "did not respond within this call's time limit" in error
    assert "may still be running" in error


@posix
@pytest.mark.parametrize("name", ["websocket", "dotenv", "PIL", "requests", "tqdm"])
def test_another_package_of_a_required_name_is_reported_with_its_path(
    plugin: Any, name: str
) -> None:
    other = plugin.folder / "other" / name
    other.mkdir(parents=True)
    (other / "__init__.py").write_text('__version__ = "0.2.1"\n', "utf-8")
    own = sysconfig.get_paths()["purelib"]
    env = {"PYTHONPATH": f"{other.parent}{os.pathsep}{own}"}
    (plugin.folder / "config.env").write_text("DebugMode=false\n", "utf-8")
    error = plugin.call({"info": "queue"}, python=(sys.executable, "-S"), **env).error
    assert f"called {name!r}" in error
    assert str(other) in error
    assert "run.py setup" in error
    # the .venv's own comes first where its Python is this one
    lib = plugin.folder / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    lib.mkdir(parents=True)
    (lib / "site-packages").symlink_to(own)
    text = plugin.call({"info": "queue"}, python=(sys.executable, "-S"), **env).error
    assert "refuses the connection" in text


@posix
def test_a_symlink_to_the_script_and_safe_path_work(plugin: Any, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere.py"
    link.symlink_to(plugin.folder / "comfyui_plugin.py")
    for argv in ([str(link)], ["-I", str(link)]):
        process = start_process(plugin, sys.executable, *argv, env={"PYTHONSAFEPATH": "1"})
        write_stdin(process, INFO)
        assert response_of(process)["status"] == "success"


def test_missing_files_are_reported_as_json(plugin: Any) -> None:
    shutil.rmtree(plugin.folder / "comfyui_pipeline")
    process = start_process(plugin)
    assert "all of its files" in response_of(process)["error"]
