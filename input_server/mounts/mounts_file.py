"""``mounts.json``: mounts with all their settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..atomic import write_atomic
from ..errors import ConfigError
from ..expand_path import expand_path
from ..mount_names import is_alias
from .mount import CleanRules, Mount

SETTINGS: Mapping[str, type] = {
    "cache_seconds": int,
    "quota_mb": float,
    "public": bool,
    "compress": bool,
    "read_only": bool,
}
RULES: Mapping[str, type] = {
    "older_than_days": float,
    "total_mb": float,
    "most_files": int,
    "keep_newest": int,
}
TYPE_NAMES = {int: "an integer", float: "a number", bool: "true or false"}


def read_mounts_file(file: Path) -> tuple[Mount, ...]:
    """Return the mounts of the file, none if it does not exist. Raises ConfigError."""
    try:
        document = json.loads(file.read_text("utf-8-sig"))
        entries = document["mounts"]
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is not a mounts file ({type(error).__name__}). It must contain "
            '{"mounts": [{"alias": "…", "folder": "…"}]}.'
        ) from None
    if not isinstance(entries, list):
        raise ConfigError(f'{file}: "mounts" must be a list.')
    return tuple(parse_mount(entry, file) for entry in entries)


def write_mounts_file(file: Path, mounts: Sequence[Mount]) -> None:
    """Write the file atomically. Raises OSError."""
    document = {"mounts": [mount_to_json(mount) for mount in mounts]}
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    write_atomic(file, text.encode())


def mount_to_json(mount: Mount) -> dict[str, Any]:
    """Return a mount's entry, without the settings that have their default values."""
    default = asdict(Mount(mount.alias, mount.folder))
    entry = {
        name: value
        for name, value in asdict(mount).items()
        if name in ("alias", "folder") or value != default[name]
    }
    entry["folder"] = str(mount.folder)
    if "clean" in entry:
        no_rules = asdict(CleanRules())
        entry["clean"] = {k: v for k, v in entry["clean"].items() if v != no_rules[k]}
    return entry


def parse_mount(entry: Any, file: Path) -> Mount:
    """Parse an entry of the file. Raises ConfigError, which names the file."""
    if not isinstance(entry, dict) or not isinstance(entry.get("folder"), str):
        raise ConfigError(f'{file}: every mount needs an "alias" and a "folder".')
    alias = entry.get("alias")
    if not isinstance(alias, str) or not is_alias(alias):
        raise ConfigError(f"{file}: invalid alias {alias!r}. Use letters, digits, - and _.")
    where = f"{file}: mount {alias}"
    unknown = entry.keys() - SETTINGS.keys() - {"alias", "folder", "clean"}
    if unknown:
        raise ConfigError(f"{where}: unknown setting {sorted(unknown)[0]!r}.")
    rules = entry.get("clean") or {}
    if not isinstance(rules, dict) or rules.keys() - RULES.keys():
        raise ConfigError(f'{where}: "clean" must be an object with {", ".join(RULES)}.')
    settings = _parse_values(entry, SETTINGS, where)
    folder = expand_path(entry["folder"], file.parent, where)
    clean = CleanRules(**_parse_values(rules, RULES, where))
    return Mount(alias, folder, **settings, clean=clean)


def _parse_values(
    entry: Mapping[str, Any], types: Mapping[str, type], where: str
) -> dict[str, Any]:
    """Return the values that an entry has, none negative. Raises ConfigError."""
    found: dict[str, Any] = {}
    for name, kind in types.items():
        value = entry.get(name)
        if value is None:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (isinstance(value, bool) if kind is bool else is_number):
            raise ConfigError(f"{where}: {name} is {value!r}. It must be {TYPE_NAMES[kind]}.")
        if not math.isfinite(value) or value < 0:
            raise ConfigError(f"{where}: {name} is {value!r}. It must be a number of at least 0.")
        found[name] = kind(value)
    return found
