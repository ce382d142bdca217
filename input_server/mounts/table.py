"""Named folders: what is served, and how each looks after itself.

Mounts come from ``COMFYUI_MOUNTS`` and, with all their settings, from ``mounts.json``, which is read
again when it has changed.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..aliases import is_alias
from ..atomic import write_atomic
from ..errors import ConfigError
from ..paths import expand_path

LOOK_SECONDS = 1.0
"""How old what was read of ``mounts.json`` may be."""
DEFAULT_CACHE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class CleanRules:
    """Which files of a mount may go; a file that no rule names stays, ``None`` is no rule.

    Those older than so many days; the oldest while there are more than ``most_files``, or more than
    ``total_mb`` of them. The newest ``keep_newest`` stay whatever the others say.
    """

    older_than_days: float | None = None
    total_mb: float | None = None
    most_files: int | None = None
    keep_newest: int = 0

    def __bool__(self) -> bool:
        return (self.older_than_days, self.total_mb, self.most_files) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that is served under ``alias``.

    ``cache_seconds``: how long a browser may keep a file; ``public``: whether a shared cache may.
    ``quota_mb``: what there should be at most; more is told. ``compress``: send texts compressed.
    ``read_only``: nothing is ever removed, whatever the rules say.
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
        if not self.cache_seconds:
            return "no-cache"
        return f"{'public' if self.public else 'private'}, max-age={self.cache_seconds}"


def parse_mounts(text: str, base: Path) -> tuple[Mount, ...]:
    r"""``alias:folder;alias:folder``, split at the first colon, so that ``pics:D:\pics`` works.

    A relative folder begins at ``base``. A folder need not exist yet. Raises ConfigError.
    """
    mounts: dict[str, Mount] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        alias, colon, folder = (part.strip() for part in entry.partition(":"))
        if not colon or not folder or not is_alias(alias):
            raise ConfigError(
                f"COMFYUI_MOUNTS has the entry {entry!r}. It has to be alias:folder, the alias of "
                "letters, digits, - and _; several are separated by ;"
            )
        if alias in mounts:
            raise ConfigError(
                f"COMFYUI_MOUNTS names {alias!r} twice. Give each folder its own alias."
            )
        mounts[alias] = Mount(alias, expand_path(folder, base, "COMFYUI_MOUNTS"))
    if not mounts:
        raise ConfigError("COMFYUI_MOUNTS is empty. It has to be alias:folder;alias:folder.")
    return tuple(mounts.values())


class MountTable:
    """The mounts as they are now; thread-safe. Those of the file win over those that are set.

    ``tell`` is told what is wrong with the file, each time that changes.
    """

    def __init__(self, fixed: Sequence[Mount], file: Path, log_line: Callable[[str], None]) -> None:
        self._tell = log_line
        self._fixed = {mount.alias: mount for mount in fixed}
        self._file = file
        self._lock = threading.Lock()
        self._looked = 0.0
        self._stamp: tuple[int, int] | None = None
        self._mounts = dict(self._fixed)
        self._look(time.monotonic())

    def get(self, alias: str) -> Mount | None:
        """The mount of that alias."""
        self.refresh()
        return self._mounts.get(alias)

    def __iter__(self) -> Iterator[Mount]:
        self.refresh()
        return iter(list(self._mounts.values()))

    def refresh(self) -> None:
        """Read the file again when it has changed; a broken one leaves everything as it was."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._look(now)

    def _look(self, now: float) -> None:
        with self._lock:
            self._looked = now
            stamp = _stamp(self._file)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                listed = read_mounts_file(self._file)
            except ConfigError as problem:
                self._tell(f"{problem} The mounts stay as they were.")
                return
            self._mounts = {**self._fixed, **{mount.alias: mount for mount in listed}}


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size


def read_mounts_file(file: Path) -> tuple[Mount, ...]:
    """The mounts of a ``mounts.json``; none when there is no such file. Raises ConfigError."""
    try:
        document = json.loads(file.read_text("utf-8-sig"))
        entries = document["mounts"]
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ConfigError(
            f'{file} is no file of mounts ({type(problem).__name__}). It has to be {{"mounts": '
            '[{"alias": "…", "folder": "…"}]}.'
        ) from None
    if not isinstance(entries, list):
        raise ConfigError(f'{file}: "mounts" has to be a list.')
    return tuple(parse_mount(entry, file) for entry in entries)


def write_mounts_file(file: Path, mounts: Sequence[Mount]) -> None:
    """Write a ``mounts.json``, whole or not at all. Raises OSError."""
    document = {"mounts": [mount_to_json(mount) for mount in mounts]}
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    write_atomic(file, text.encode())


def mount_to_json(mount: Mount) -> dict[str, Any]:
    """A mount as ``mounts.json`` has it: what is as by default is left out."""
    plain = asdict(Mount(mount.alias, mount.folder))
    told = {k: v for k, v in asdict(mount).items() if k in ("alias", "folder") or v != plain[k]}
    told["folder"] = str(mount.folder)
    if "clean" in told:
        none = asdict(CleanRules())
        told["clean"] = {k: v for k, v in told["clean"].items() if v != none[k]}
    return told


KNOWN = {
    "cache_seconds": (int, 0),
    "quota_mb": (float, 0),
    "public": (bool, 0),
    "compress": (bool, 0),
    "read_only": (bool, 0),
}
RULES = {
    "older_than_days": (float, 0),
    "total_mb": (float, 0),
    "most_files": (int, 0),
    "keep_newest": (int, 0),
}


def parse_mount(entry: Any, file: Path) -> Mount:
    """The mount that an entry of ``mounts.json`` means. Raises ConfigError naming the file."""
    if not isinstance(entry, dict) or not isinstance(entry.get("folder"), str):
        raise ConfigError(f'{file}: every mount needs an "alias" and a "folder".')
    alias = entry.get("alias")
    if not isinstance(alias, str) or not is_alias(alias):
        raise ConfigError(f"{file}: {alias!r} is no alias; use letters, digits, - and _.")
    unknown = entry.keys() - KNOWN.keys() - {"alias", "folder", "clean"}
    if unknown:
        raise ConfigError(f"{file}: mount {alias} has an unknown setting {sorted(unknown)[0]!r}.")
    rules = entry.get("clean") or {}
    if not isinstance(rules, dict) or rules.keys() - RULES.keys():
        raise ConfigError(f'{file}: "clean" of mount {alias} takes {", ".join(RULES)}.')
    settings = _checked(entry, KNOWN, f"{file}: mount {alias}")
    folder = expand_path(entry["folder"], file.parent, f"{file}: mount {alias}")
    return Mount(
        alias,
        folder,
        **settings,
        clean=CleanRules(**_checked(rules, RULES, f"{file}: mount {alias}")),
    )


def _checked(
    entry: Mapping[str, Any], known: Mapping[str, tuple[type, int]], where: str
) -> dict[str, Any]:
    """The given settings, each of its type and not below its least value."""
    found: dict[str, Any] = {}
    for name, (kind, least) in known.items():
        value = entry.get(name)
        if value is None:
            continue
        number = kind in (int, float) and isinstance(value, (int, float))
        if isinstance(value, bool) != (kind is bool) or not (number or kind is bool):
            raise ConfigError(f"{where}: {name} is {value!r}; it has to be a {kind.__name__}.")
        if not math.isfinite(value):
            raise ConfigError(f"{where}: {name} is {value}; it has to be a number.")
        if value < least:
            raise ConfigError(f"{where}: {name} is {value!r}; it has to be at least {least}.")
        found[name] = kind(value)
    return found
