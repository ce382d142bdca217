"""One workflow in a line: its purpose, what it takes, and what the server lacks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.workflow import purpose as purposes
from comfyui_pipeline.workflow.graph import Graph, is_link

MAX_TITLE_CHARACTERS = 80
"""Characters of a node's title in the list of workflows."""
MAX_MISSING = 3
"""Missing node types or models in a line."""
Summary = Mapping[str, Any]
"""What the list of workflows says about one, as JSON: see ``of``."""


def of(graph: Graph, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The purpose of a workflow and what the server lacks for it, as JSON values.

    ``missing_types`` and ``missing_models`` are names; a missing model is ``[input, file]``.
    """
    found = purposes.of(graph, schemas)
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
        "missing_models": [list(pair) for pair in dict.fromkeys(_missing_models(graph))],
    }


def _missing_models(graph: Graph) -> Iterator[tuple[str, str]]:
    """Choices that the server does not have: model files, and other values of the workflow."""
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            spec = node.specs.get(name)
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


def line(summary: Summary) -> str:
    """Purpose, inputs, size or duration, and what is missing: ``文生图 text to image, 512x512``."""
    if not summary.get("kind"):
        return "purpose unknown"
    facts = [f"{summary['purpose_zh']} {summary['purpose']}"]
    if summary["steps"] and summary["kind"] in ("process", "combine", "upscale"):
        facts[0] += f" ({', '.join(summary['steps'][:2])})"
    if needs := _needs(summary["takes"], summary["most_images"]):
        facts.append(f"needs {needs}")
    if size := summary["size"]:
        facts.append(f"{size[0]}x{size[1]}")
    if seconds := summary["seconds"]:
        facts.append(f"{seconds:g} s")
    return ", ".join(facts)


def _needs(takes: Sequence[str], most_images: int) -> str:
    """``image, mask``; ``1–3 images`` where some may be left out."""
    images = [role for role in takes if role == "image"]
    others = [role for role in takes if role != "image"]
    if not images:
        return " + ".join(others)
    count = len(images)
    if most_images > sum(role.endswith("image") for role in takes):
        shown = f"{count}–{most_images} images"
    else:
        shown = "image" if count == 1 else f"{count} images"
    return " + ".join([shown, *others])


def missing(summary: Summary) -> str:
    """What the server lacks, in words; "" if nothing."""
    types, models = summary["missing_types"], [name for _, name in summary["missing_models"]]
    parts = []
    if types:
        parts.append(f"node {_some(types)}")
    if models:
        parts.append(_some(models))
    return " and ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_MISSING} more" if len(names) > MAX_MISSING else ""
    return ", ".join(names[:MAX_MISSING]) + more
