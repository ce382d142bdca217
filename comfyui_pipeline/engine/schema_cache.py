"""Schemas of node types in a file, for two minutes, so that a call requests only those are new."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from comfyui_pipeline.engine.protocol import NodeSchema
from input_server.atomic import write_atomic
from input_server.light_dataclasses import dataclass

MAX_AGE_SECONDS = 120.0
MAX_BYTES = 32 * 2**20

Ask = Callable[[Collection[str]], Mapping[str, NodeSchema]]


@dataclass(frozen=True, slots=True)
class KnownSchemas:
    """Schemas by node type, and which of them come from the cache rather than from the server."""

    schemas: Mapping[str, NodeSchema]
    from_cache: frozenset[str]


@dataclass(frozen=True, slots=True)
class SchemaCache:
    """``file``: of one server; None disables the cache. ``ask`` requests schemas from the server."""

    file: Path | None
    ask: Ask

    def get(self, class_types: Collection[str]) -> KnownSchemas:
        """The schemas of these node types; types that the server does not have are absent."""
        requested = set(class_types)
        cached = self._read()
        known = {name: cached[name]["schema"] for name in requested & cached.keys()}
        fetched = self.ask(requested - known.keys())
        if fetched:
            self._write(cached, fetched)
        return KnownSchemas({**known, **fetched}, frozenset(known))

    def refresh(self, class_types: Collection[str]) -> Mapping[str, NodeSchema]:
        """The schemas of these node types from the server, not from the cache."""
        fetched = self.ask(set(class_types))
        others = {name: entry for name, entry in self._read().items() if name not in class_types}
        self._write(others, fetched)
        return fetched

    def _read(self) -> dict[str, Any]:
        """The entries that are not stale; none where the file cannot be read."""
        if self.file is None:
            return {}
        try:
            if self.file.stat().st_size > MAX_BYTES:
                return {}
            entries = json.loads(self.file.read_bytes())
            now = time.time()
            return {
                name: entry
                for name, entry in entries.items()
                if 0 <= now - entry["at"] < MAX_AGE_SECONDS and isinstance(entry["schema"], dict)
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def _write(self, cached: Mapping[str, Any], fetched: Mapping[str, NodeSchema]) -> None:
        if self.file is None:
            return
        now = time.time()
        entries = {**cached, **{name: {"at": now, "schema": s} for name, s in fetched.items()}}
        with suppress(OSError):  # the call works without this cache
            write_atomic(self.file, json.dumps(entries, separators=(",", ":")).encode())


def file_for(folder: Path, base_url: str) -> Path:
    """The cache file of one server, by its URL."""
    return folder / f"classes-{hashlib.sha256(base_url.encode()).hexdigest()[:16]}.json"
