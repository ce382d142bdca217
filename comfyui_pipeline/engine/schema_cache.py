"""The server's classes, remembered on disk for a short while, so that a call asks only for new ones."""

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
    """Schemas by class, and which of them were remembered rather than just asked for."""

    schemas: Mapping[str, NodeSchema]
    from_cache: frozenset[str]


@dataclass(frozen=True, slots=True)
class SchemaCache:
    """``file``: where one server's classes are kept; None keeps nothing. ``ask`` asks the server."""

    file: Path | None
    ask: Ask

    def get(self, class_types: Collection[str]) -> KnownSchemas:
        """The schemas of these classes; a class that the server lacks is absent."""
        wanted = set(class_types)
        kept = self._read()
        fresh = {name: kept[name]["schema"] for name in wanted & kept.keys()}
        asked = self.ask(wanted - fresh.keys())
        if asked:
            self._write(kept, asked)
        return KnownSchemas({**fresh, **asked}, frozenset(fresh))

    def refresh(self, class_types: Collection[str]) -> Mapping[str, NodeSchema]:
        """The same, asked anew."""
        asked = self.ask(set(class_types))
        self._write({k: v for k, v in self._read().items() if k not in class_types}, asked)
        return asked

    def _read(self) -> dict[str, Any]:
        if self.file is None:
            return {}
        try:
            if self.file.stat().st_size > MAX_BYTES:
                return {}
            kept = json.loads(self.file.read_bytes())
            now = time.time()
            return {
                name: entry
                for name, entry in kept.items()
                if 0 <= now - entry["at"] < MAX_AGE_SECONDS and isinstance(entry["schema"], dict)
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def _write(self, kept: Mapping[str, Any], asked: Mapping[str, NodeSchema]) -> None:
        if self.file is None:
            return
        now = time.time()
        entries = {**kept, **{name: {"at": now, "schema": s} for name, s in asked.items()}}
        with suppress(OSError):  # the call works without this cache
            write_atomic(self.file, json.dumps(entries, separators=(",", ":")).encode())


def file_for(folder: Path, base_url: str) -> Path:
    """The file of one server: another address is another server."""
    return folder / f"classes-{hashlib.sha256(base_url.encode()).hexdigest()[:16]}.json"
