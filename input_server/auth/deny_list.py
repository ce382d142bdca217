"""``INPUT_SERVER_DENY_FILE``: networks whose requests are always refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..errors import ConfigError
from .networks import Network, in_networks, parse_networks

CHECK_SECONDS = 2.0
"""How often the file is checked for changes."""


class DenyList:
    """Networks in a file, one per line, ``#`` starts a comment. Re-read when the file changes.

    The constructor raises ConfigError if the file cannot be read. If a later read fails, the list
    stays as it was and ``log`` gets one line.
    """

    def __init__(self, file: Path | None, log: Callable[[str], None]) -> None:
        self._file = file
        self._log = log
        self._checked = time.monotonic()
        self._mtime_ns: int | None = None
        self._networks: tuple[Network, ...] = ()
        self._problem = ""
        if file is not None:
            self._read(file)

    def contains(self, address: str) -> bool:
        """Return whether requests from this address are refused."""
        if self._file is None:
            return False
        now = time.monotonic()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            self._refresh(self._file)
        return in_networks(address, self._networks)

    def _refresh(self, file: Path) -> None:
        problem = ""
        try:
            self._read(file)
        except ConfigError as error:
            problem = f"{error} The previous deny list stays in force."
        if problem and problem != self._problem:
            self._log(problem)
        self._problem = problem

    def _read(self, file: Path) -> None:
        try:
            mtime_ns = file.stat().st_mtime_ns
            if mtime_ns == self._mtime_ns:
                return
            lines = file.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(f"INPUT_SERVER_DENY_FILE: cannot read {file}: {reason}.") from None
        entries = (line.partition("#")[0].strip() for line in lines)
        self._networks = parse_networks(";".join(entries), str(file))
        self._mtime_ns = mtime_ns
