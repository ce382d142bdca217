"""``/node_replacements`` as typed values: node types that a server replaces by others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.engine.json_shape import as_list, as_object
from comfyui_pipeline.workflow.replacements import Replacement


def read(document: Any) -> dict[str, Replacement]:
    """Old node type -> the first replacement, which is the one that the server uses."""
    found: dict[str, Replacement] = {}
    for old, entries in as_object(document).items():
        first = as_object(next(iter(as_list(entries)), None))
        if isinstance(new := first.get("new_node_id"), str) and new:
            found[str(old)] = _replacement(new, first)
    return found


def _replacement(new: str, entry: Mapping[str, Any]) -> Replacement:
    inputs, outputs = entry.get("input_mapping"), entry.get("output_mapping")
    maps = [one for item in as_list(inputs) if (one := as_object(item)).get("new_id")]
    slots = [(one.get("old_idx"), one.get("new_idx")) for one in map(as_object, as_list(outputs))]
    return Replacement(
        new,
        None
        if inputs is None
        else {
            str(one["new_id"]): str(one["old_id"])
            for one in maps
            if "old_id" in one and "set_value" not in one
        },
        {str(one["new_id"]): one["set_value"] for one in maps if "set_value" in one},
        None
        if outputs is None
        else {old: to for old, to in slots if type(old) is int and type(to) is int and to >= 0},
        tuple(str(name) for name in as_list(entry.get("old_widget_ids"))),
    )
