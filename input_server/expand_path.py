"""Paths in settings."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigError


def expand_path(text: str, base: Path, setting: str) -> Path:
    """Return the path of a setting: ``~`` is expanded, a relative path starts at ``base``.

    Raises ConfigError, naming ``setting``, for the home of an unknown user.
    """
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{setting}: cannot expand {text!r}: no such user.") from None
