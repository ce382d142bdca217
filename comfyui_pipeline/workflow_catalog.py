"""All workflows of the folder with their purposes and what the server lacks for them.

An index in the cache folder keeps the answer: a file is read again when it changed, the server is
asked again after two minutes, as for the node types.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.errors import EngineError, ToolError, WorkflowError
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow import files
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from comfyui_pipeline.known_types import KnownTypes

MAX_AGE_SECONDS = 120.0
MAX_BYTES = 16 * 2**20
VERSION = 4
"""Of the index's form; an index of another version is made again."""

AskTypes = Callable[[Collection[str]], "KnownTypes"]
"""Node types -> those that the server has. Raises EngineError's children."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One workflow. ``summary``: as ``workflow.survey.of``; empty for a file that cannot be read,
    whose ``problem`` says why. ``runs``: None where the server could not be asked.
    """

    name: str
    nodes: tuple[str, ...]
    summary: Mapping[str, Any]
    problem: str | None = None
    runs: bool | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """``unreachable``: why the server could not be asked; "" if it was."""

    entries: tuple[Entry, ...]
    unreachable: str = ""


def read(settings: Settings, ask_types: AskTypes) -> Catalog:
    """All workflows of the folder, from the index as far as it is still right."""
    folder, file = settings.workflows_dir, _file(settings)
    stamps = {name: stamp for name in files.names(folder) if (stamp := _stamp(folder, name))}
    index = _load(file)
    if _is_fresh(index, stamps):
        return Catalog(tuple(_entry(name, index["entries"][name], asked=True) for name in stamps))
    from comfyui_pipeline import workflow_index

    known = index.get("entries", {})
    reader = workflow_index.Reader(folder, stamps, known, settings.defaults.checkpoint)
    try:
        entries = reader.read(ask_types)
    except EngineError as error:
        entries = reader.without_server()
        return Catalog(
            tuple(_entry(name, entries[name], asked=False) for name in stamps), error.message
        )
    written = {"version": VERSION, "at": time.time(), "entries": entries}
    with suppress(OSError):  # the list works without the index
        from input_server.atomic import write_atomic

        write_atomic(file, json.dumps(written, separators=(",", ":")).encode())
    return Catalog(tuple(_entry(name, entries[name], asked=True) for name in stamps))


def _entry(name: str, raw: Mapping[str, Any], *, asked: bool) -> Entry:
    summary, problem = raw["summary"], raw["problem"]
    runs: bool | None = False
    if problem is None:
        lacks = summary.get("missing_types") or summary.get("missing_models")
        runs = (not lacks) if asked and summary else None
    return Entry(name, tuple(raw["nodes"]), summary, problem, runs)


def _stamp(folder: Path, name: str) -> list[int]:
    """Size and time of a file; empty if it is gone."""
    for candidate in (f"{name}.json", name):
        with suppress(OSError):
            found = (folder / candidate).stat()
            return [found.st_size, found.st_mtime_ns]
    return []


def _is_fresh(index: Mapping[str, Any], stamps: Mapping[str, list[int]]) -> bool:
    entries = index.get("entries", {})
    return (
        0 <= time.time() - index.get("at", 0) < MAX_AGE_SECONDS
        and entries.keys() == stamps.keys()
        and all(entries[name]["stamp"] == stamp for name, stamp in stamps.items())
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            return {}
        index = json.loads(file.read_bytes())
        if index["version"] != VERSION or not isinstance(index["at"], float):
            return {}
        for raw in index["entries"].values():
            if not {"stamp", "nodes", "summary", "problem", "classes", "types"} <= raw.keys():
                return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return index if isinstance(index, dict) else {}


def _file(settings: Settings) -> Path:
    import zlib

    place = (
        f"{settings.base_url}\n{settings.workflows_dir}\n{settings.defaults.checkpoint}".encode()
    )
    return settings.cache_dir / f"workflows-{zlib.crc32(place):08x}.json"


def ask_through(connect: Callable[[], Any], settings: Settings) -> AskTypes:
    """``ask_types`` over a connection that is opened when something is asked."""

    def ask(classes: Collection[str]) -> KnownTypes:
        from comfyui_pipeline import known_types
        from comfyui_pipeline.load_workflow import schemas_of

        try:
            with connect() as engine:
                return known_types.ask(classes, schemas_of(engine, settings), engine)
        except ToolError as error:
            raise EngineError(error.message, error.hint) from None

    return ask


__all__ = ["Catalog", "Entry", "WorkflowError", "ask_through", "read"]
