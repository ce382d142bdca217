"""Pythons that are too old for the project."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.stdio.processes import (
    INFO,
    PROJECT,
    posix,
    response_of,
    start_process,
    write_stdin,
    write_venv_python,
)

FOR_OLD_PYTHONS = [
    "bounded/numbers",
    "bounded/encoded_files",
    "bounded/truncate",
    "call_record",
    "errors",
    "process/dependencies",
    "process/encoding",
    "process/project",
    "process/reexec",
    "process/signals",
    "process/stdin",
    "process/stdout",
    "process/time_limit",
    "stdio",
]


@pytest.mark.parametrize("name", [*FOR_OLD_PYTHONS, "comfyui_plugin"])
def test_the_modules_imported_first_parse_in_python_3_8(name: str) -> None:
    folder = PROJECT if name == "comfyui_plugin" else PROJECT / "comfyui_pipeline"
    text = (folder / f"{name}.py").read_text("utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            assert node.arg not in ("slots", "kw_only", "strict")


OLD = """
import runpy, sys
sys.version_info = (3, 9, 2, "final", 0)
sys.argv = ["comfyui_plugin.py"]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        known = {names}
        if name.startswith("comfyui_pipeline.") and name.partition(".")[2] not in known:
            raise ImportError("an old Python cannot import " + name)
sys.meta_path.insert(0, Refuse())
runpy.run_path("comfyui_plugin.py", run_name="__main__")
"""


@posix
def test_an_old_python_uses_the_venv_or_names_the_version_needed(plugin: Any) -> None:
    """One that is really old where there is one; everywhere one that takes itself for it."""
    modules = [name.replace("/", ".") for name in FOR_OLD_PYTHONS]
    known = repr([*modules, "bounded", "process"])
    claimed = (sys.executable, "-c", OLD.replace("{names}", known))
    found = [shutil.which(f"python3.{minor}") for minor in (8, 9)]
    olds = [(old, "comfyui_plugin.py") for old in found if old and _runs(old)]
    for old in [claimed, *olds]:
        process = start_process(plugin, *old)
        write_stdin(process, INFO)
        assert "Python 3.10 or newer" in response_of(process)["error"]
    write_venv_python(plugin, f'exec "{sys.executable}" "$@"')
    for old in [claimed, *olds]:
        process = start_process(plugin, *old)
        write_stdin(process, INFO)
        assert response_of(process)["status"] == "success"


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
