"""Hold a prompt against the server's classes before it is queued: everything at once, with help.

What the server would refuse, by its own rules (execution.py, validate_inputs), and what it answers
badly: a class it lacks, a link to nothing (its error is ``'77'``), a cycle (dropped without a word).
A branch that cannot run does not stop the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import matching
from comfyui_pipeline.workflow.convert import compatible
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, is_link
from comfyui_pipeline.workflow.values import listed, range_of

SHOWN = 12
MODEL_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "ckpt_name": "checkpoints",
        "lora_name": "loras",
        "vae_name": "vae",
        "control_net_name": "controlnet",
        "unet_name": "diffusion_models",
        "clip_name": "text_encoders",
        "clip_name1": "text_encoders",
        "clip_name2": "text_encoders",
        "clip_name3": "text_encoders",
        "style_model_name": "style_models",
        "gligen_name": "gligen",
        "hypernetwork_name": "hypernetworks",
    }
)
"""The server's model folder behind an input of this name."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the saved workflow tells of where things come from.

    ``packs``: class -> custom-node pack; ``models``: file name -> (folder, download address).
    """

    packs: Mapping[str, str]
    models: Mapping[str, tuple[str, str]]


NO_ORIGIN = Origin({}, {})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one node cannot run, and what to do about it."""

    node: Node
    what: str
    stale: bool = False  # a newer look at the server's classes might tell otherwise
    lacking: bool = False  # the server does not have its class at all

    def __str__(self) -> str:
        return f"node {self.node.label}: {self.what}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What can run (a part of the prompt), why the rest cannot, and what led to no output."""

    prompt: Mapping[str, Mapping[str, Any]]
    refused: Mapping[str, str]  # label of an output node -> why it does not run


def origin_of(ui: Mapping[str, Any] | None) -> Origin:
    """Packs and models as the editor's document names them, in the root and in every subgraph."""
    packs: dict[str, str] = {}
    models: dict[str, tuple[str, str]] = {}
    for graph in _graphs(ui):
        told = [*(graph.get("models") or ())] if isinstance(graph.get("models"), list) else []
        for node in graph.get("nodes") or ():
            properties = node.get("properties") if isinstance(node, dict) else None
            if not isinstance(properties, dict):
                continue
            pack = properties.get("cnr_id") or properties.get("aux_id")
            if isinstance(pack, str):
                packs[str(node.get("type"))] = pack
            if isinstance(properties.get("models"), list):
                told += properties["models"]
        for model in told:
            if isinstance(model, dict) and isinstance(model.get("name"), str):
                where = (str(model.get("directory") or ""), str(model.get("url") or ""))
                models[model["name"]] = where
    return Origin(packs, models)


