"""What ``summary`` words about one workflow, read from its graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from comfyui_pipeline.workflow import model_names
from comfyui_pipeline.workflow import purpose as purposes
from comfyui_pipeline.workflow.graph import Graph, is_link

MAX_TITLE_CHARACTERS = 80
"""Characters of a node's title in the list of workflows."""


def of(
    graph: Graph, schemas: Mapping[str, Any], *, any_of: bool = False, preferred: str = ""
) -> dict[str, Any]:
    """The purpose of a workflow and what the server lacks for it, as JSON values.

    ``missing_types`` and ``missing_models`` are names; a missing model is ``[input, file]``, one in
    whose place the server has another is in ``instead``: ``[file, other]``. ``any_of`` and
    ``preferred``: as for ``model_names.replacements``.
    """
    found = purposes.of(graph, schemas)
    others = model_names.replacements(graph, (), preferred=preferred, any_of=any_of)
    replaced = {(one.target.node.id, one.target.name) for one in others}
    english, chinese = purposes.KINDS[found.kind]
    return {
        "kind": found.kind,
        "purpose": english,
        "purpose_zh": chinese,
        "takes": list(found.takes),
        "most_images": found.most_images,
        "prompt": found.prompt,
        "size": list(found.size) if found.size else None,
        "seconds": found.seconds,
        "models": list(found.models),
        "steps": list(found.steps),
        "count": len(graph.nodes),
        "missing_types": sorted(
            {node.class_type for node in graph.nodes.values()} - schemas.keys()
        ),
        "missing_models": [list(pair) for pair in dict.fromkeys(_missing_models(graph, replaced))],
        "instead": [[one.old, one.new] for one in others if not one.same_file],
    }


def _missing_models(
    graph: Graph, replaced: Collection[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Choices that the server does not have: model files, and other values of the workflow."""
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            spec = node.specs.get(name)
            if (node.id, name) in replaced:
                continue
            if spec is None or is_link(value) or spec.type != "COMBO" or not isinstance(value, str):
                continue
            if spec.takes_file or value in spec.choices or spec.options.get("remote"):
                continue
            if not spec.options.get("multiselect") and (spec.required or spec.choices):
                yield name, value


def titles(nodes: Mapping[str, Mapping[str, Any]] | None, document: Mapping[str, Any]) -> list[str]:
    """Titles of the nodes that hold a value."""
    if nodes is not None:
        return [
            str(node["_meta"].get("title") or node["class_type"])[:MAX_TITLE_CHARACTERS]
            for node in nodes.values()
            if any(not is_link(value) for value in node["inputs"].values())
        ]
    return [
        str(node.get("title") or node.get("type"))[:MAX_TITLE_CHARACTERS]
        for node in document.get("nodes") or ()
        if isinstance(node, dict) and node.get("widgets_values")
    ]
