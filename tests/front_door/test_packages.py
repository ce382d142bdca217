"""The packages are found: in .venv, through .venv's Python, or the answer says what to run."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

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
