"""Where the project's own files are: in its folder, or in the installed package.

A checkout and a host's plugin folder hold everything. After ``pip install`` the project folder is the
current one, and what it lacks (workflows, manifest) comes from the package; ``setup.py`` puts it there.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

from pathlib import Path

PACKAGED = Path(__file__).resolve().parent.parent / "project"


def project_file(project: Path, name: str) -> Path:
    """Return ``project / name``, or the packaged copy if only that exists."""
    own, packaged = project / name, PACKAGED / name
    return packaged if packaged.exists() and not own.exists() else own
