"""Values that look wrong, but of which the server may think otherwise: they are sent, with a note.

A class may check its own inputs (``VALIDATE_INPUTS``), which its schema does not say: then the server
does not hold a value against the listed choices. A value at a socket is not checked at all, nor is
the choice of a dynamic combo (execution.py ``validate_inputs``).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from comfyui_pipeline.bounded.truncate import show_value
from comfyui_pipeline.workflow import matching
from comfyui_pipeline.workflow.graph import Graph, InputSpec, is_link
from comfyui_pipeline.workflow.model_folders import MODEL_FOLDERS

ANNOTATED = re.compile(r"[^\[\]]+ \[(?:output|input|temp)\]")
"""A file of one of the server's folders (folder_paths.py, annotated_filepath)."""
MAX_LISTED = 8
SERVER_DECIDES = "it is sent as it is, for the server to decide"


def doubt(spec: InputSpec, value: Any) -> str | None:
    """What is odd about a plain value that the server may take; None for any other value."""
    if spec.type == "COMBO":
        if isinstance(value, (dict, list)) or value is None or value in spec.choices:
            return None
        if spec.takes_file or spec.options.get("remote") or spec.options.get("multiselect"):
            return None
        return "is not among the server's choices" if _may_be_taken(spec, value) else None
    if spec.type in ("INT", "FLOAT"):
        return None
    if spec.type in ("STRING", "BOOLEAN"):
        return "has no value" if value is None else None
    if spec.type.isupper() and "," not in spec.type and not isinstance(value, (dict, list, str)):
        return f"expects a link of type {spec.type}"
    return None


def _may_be_taken(spec: InputSpec, value: Any) -> bool:
    if spec.branches or ANNOTATED.fullmatch(str(value)):
        return True
    is_model = spec.name in MODEL_FOLDERS or matching.is_model_file(str(value))
    return not spec.choices and not is_model


def sentences(graph: Graph, running: Collection[str]) -> list[str]:
    """A note for each such value at the nodes that run."""
    found = []
    for node_id in running:
        node = graph.nodes.get(node_id)
        for name, value in node.inputs.items() if node else ():
            spec = node.specs.get(name) if node else None
            odd = doubt(spec, value) if spec is not None and not is_link(value) else None
            if node is not None and odd:
                shown = f"{name[:80]!r} = {show_value(value)}"
                found.append(f"Node {node.label}: {shown} {odd}; {SERVER_DECIDES}.")
    more = len(found) - MAX_LISTED
    return found if more <= 0 else [*found[:MAX_LISTED], f"{more} more such values are sent."]
