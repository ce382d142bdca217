"""Loaders for images that a workflow has no loader for, where a node takes more images optionally."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.workflow import roles, schema
from comfyui_pipeline.workflow.graph import Graph, Node, NodeSchemas, new_id
from comfyui_pipeline.workflow.running import running

Prompt = Mapping[str, Mapping[str, Any]]


def add_loaders(prompt: Prompt, graph: Graph, schemas: NodeSchemas, more: int) -> Prompt | None:
    """The prompt with ``more`` image loaders, linked to free optional inputs of a node that takes
    images; other nodes of its type that take the same image get them too. None if there is none.
    """
    loaders = roles.images(graph)
    taking = [node for node in running(graph) if _images_of(node)]
    free = {node.id: free_inputs(node, schemas) for node in taking}
    fitting = [node for node in taking if len(free[node.id]) >= more]
    if not loaders or not fitting:
        return None
    chosen = fitting[0]
    given = [chosen.inputs[name] for name in _images_of(chosen)]
    alike = [
        node
        for node in fitting
        if node.class_type == chosen.class_type
        and any(node.inputs[name] in given for name in _images_of(node))
    ]
    patched = {i: {**node, "inputs": dict(node["inputs"])} for i, node in prompt.items()}
    model = loaders[-1].node
    slot = model.outputs.index("IMAGE")
    for place in range(more):
        node_id = new_id(patched)
        patched[node_id] = {
            "class_type": model.class_type,
            "inputs": dict(prompt[model.id]["inputs"]),
            "_meta": {"title": f"Image {len(loaders) + place + 1}"},
        }
        for node in alike:
            patched[node.id]["inputs"][free[node.id][place]] = [node_id, slot]
    return patched


def _images_of(node: Node) -> list[str]:
    """The linked image inputs of a node that are optional, or of a group that can grow."""
    images = [s for s in node.specs.values() if s.type == "IMAGE"]
    specs = [s for s in images if not s.required or "." in s.name]
    return [spec.name for spec in specs if isinstance(node.inputs.get(spec.name), list)]


def free_inputs(node: Node, schemas: NodeSchemas) -> list[str]:
    """The image inputs of a node that are free: optional ones, and those that it can grow."""
    specs = [s for s in node.specs.values() if s.type == "IMAGE" and not s.required]
    free = [spec.name for spec in specs if node.inputs.get(spec.name) is None]
    kind = schema.read(schemas.get(node.class_type, {}))
    return free + [s.name for s in kind.growable(node.inputs) if s.type == "IMAGE"]
