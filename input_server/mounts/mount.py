"""A mount: a directory that is served under an alias, and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_CACHE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class CleanRules:
    """Which files of a mount the cleanup removes; None disables a rule.

    Files older than ``older_than_days``; the oldest ones while there are more than ``most_files``
    files or ``total_mb`` MB. The newest ``keep_newest`` files are never removed.
    """

    older_than_days: float | None = None
    total_mb: float | None = None
    most_files: int | None = None
    keep_newest: int = 0

    def __bool__(self) -> bool:
        return (self.older_than_days, self.total_mb, self.most_files) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory that is served under ``alias``.

    ``cache_seconds``: how long a browser may cache a file; ``public``: whether shared caches may,
    too. ``quota_mb``: warning threshold only. ``compress``: send text compressed. ``read_only``:
    nothing is ever removed, regardless of ``clean``.
    """

    alias: str
    folder: Path
    cache_seconds: int = DEFAULT_CACHE_SECONDS
    public: bool = True
    quota_mb: float | None = None
    compress: bool = True
    clean: CleanRules = field(default_factory=CleanRules)
    read_only: bool = False

    @property
    def cache_control(self) -> str:
        """The Cache-Control header of its files."""
        if not self.cache_seconds:
            return "no-cache"
        return f"{'public' if self.public else 'private'}, max-age={self.cache_seconds}"
