"""Where tests start the file server from (used by tests)."""

from __future__ import annotations

from pathlib import Path

from input_server import settings


def project() -> Path:
    """Return the copy of the project without settings, which ``conftest.py`` has created."""
    return settings.PACKAGE.parent