def _graphs(raw: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(raw, dict):
        yield raw
        definitions = raw.get("definitions")
        inner = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        for graph in inner if isinstance(inner, list) else ():
            yield from _graphs(graph)


def problems(graph: Graph, known: Collection[str], origin: Origin = NO_ORIGIN) -> list[Problem]:
    """Everything that keeps a node of the prompt from running, in the order of its nodes."""
    found: list[Problem] = []
    circle = set(_cycle(graph))
    for node in graph.nodes.values():
        if node.class_type not in known:
            found.append(Problem(node, _lacking(node, graph, origin), stale=True, lacking=True))
            continue
        if node.id in circle:
            labels = ", ".join(graph.nodes[i].label for i in _cycle(graph))
            found.append(Problem(node, f"it is part of a circle of links ({labels})"))
        found += [Problem(node, *told) for told in _input_problems(graph, node, origin)]
    return found


def check(graph: Graph, prompt: Mapping[str, Any], wrong: Sequence[Problem]) -> Checked:
    """The part of the prompt that can run. Raises WorkflowError when no output of it can.

    ``wrong``: what :func:`problems` found. Nodes that lead to no output are left out.
    """
    savers = [node for node in graph.nodes.values() if node.saves]
    if not savers and not any(problem.lacking for problem in wrong):
        raise WorkflowError(
            "This workflow has no node that saves or shows anything, so nothing would run.",
            "Add a node that saves its result.",
        )
    needs = {node.id: _upstream(graph, node) for node in savers}
    blame = {saver: [p for p in wrong if p.node.id in needed] for saver, needed in needs.items()}
    good = [saver for saver, why in blame.items() if not why]
    if not good:
        raise WorkflowError(_all_of(wrong), "Correct this, or choose another workflow.")
    kept = set().union(*(needs[saver] for saver in good))
    refused = {
        graph.nodes[saver].label: "; ".join(str(problem) for problem in why[:3])
        for saver, why in blame.items()
        if why
    }
    return Checked({i: node for i, node in prompt.items() if i in kept}, refused)


def _all_of(wrong: Sequence[Problem]) -> str:
    lines = list(dict.fromkeys(str(problem) for problem in wrong))
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"This workflow cannot run here: {'; '.join(lines[:SHOWN])}{more}."


def _lacking(node: Node, graph: Graph, origin: Origin) -> str:
    alike = sum(other.class_type == node.class_type for other in graph.nodes.values())
    times = f" ({alike} nodes of it)" if alike > 1 else ""
    pack = origin.packs.get(node.class_type)
    if pack and pack != "comfy-core":
        return (
            f"this ComfyUI lacks its class{times}, which the custom-node pack {pack!r} brings; "
            "install that with ComfyUI Manager"
        )
    if pack:
        return f"this ComfyUI lacks its class{times}; it is one of ComfyUI's own, so update ComfyUI"
    return (
        f"this ComfyUI lacks its class{times}; ComfyUI Manager finds custom nodes by name (the "
        "embedded demo server runs no models: what needs one needs a full ComfyUI)"
    )


def _input_problems(graph: Graph, node: Node, origin: Origin) -> Iterator[tuple[str, bool]]:
    for spec in node.specs.values():
        if spec.required and spec.name not in node.inputs:
            yield f"its required input {spec.name!r} ({spec.type}) has no link and no value", True
    for name, value in node.inputs.items():
        known = node.specs.get(name)
        if is_link(value):
            told = _link_problem(graph, name, value, known)
        else:
            told = None if known is None else _value_problem(known, value, origin)
        if told:
            yield told, not is_link(value)


def _link_problem(graph: Graph, name: str, value: list[Any], spec: InputSpec | None) -> str | None:
    linked = graph.link(value)
    if linked is None:
        return f"its input {name!r} is linked to node {value[0]}, which is not there"
    above, slot = linked
    if not above.outputs:
        return None
    if not 0 <= slot < len(above.outputs):
        return (
            f"its input {name!r} is linked to output {slot} of node {above.label}, which has "
            f"{len(above.outputs)}"
        )
    kind = above.outputs[slot]
    if spec is None or _linkable(kind, spec):
        return None
    return f"its input {name!r} takes {spec.type}, and node {above.label} gives {kind} there"


def _linkable(kind: str, spec: InputSpec) -> bool:
    """Types may be lists, wildcards or, for a choice, the list of its choices itself."""
    if kind.startswith(("COMFY_", "[")) or spec.type.startswith("COMFY_"):
        return True
    return compatible(kind, spec.type)


def _value_problem(spec: InputSpec, value: Any, origin: Origin) -> str | None:
    if spec.type in ("INT", "FLOAT"):
        return _number_problem(spec, value)
    if spec.type == "COMBO":
        return _choice_problem(spec, value, origin)
    if spec.type in ("STRING", "BOOLEAN") or isinstance(value, dict):
        return f"its input {spec.name!r} has no value" if value is None else None
    if spec.type.isupper() and spec.required and not isinstance(value, (list, dict, str)):
        return f"its input {spec.name!r} takes a link of type {spec.type}, not {value!r}"
    return None


def _number_problem(spec: InputSpec, value: Any) -> str | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return f"its input {spec.name!r} is {value!r} and has to be a number{range_of(spec)}"
    low, high = spec.options.get("min"), spec.options.get("max")
    outside = (low is not None and number < low) or (high is not None and number > high)
    if outside:
        return f"its input {spec.name!r} is {value} and has to be a number{range_of(spec)}"
    return None


def _choice_problem(spec: InputSpec, value: Any, origin: Origin) -> str | None:
    if spec.takes_file or value in spec.choices or spec.options.get("remote"):
        return None
    if isinstance(value, (dict, list)) or spec.options.get("multiselect"):
        return None
    if not spec.required and not spec.choices:
        return None
    name = str(value)
    folder, address = origin.models.get(name, (MODEL_FOLDERS.get(spec.name, ""), ""))
    is_file = bool(folder) or matching.is_model_file(name)
    if not is_file:
        told = listed(spec.choices, name, 8)
        return f"its input {spec.name!r} is {name!r}, which is not among: {told}"
    where = f" in models/{folder}" if folder else ""
    source = f"; the workflow says it can be downloaded from {address}" if address else ""
    near = matching.nearest(name, [str(choice) for choice in spec.choices])
    there = (
        f"nearest there: {', '.join(near)}" if near else f"there: {listed(spec.choices, most=6)}"
    )
    return f"the model {name!r} ({spec.name}) is missing{where} ({there}){source}"


def _upstream(graph: Graph, node: Node) -> set[str]:
    """The node and everything that feeds it."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.id in found:
            continue
        found.add(one.id)
        for value in one.inputs.values():
            linked = graph.link(value)
            if linked is not None:
                waiting.append(linked[0])
    return found


def _cycle(graph: Graph) -> list[str]:
    """The ids of one circle of links, empty when there is none."""
    open_ones = {
        node.id: {
            str(v[0]) for v in node.inputs.values() if is_link(v) and str(v[0]) in graph.nodes
        }
        for node in graph.nodes.values()
    }
    while ready := [node_id for node_id, above in open_ones.items() if not above]:
        for node_id in ready:
            del open_ones[node_id]
        for waiting in open_ones.values():
            waiting.difference_update(ready)
    if not open_ones:
        return []
    path = [next(iter(open_ones))]
    while (above := next(iter(open_ones[path[-1]]))) not in path:
        path.append(above)
    return path[path.index(above) :]
