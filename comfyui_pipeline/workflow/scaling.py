"""Nodes that scale an image, for workflows that lack them: by a factor, where a workflow resizes to a
size in pixels or by the fixed factor of an upscale model; to a size, where it generates from an image
as large as this is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import roles, size_names, size_nodes
from comfyui_pipeline.workflow.graph import Graph, Node, NodeSchemas, is_link
from comfyui_pipeline.workflow.running import below, running
from input_server.light_dataclasses import dataclass

Prompt = Mapping[str, Mapping[str, Any]]
Kind = Literal["factor", "size"]
FACTORS = frozenset(size_names.FACTORS)
OWN_INPUT = "scale"
"""An input of this name is what the argument sets."""


@dataclass(frozen=True, slots=True)
class Place:
    """The node whose image is scaled, or which a scaling node ``replaces``."""

    node: Node
    replaces: bool


def place_in(graph: Graph, factor: float | None) -> Place | None:
    """Where a node that scales is needed for an enlargement by ``factor``, None for any factor.

    None if the workflow can do without such a node, or has no place for one.
    """
    nodes = running(graph)
    if size_nodes.factors(graph) or any(OWN_INPUT in node.specs for node in nodes):
        return None
    first = size_nodes.find(graph).first
    if any(not sized.resizes for sized in first):
        return None
    models = [n for n in nodes if _input_of(n, "UPSCALE_MODEL") and "IMAGE" in n.outputs]
    if models:
        last = [n for n in models if not below(graph, [n]) & {other.id for other in models}]
        fixed = size_nodes.fixed_factor(graph, (n.id for n in models))
        return Place(last[0], replaces=False) if len(last) == 1 and fixed != factor else None
    images = [s.node for s in first if "IMAGE" in s.node.outputs and _image_link(s.node)]
    return Place(images[0], replaces=True) if len(first) == len(images) == 1 else None


def input_in(graph: Graph) -> Place | None:
    """The loader of the one image that a workflow without a size generates from.

    None where the image is scaled or masked before it becomes a latent: a size would not last there.
    """
    loaders = [target.node for target in roles.images(graph)]
    if len(loaders) != 1 or size_nodes.find(graph).first or size_nodes.factors(graph):
        return None
    ids = {node.id for node in running(graph)}
    generates = any(node.id in ids for node in roles.samplers(graph))
    users = [node for node, _, _ in graph.consumers(loaders[0])]
    encoded = users and all("LATENT" in node.outputs and not _masks(node) for node in users)
    return Place(loaders[0], replaces=False) if generates and encoded else None


def _masks(node: Node) -> bool:
    return any(spec.type == "MASK" and spec.name in node.inputs for spec in node.specs.values())


def add(
    prompt: Prompt, place: Place, catalog: Callable[[], NodeSchemas], kind: Kind = "factor"
) -> tuple[dict[str, dict[str, Any]], NodeSchemas] | None:
    """The prompt with a node that changes nothing yet, and its schema; None if the server has none.

    ``kind``: whether the node scales by a factor or to a size.
    """
    found = _scaling_type(catalog(), kind)
    if found is None:
        return None
    class_type, schema = found
    model = graphs.build({"1": {"class_type": class_type, "inputs": {}}}, {class_type: schema})
    node = model.nodes["1"]
    taken = [place.node.id, place.node.outputs.index("IMAGE")]
    source = _image_link(place.node) if place.replaces else taken
    new_id = graphs.new_id(prompt)
    patched = {i: {**n, "inputs": _relinked(n["inputs"], taken, new_id)} for i, n in prompt.items()}
    if place.replaces and not any(
        is_link(v) and str(v[0]) == place.node.id
        for n in patched.values()
        for v in n["inputs"].values()
    ):
        del patched[place.node.id]
    inputs = {spec.name: _first_value(spec) for spec in node.specs.values() if spec.type != "IMAGE"}
    patched[new_id] = {
        "class_type": class_type,
        "inputs": {**inputs, _input_of(node, "IMAGE"): source},
        "_meta": {"title": "Scale"},
    }
    return patched, {class_type: schema}


def _relinked(inputs: Mapping[str, Any], taken: list[Any], new_id: str) -> dict[str, Any]:
    """The inputs, with links to an output replaced by links to the new node."""
    return {
        name: [new_id, 0] if is_link(value) and [str(value[0]), value[1]] == taken else value
        for name, value in inputs.items()
    }


def _scaling_type(catalog: NodeSchemas, kind: Kind) -> tuple[str, Mapping[str, Any]] | None:
    """The simplest node type that takes and gives one image, with choices and a factor or a size."""
    fitting = []
    for name, schema in catalog.items():
        if "scale" not in name.lower():
            continue
        node = graphs.build({"1": {"class_type": name, "inputs": {}}}, {name: schema}).nodes["1"]
        kinds = {spec.type for spec in node.specs.values()}
        names = {spec.name for spec in node.specs.values() if spec.type not in ("COMBO", "IMAGE")}
        if kind == "factor":
            fits = kinds == {"COMBO", "FLOAT", "IMAGE"} and len(names) == 1 and names <= FACTORS
        else:
            fits = kinds == {"COMBO", "INT", "IMAGE"} and names == {"width", "height"}
        if fits and node.outputs == ("IMAGE",):
            fitting.append((len(name), name))
    return (min(fitting)[1], catalog[min(fitting)[1]]) if fitting else None


def _first_value(spec: graphs.InputSpec) -> Any:
    """The factor 1; 0 for a side as it is; the method for photographs; cut rather than distorted."""
    if spec.type in ("FLOAT", "INT"):
        return 1.0 if spec.type == "FLOAT" else 0
    return next((name for name in ("lanczos", "center") if name in spec.choices), spec.choices[0])


def _input_of(node: Node, kind: str) -> str:
    return next((spec.name for spec in node.specs.values() if spec.type == kind), "")


def _image_link(node: Node) -> list[Any] | None:
    value = node.inputs.get(_input_of(node, "IMAGE"))
    return value if is_link(value) else None
