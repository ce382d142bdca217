"""Where tests start the file server from (used by tests)."""

from __future__ import annotations

from pathlib import Path

from input_server import settings


def project() -> Path:
    """A copy of the project in which nothing has been set; conftest.py has put it there."""
    return settings.PACKAGE.parent
