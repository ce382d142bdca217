"""Access keys, and ``COMFYUI_KEYS``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..expand_path import expand_path
from ..urls import Route
from .networks import Network, parse_networks

MIN_KEY_CHARACTERS = 8
NAME = re.compile(r"[\w.-]{1,64}")
FIELDS = frozenset({"name", "key", "mounts", "networks", "signature"})


@dataclass(frozen=True, slots=True)
class Key:
    """An access key. Secrets are excluded from the repr.

    ``mounts``: aliases it gives access to, None for all. ``networks``: where requests must come
    from, empty for anywhere. ``signature``: a second secret with which the URL must be signed.
    """

    name: str
    key: str = field(repr=False)
    mounts: frozenset[str] | None = None
    networks: tuple[Network, ...] = ()
    signature: str = field(repr=False, default="")

    def allows(self, route: Route) -> bool:
        """Return whether the key gives access to the route. Metrics need a key for all mounts."""
        return self.mounts is None or (route.resource != "metrics" and route.alias in self.mounts)


def parse_keys(text: str, base: Path) -> tuple[Key, ...]:
    """Parse ``COMFYUI_KEYS``: a JSON list, or the path of a file with one. Raises ConfigError.

    A relative path starts at ``base``.
    """
    if not text:
        return ()
    try:
        if not text.lstrip().startswith("["):
            text = expand_path(text, base, "COMFYUI_KEYS").read_text("utf-8-sig")
        entries = json.loads(text)
    except (OSError, ValueError):
        entries = None
    if not isinstance(entries, list):
        raise ConfigError(
            "COMFYUI_KEYS is neither a JSON list nor the path of a file with one (the value is not "
            'shown, it may hold keys). Use [{"name": "alice", "key": "…", "mounts": ["output"], '
            '"networks": ["10.0.0.0/8"], "signature": "…"}]; only name and key are required.'
        )
    keys = tuple(_parse_key(entry) for entry in entries)
    if len({key.name for key in keys}) != len(keys):
        raise ConfigError("COMFYUI_KEYS has two keys of the same name. Give each a different name.")
    return keys


def _parse_key(entry: Any) -> Key:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError('COMFYUI_KEYS: each entry must be an object with "name" and "key".')
    name, key, second = entry["name"], entry.get("key"), entry.get("signature") or ""
    valid = isinstance(key, str) and len(key) >= MIN_KEY_CHARACTERS and NAME.fullmatch(name)
    if not valid or entry.keys() - FIELDS:
        raise ConfigError(
            f"COMFYUI_KEYS: invalid entry {name[:64]!r}. It needs a name of letters, digits, '.', '-' "
            f"and '_', a key of at least {MIN_KEY_CHARACTERS} characters, and no fields other than "
            "mounts, networks and signature."
        )
    if not isinstance(second, str):
        raise ConfigError(f"COMFYUI_KEYS: signature of {name} must be a string (a second secret).")
    mounts, networks = _string_list(entry, "mounts"), _string_list(entry, "networks")
    return Key(
        name,
        str(key),
        None if mounts is None else frozenset(mounts),
        parse_networks(";".join(networks or ()), f"COMFYUI_KEYS, networks of {name}"),
        second,
    )


def _string_list(entry: Mapping[str, Any], name: str) -> list[str] | None:
    """Return a field that is a list of strings, None if missing. Raises ConfigError."""
    value = entry.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ConfigError(
            f'COMFYUI_KEYS: {name} of {entry["name"]} must be a list of strings, like ["output"].'
        )
    return value
