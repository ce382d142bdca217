"""The current mounts: those in the settings, and those in ``mounts.json``, re-read when it changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError
from .mount import Mount
from .mounts_file import read_mounts_file

CHECK_SECONDS = 1.0
"""How often the file is checked for changes."""


class MountTable:
    """The mounts by alias. Thread-safe. Mounts in the file override those in the settings.

    ``log`` gets one line when the file is invalid; the mounts then stay as they were.
    """

    def __init__(self, configured: Sequence[Mount], file: Path, log: Callable[[str], None]) -> None:
        self._log = log
        self._configured = {mount.alias: mount for mount in configured}
        self._file = file
        self._lock = threading.Lock()
        self._checked = 0.0
        self._stamp: tuple[int, int] | None = None
        self._mounts = dict(self._configured)
        self._check(time.monotonic())

    def get(self, alias: str) -> Mount | None:
        """Return the mount of that alias."""
        self.refresh()
        return self._mounts.get(alias)

    def __iter__(self) -> Iterator[Mount]:
        self.refresh()
        return iter(list(self._mounts.values()))

    def refresh(self) -> None:
        """Re-read the file if it has changed."""
        now = time.monotonic()
        if now - self._checked >= CHECK_SECONDS:
            self._check(now)

    def _check(self, now: float) -> None:
        with self._lock:
            self._checked = now
            stamp = _stamp(self._file)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                mounts = read_mounts_file(self._file)
            except ConfigError as error:
                self._log(f"{error} The previous mounts stay in use.")
                return
            self._mounts = {**self._configured, **{mount.alias: mount for mount in mounts}}


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return modification time and size, None if the file cannot be read."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
