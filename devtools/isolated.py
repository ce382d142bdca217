"""The project apart from its user: a copy, and an environment, in which nothing has been set.

For what has to come out the same whatever stands in ``config.env``: the demo, the benches, the tests.
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
SETTINGS = ("COMFYUI", "FILE_SERVER", "INPUT_SERVER", "DOWNLOAD_ALLOW", "PROJECT_BASE", "DebugMode")
"""How the names of all settings begin."""


def copy_project(folder: Path) -> Path:
    """Copy into ``folder`` what runs, and no settings; gives the folder."""
    unwanted = shutil.ignore_patterns("config.env", "mounts.json", "__pycache__", ".*")
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, folder / name, ignore=unwanted)
    for name in FILES:
        shutil.copy(PROJECT / name, folder / name)
    return folder


@contextmanager
def project_copy() -> Iterator[Path]:
    """Such a copy, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="comfyui-apart-", ignore_cleanup_errors=True) as folder:
        yield copy_project(Path(folder))


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the settings in it."""
    return {name: value for name, value in environ.items() if not name.startswith(SETTINGS)}
