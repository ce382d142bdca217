"""A node that repeats a latent, for ``batch_size`` in workflows that start from an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, NodeSchemas, Target, is_link
from comfyui_pipeline.workflow.running import below, running

Prompt = Mapping[str, Mapping[str, Any]]


def place_in(graph: Graph) -> Target | None:
    """The latent of the first sampler, if the workflow has no batch size; None for other workflows."""
    if roles.find_targets(graph, "batch_size"):
        return None
    ids = {node.id for node in running(graph)}
    samplers = [node for node in roles.samplers(graph) if node.id in ids]
    behind = below(graph, samplers)
    latents = [
        Target(node, spec.name)
        for node in samplers
        if node.id not in behind
        for spec in node.specs.values()
        if spec.type == "LATENT" and is_link(node.inputs.get(spec.name))
    ]
    return latents[0] if len(latents) == 1 else None


def add(
    prompt: Prompt, latent: Target, catalog: Callable[[], NodeSchemas]
) -> tuple[dict[str, Mapping[str, Any]], NodeSchemas] | None:
    """The prompt with a node that repeats a latent once, and its schema; None if the server has none."""
    for class_type, schema in sorted(catalog().items()):
        if "repeat" not in class_type.lower():
            continue
        built = graphs.build({"1": {"class_type": class_type, "inputs": {}}}, {class_type: schema})
        node = built.nodes["1"]
        kinds = {spec.type: spec.name for spec in node.specs.values()}
        if kinds.keys() != {"LATENT", "INT"} or node.outputs != ("LATENT",):
            continue
        new_id = graphs.new_id(prompt)
        old = prompt[latent.node.id]
        inputs = {kinds["LATENT"]: old["inputs"][latent.name], kinds["INT"]: 1}
        title = {"title": "Number of Images"}
        patched = {
            **prompt,
            latent.node.id: {**old, "inputs": {**old["inputs"], latent.name: [new_id, 0]}},
            new_id: {"class_type": class_type, "inputs": inputs, "_meta": title},
        }
        return patched, {class_type: schema}
    return None
