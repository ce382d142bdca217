"""Read the workflows of the folder for the index of ``workflow_catalog``."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from comfyui_pipeline import known_types
from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.known_types import MAX_CLASSES, KnownTypes
from comfyui_pipeline.workflow import editor_nodes, files, guessed_types, survey, validate
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.shipped import SHIPPED
from input_server.light_dataclasses import dataclass, field

Raw = dict[str, Any]
NO_TYPES = KnownTypes({}, frozenset(), {})


@dataclass(slots=True)
class Reader:
    """``stamps``: name -> size and time of each file; ``known``: entries of the index so far.

    ``preferred``: the model of the settings, which stands in for missing ones.
    """

    folder: Path
    stamps: Mapping[str, list[int]]
    known: Mapping[str, Raw]
    preferred: str = ""
    loaded: dict[str, files.Workflow | str] = field(default_factory=dict)

    def read(self, ask_types: Callable[[Collection[str]], KnownTypes]) -> dict[str, Raw]:
        """All entries, with the server's node types. Raises EngineError's children."""
        classes = {name: self._classes(name) for name in self.stamps}
        wanted = {one for some in classes.values() for one in some}
        known = NO_TYPES
        if wanted:
            known = ask_types(sorted(wanted)[:MAX_CLASSES])
        sums = {
            one: zlib.crc32(json.dumps(schema).encode()) for one, schema in known.schemas.items()
        }
        sums |= {old: sums[one.new] for old, one in known.replacements.items()}
        return {
            name: self._entry(name, classes[name], known, [sums.get(c, 0) for c in classes[name]])
            for name in self.stamps
        }

    def without_server(self) -> dict[str, Raw]:
        """All entries: those of the index, others by guessed node types."""
        return {name: self._unchanged(name) or self._guessed(name) for name in self.stamps}

    def _unchanged(self, name: str) -> Raw | None:
        raw = self.known.get(name)
        return raw if raw and raw["stamp"] == self.stamps[name] else None

    def _entry(self, name: str, classes: list[str], known: KnownTypes, types: list[int]) -> Raw:
        """``types``: checksums of the node types; an entry that has the same ones is still right."""
        raw = self._unchanged(name)
        if raw and raw["types"] == types:
            return raw
        found = self._load(name)
        if isinstance(found, str):
            return self._broken(name, found)
        try:
            said = survey.of(
                graphs.build(_prompt(found, known), known.schemas),
                known.schemas,
                any_of=name in SHIPPED,
                preferred=self.preferred,
            )
        except ToolError as error:
            broken = self._broken(name, f"cannot be run: {error}")
            return {**broken, "classes": classes, "types": types}
        return self._raw(name, found, said, classes, types)

    def _guessed(self, name: str) -> Raw:
        found = self._load(name)
        if isinstance(found, str):
            return self._broken(name, found)
        said: Raw = {}
        if found.nodes is not None:
            schemas = guessed_types.guess(found.nodes)
            said = survey.of(graphs.build(found.nodes, schemas), schemas)
        return self._raw(name, found, said, [], [])

    def _raw(
        self, name: str, found: files.Workflow, said: Raw, classes: list[str], types: list[int]
    ) -> Raw:
        return {
            "stamp": self.stamps[name],
            "nodes": survey.titles(found.nodes, found.ui or {}),
            "summary": said,
            "problem": None,
            "classes": classes,
            "types": types,
        }

    def _broken(self, name: str, problem: str) -> Raw:
        return {
            "stamp": self.stamps[name],
            "nodes": [],
            "summary": {},
            "problem": problem,
            "classes": [],
            "types": [],
        }

    def _load(self, name: str) -> files.Workflow | str:
        if name not in self.loaded:
            try:
                self.loaded[name] = files.load(self.folder, name)
            except ToolError as error:
                self.loaded[name] = f"cannot be run: {error}"
        return self.loaded[name]

    def _classes(self, name: str) -> list[str]:
        """The node types of a workflow, sorted."""
        raw = self._unchanged(name)
        if raw:
            return list(raw["classes"])
        found = self._load(name)
        if isinstance(found, str):
            return []
        try:
            classes = known_types.class_types(found)
        except ToolError as error:
            self.loaded[name] = f"cannot be run: {error}"
            return []
        return sorted(one for one in classes if known_types.is_queryable(one))


def _prompt(found: files.Workflow, known: KnownTypes) -> Mapping[str, Mapping[str, Any]]:
    found = known_types.with_replacements(found, known)
    editor_types = validate.origin_of(found.ui).editor_types
    prompt = found.nodes
    if prompt is None:
        from comfyui_pipeline.workflow.convert.prompt import convert

        converted = convert(found.ui or {}, known.schemas, seed=0)
        prompt, editor_types = converted.prompt, editor_types | converted.passing
    return editor_nodes.without(prompt, known.schemas, editor_types)[0]
