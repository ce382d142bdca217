"""Find the packages that a call needs: in the project's ``.venv`` first, then in the host's Python.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from comfyui_pipeline.errors import PackagesMissing
from comfyui_pipeline.process.project import PACKAGED
from comfyui_pipeline.process.reexec import is_child

NEEDED = {
    "requests": ("requests", "adapters.py"),
    "websocket": ("websocket-client", "_abnf.py"),
    "dotenv": ("python-dotenv", "main.py"),
    "PIL": ("Pillow", "Image.py"),
    "rapidfuzz": ("rapidfuzz", "process.py"),
    "itsdangerous": ("itsdangerous", "timed.py"),
    "tinytag": ("tinytag", "tinytag.py"),
    "tqdm": ("tqdm", "std.py"),
}
"""Module -> its package on PyPI, and a file by which it differs from others of the same name."""
OLDEST = (3, 10)
SET_UP = (
    "In the plugin's folder run `python3 run.py setup` (Windows: `py run.py setup`), which "
    "creates a .venv"
)


def python_to_use_instead(project: Path) -> Path | None:
    """Return the ``.venv``'s Python if this one is too old, else None.

    Raises PackagesMissing if there is none.
    """
    if sys.version_info >= OLDEST:
        return None
    own = _venv_python(project)
    if own is not None and not is_child():
        return own
    raise PackagesMissing(
        f"This tool needs Python 3.10 or newer; the host runs it with {_version()}. With a newer "
        "Python run `python3 run.py setup` in the plugin's folder, which creates a .venv, whose "
        "Python then runs the tool, whatever the host uses."
    )


def make_importable(project: Path) -> Path | None:
    """Make the packages importable.

    Returns None if they are, or the path of the ``.venv``'s Python if only that one has them (its
    version differs from ours). Raises PackagesMissing if neither works.
    """
    folder = _site_packages(project)
    if folder is not None:
        sys.path.insert(0, str(folder))
    missing, others = _look()
    if not missing and not others:
        return None
    own = _venv_python(project)
    if own is not None and not is_child():
        return own
    if others:
        name, place = next(iter(others.items()))
        raise PackagesMissing(
            f"Another package called {name!r} is found first, in {place}; this tool needs "
            f"{NEEDED[name][0]}. {SET_UP}, or remove the other package (or its folder from PYTHONPATH)."
        )
    raise PackagesMissing(
        f"The Python that runs this tool ({_version()}) lacks {', '.join(missing)}. {SET_UP}, or "
        "`pip install -r requirements.txt`."
    )


def _look() -> tuple[list[str], dict[str, Path]]:
    """Return the missing modules, and those of other packages with their folders."""
    missing, others = [], {}
    for name, (_, file) in NEEDED.items():
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):  # in sys.modules without a spec
            spec = None
        places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
        if any((place / file).is_file() for place in places):
            continue
        origin = spec.origin if spec is not None else None
        if origin and origin not in ("namespace", "built-in"):
            others[name] = Path(origin).parent
        else:
            missing.append(name)
    return missing, others


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _site_packages(project: Path) -> Path | None:
    """Return the ``.venv``'s packages if they were installed for this version of Python."""
    if PACKAGED.is_dir():  # installed by pip: a .venv in the current folder is not ours
        return None
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
    if PACKAGED.is_dir():
        return None
    for inside in ("bin/python", "Scripts/python.exe"):
        python = project / ".venv" / inside
        if python.is_file():
            return python
    return None
