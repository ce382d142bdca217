"""A copy of the project and an environment without the user's settings.

For the demo, the benchmarks and the tests, which must not depend on ``config.env``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("comfyui_pipeline", "embedded_comfyui", "input_server", "workflows")
FILES = ("comfyui_plugin.py", "plugin-manifest.json")
SETTINGS = (
    "COMFYUI",
    "FILE_SERVER",
    "INPUT_SERVER",
    "DOWNLOAD_",
    "PROJECT_BASE",
    "DEBUGMODE",
    "SERVER_PORT",
    "IMAGESERVER",
)
"""Prefixes of the names of all settings, in upper case as Windows has all names."""


def copy_project(folder: Path) -> Path:
    """Copy the programs without settings files into ``folder``; return the folder."""
    unwanted = shutil.ignore_patterns("config.env", "mounts.json", "__pycache__", ".*")
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, folder / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(PROJECT / name, folder / name)
    return folder


@contextmanager
def project_copy() -> Iterator[Path]:
    """Yield a temporary copy of the project."""
    with tempfile.TemporaryDirectory(prefix="comfyui-copy-", ignore_cleanup_errors=True) as folder:
        yield copy_project(Path(folder))


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that are not settings."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(SETTINGS)}
