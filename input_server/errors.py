"""The error that every part of the file server raises for a wrong setting."""

from __future__ import annotations


class ConfigError(Exception):
    """A setting of the file server is invalid. The text names the setting and a valid value."""
