"""Layers of input_server import lower ones only; a copy under another name works."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.input_server.running import PROJECT
from tests.waiting import TIMEOUT

SOURCE = PROJECT / "input_server"
MAY_IMPORT = {
    "base": set(),
    "mounts": {"base"},
    "auth": {"base"},
    "images": {"base", "mounts"},
    "settings": {"base", "mounts", "auth"},
    "http": {"base", "mounts", "auth", "images", "settings"},
    "gallery": {"base", "mounts", "auth", "images", "http"},
    "entry points": {"base", "mounts", "auth", "images", "settings", "http", "gallery"},
}
"""Which layer may import which. Every module of the package itself is in one of three layers."""
SETTINGS = {"settings"}
ENTRY_POINTS = {"__init__", "__main__", "application", "cli", "mounts_command", "link_command"}
BASE_MAY_IMPORT = {"urls": "mounts.resolve"}
"""``urls`` decodes the path of a URL by the rules of ``mounts/resolve.py``, which imports base only."""


def layer(module: str) -> str:
    package, _, name = module.rpartition(".")
    if package:
        return package
    if name in ENTRY_POINTS:
        return "entry points"
    return "settings" if name in SETTINGS else "base"


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts)] = path
    return found


def imports(module: str, path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the modules of input_server that a module imports, and whether only for type hints."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    known = modules()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = module.split(".")[: -node.level]
            base = ".".join([*parents, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".strip(".")
                target = next(n for n in (name, base, f"{base}.__init__") if n in known)
                yield target, id(node) in typing_only


def test_layers_import_lower_layers_only() -> None:
    wrong = []
    for module, path in modules().items():
        for target, typing_only in imports(module, path):
            source, used = layer(module), layer(target)
            if typing_only or used == source or used in MAY_IMPORT[source]:
                continue
            if BASE_MAY_IMPORT.get(module) != target:
                wrong.append(f"{module} ({source}) imports {target} ({used})")
    assert not wrong


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: {target for target, typing_only in imports(module, path) if not typing_only}
        for module, path in modules().items()
        if module != "__init__"
    }
    assert list(TopologicalSorter(graph).static_order())


def test_imports_are_relative() -> None:
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert not str(node.module).startswith(("input_server", "comfyui_pipeline"))


def test_a_copy_under_another_name_works_alone(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "files", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "m").mkdir()
    (tmp_path / "files" / "config.env").write_text(
        f"COMFYUI_ACCESS_KEY=key-of-the-copy\nCOMFYUI_MOUNTS=m:{tmp_path / 'm'}\n", "utf-8"
    )
    code = "from files.application import create_app; from files.settings import read; create_app(read({}))"
    for arguments in (("-m", "files", "mounts", "list"), ("-c", code)):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
