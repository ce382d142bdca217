"""Find the packages that a call needs: the project's own ``.venv`` first, then the host's Python."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

NEEDED = (
    "requests",
    "websocket",
    "dotenv",
    "PIL",
    "rapidfuzz",
    "itsdangerous",
    "tinytag",
    "tqdm",
)
GUARD = "COMFYUI_PLUGIN_OWN_PYTHON"
"""Set in the environment of a Python that we started ourselves, so that it starts no other."""


class Missing(Exception):
    """No Python on this machine has what the call needs; the text says what to run."""


def prepare(project: Path) -> Path | None:
    """Make the packages importable.

    Gives None when they are, or the path of the ``.venv``'s Python when only that one has them
    (its version differs from ours). Raises Missing when neither works.
    """
    folder = _site_packages(project)
    if folder is not None:
        sys.path.insert(0, str(folder))
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    own = _venv_python(project)
    if own is not None and GUARD not in os.environ:
        return own
    raise Missing(
        f"The Python that runs this tool ({sys.version_info[0]}.{sys.version_info[1]}) lacks "
        f"{', '.join(lacking)}. In the plugin's folder run `python3 run.py setup` (Windows: "
        "`py run.py setup`), which makes a .venv of its own, or `pip install -r requirements.txt`."
    )


def run_with(
    python: Path, project: Path, raw: bytes, argv: Sequence[str], deadline: float
) -> bytes:
    """Let another Python answer this call; gives what it wrote to its stdout.

    It is ended shortly before ``deadline`` (``time.monotonic()``, seconds).
    """
    import subprocess

    command = [str(python), str(project / "comfyui_plugin.py"), *argv]
    left = max(1.0, deadline - time.monotonic() - 1.0)
    try:
        done = subprocess.run(
            command,
            input=raw,
            stdout=subprocess.PIPE,
            env={**os.environ, GUARD: "1"},
            timeout=left,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout


def _site_packages(project: Path) -> Path | None:
    """The ``.venv``'s packages when they were installed for this very version of Python."""
    major, minor = sys.version_info[:2]
    posix = project / ".venv" / "lib" / f"python{major}.{minor}" / "site-packages"
    if posix.is_dir():
        return posix
    windows = project / ".venv" / "Lib" / "site-packages"
    if windows.is_dir() and _venv_version(project) == f"{major}.{minor}":
        return windows
    return None


def _venv_version(project: Path) -> str:
    """``3.12`` out of ``version = 3.12.1`` in ``pyvenv.cfg`` (PEP 405); "" when it is not there."""
    try:
        lines = (project / ".venv" / "pyvenv.cfg").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() in ("version", "version_info"):
            return ".".join(value.strip().split(".")[:2])
    return ""


def _venv_python(project: Path) -> Path | None:
    for inside in ("bin/python", "Scripts/python.exe"):
        python = project / ".venv" / inside
        if python.is_file():
            return python
    return None
