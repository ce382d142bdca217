"""What to do when a folder or a pattern such as ``*.png`` is given where one file is needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import MediaError
from .redact import CONTROL_CHARACTERS

MAX_SCANNED = 10_000
"""Entries of a folder that are looked at."""
MAX_LISTED = 20
HOW = (
    'Pass one of them as "image", several as "images", or run the workflow once for each: workflow1, '
    "image1, workflow2, image2, …"
)


def is_pattern(name: str) -> bool:
    """Whether the last part of a path is a pattern."""
    return any(mark in re.split(r"[\\/]", name)[-1] for mark in "*?")


def folder_error(folder: Path, shown: str) -> MediaError:
    """The error for a folder in place of a file."""
    return _error(f"{shown} is a folder, and one file is needed here", _names(folder, "*"))


def pattern_error(folder: Path, pattern: str, shown: str) -> MediaError:
    """The error for a pattern in place of a file."""
    return _error(f"{shown} is a pattern, and one file is needed here", _names(folder, pattern))


def _error(what: str, names: list[str]) -> MediaError:
    if not names:
        return MediaError(f"{what}; it has no such file.", "Give the name of one file.")
    listed = ", ".join(names[:MAX_LISTED])
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return MediaError(f"{what}. Its files: {listed}{more}.", HOW)


def _names(folder: Path, pattern: str) -> list[str]:
    """Names of the folder's files that match; hidden files and links are left out."""
    from fnmatch import fnmatch

    names = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_SCANNED:
                    break
                name = entry.name
                if name.startswith(".") or CONTROL_CHARACTERS.search(name):
                    continue
                if fnmatch(name.lower(), pattern.lower()) and entry.is_file(follow_symlinks=False):
                    names.append(name)
    except OSError:
        return []
    return sorted(names)
