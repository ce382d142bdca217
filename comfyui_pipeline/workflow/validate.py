"""Hold a prompt against the server's classes before it is queued: everything at once, with help.

What the server would refuse, by its own rules (execution.py, validate_inputs), and what it answers
badly: a class it lacks, a link to nothing (its error is ``'77'``), a cycle (dropped without a word).
A branch that cannot run does not stop the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.bounded.truncate import show_value
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import matching
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, is_link
from comfyui_pipeline.workflow.schema import types_match
from comfyui_pipeline.workflow.values import listed, range_of
from input_server.light_dataclasses import dataclass

SHOWN = 12
REASONS = 3
"""Problems that are told of one output which does not run."""
HELPED = 100
"""Problems beyond these are told without the nearest names, which take a comparison with each file."""
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
    message: str
    maybe_stale: bool = False  # a newer look at the server's classes might tell otherwise
    missing_type: bool = False  # the server does not have its class at all

    def __str__(self) -> str:
        return f"node {self.node.label}: {self.message}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What can run (a part of the prompt), why the rest cannot, and what led to no output."""

    prompt: Mapping[str, Mapping[str, Any]]
    skipped_outputs: Mapping[str, str]  # label of an output node -> why it does not run


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
    waiting = [raw]
    while waiting:
        graph = waiting.pop()
        if not isinstance(graph, dict):
            continue
        yield graph
        definitions = graph.get("definitions")
        inner = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        waiting.extend(reversed(inner) if isinstance(inner, list) else ())


def problems(graph: Graph, known: Collection[str], origin: Origin = NO_ORIGIN) -> list[Problem]:
    """Everything that keeps a node of the prompt from running, in the order of its nodes."""
    found: list[Problem] = []
    circle = _cycle(graph)
    labels = ", ".join(graph.nodes[i].label for i in circle[:SHOWN])
    alike = Counter(node.class_type for node in graph.nodes.values())
    in_circle = set(circle)
    for node in graph.nodes.values():
        if node.class_type not in known:
            why = _lacking(node, alike[node.class_type], origin)
            found.append(Problem(node, why, maybe_stale=True, missing_type=True))
            continue
        if node.id in in_circle:
            found.append(Problem(node, f"it is part of a circle of links ({labels})"))
        help_ = len(found) < HELPED
        found += [Problem(node, *told) for told in _input_problems(graph, node, origin, help_)]
    return found


def check(graph: Graph, prompt: Mapping[str, Any], wrong: Sequence[Problem]) -> Checked:
    """The part of the prompt that can run. Raises WorkflowError when no output of it can.

    ``wrong``: what :func:`problems` found. Nodes that lead to no output are left out.
    """
    savers = [node for node in graph.nodes.values() if node.is_output_node]
    if not savers and not any(problem.missing_type for problem in wrong):
        raise WorkflowError(
            "This workflow has no node that saves or shows anything, so nothing would run.",
            "Add a node that saves its result.",
        )
    blame = _blame(graph, wrong)
    good = [node for node in savers if node.id not in blame]
    if not good:
        raise WorkflowError(_all_of(wrong), "Correct this, or choose another workflow.")
    kept = _upstream(graph, good)
    refused = {
        saver.label: "; ".join(str(wrong[number]) for number in blame[saver.id])
        for saver in savers
        if saver.id in blame
    }
    return Checked({i: node for i, node in prompt.items() if i in kept}, refused)


def _blame(graph: Graph, wrong: Sequence[Problem]) -> dict[str, list[int]]:
    """For each node that cannot run the first problems that keep it from it: its own, and of its
    sources. Takes time by the number of links, as no node is entered more than a few times.
    """
    takers: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        for source in {str(v[0]) for v in node.inputs.values() if is_link(v)}:
            takers.setdefault(source, []).append(node.id)
    blame: dict[str, list[int]] = {}
    for number, problem in enumerate(wrong):
        waiting = [problem.node.id]
        while waiting:
            node_id = waiting.pop()
            reasons = blame.setdefault(node_id, [])
            if len(reasons) < REASONS and reasons[-1:] != [number]:
                reasons.append(number)
                waiting += takers.get(node_id, ())
    return blame


def _all_of(wrong: Sequence[Problem]) -> str:
    lines = list(dict.fromkeys(str(problem) for problem in wrong))
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"This workflow cannot run here: {'; '.join(lines[:SHOWN])}{more}."


def _lacking(node: Node, alike: int, origin: Origin) -> str:
    times = f" ({alike} nodes of it)" if alike > 1 else ""
    pack = origin.packs.get(node.class_type)
    if pack and pack != "comfy-core":
        return (
            f"this ComfyUI lacks its class{times}, which the custom-node pack {show_value(pack)} brings; "
            "install that with ComfyUI Manager"
        )
    if pack:
        return f"this ComfyUI lacks its class{times}; it is one of ComfyUI's own, so update ComfyUI"
    return (
        f"this ComfyUI lacks its class{times}; ComfyUI Manager finds custom nodes by name (the "
        "embedded demo server runs no models: what needs one needs a full ComfyUI)"
    )


def _input_problems(
    graph: Graph, node: Node, origin: Origin, help_: bool
) -> Iterator[tuple[str, bool]]:
    """What is wrong and whether a newer look at the class might tell otherwise."""
    for spec in node.specs.values():
        if spec.required and spec.name not in node.inputs:
            yield f"its required input {spec.name!r} ({spec.type}) has no link and no value", True
    for name, value in node.inputs.items():
        known = node.specs.get(name)
        if is_link(value):
            told = _link_problem(graph, name, value, known)
        elif (odd := json_text.non_finite(value)) is not None:
            yield (
                f"its input {show_value(name)} holds {odd}, which ComfyUI cannot be sent; {SET_IT}",
                False,
            )
            continue
        else:
            told = None if known is None else _value_problem(known, value, origin, help_)
        if told:
            yield told, not is_link(value)


SET_IT = "set it to a plain number with params, or correct the workflow"


def _link_problem(graph: Graph, name: str, value: list[Any], spec: InputSpec | None) -> str | None:
    linked = graph.link(value)
    if linked is None:
        return f"its input {show_value(name)} is linked to node {str(value[0])[:80]}, which is not there"
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
    return types_match(kind, spec.type)


def _value_problem(spec: InputSpec, value: Any, origin: Origin, help_: bool) -> str | None:
    if spec.type in ("INT", "FLOAT"):
        return _number_problem(spec, value)
    if spec.type == "COMBO":
        return _choice_problem(spec, value, origin, help_)
    if spec.type in ("STRING", "BOOLEAN") or isinstance(value, dict):
        return f"its input {spec.name!r} has no value" if value is None else None
    if spec.type.isupper() and spec.required and not isinstance(value, (list, dict, str)):
        return f"its input {spec.name!r} takes a link of type {spec.type}, not {show_value(value)}"
    return None


def _number_problem(spec: InputSpec, value: Any) -> str | None:
    wrong = f"its input {spec.name!r} is {show_value(value)} and has to be a number{range_of(spec)}"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return wrong
    low, high = spec.options.get("min"), spec.options.get("max")
    outside = (low is not None and number < low) or (high is not None and number > high)
    return wrong if outside or not math.isfinite(number) else None


def _choice_problem(spec: InputSpec, value: Any, origin: Origin, help_: bool) -> str | None:
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
        told = listed(spec.choices, name if help_ else "", 8)
        return f"its input {spec.name!r} is {show_value(name)}, which is not among: {told}"
    where = f" in models/{folder}" if folder else ""
    source = f"; the workflow says it can be downloaded from {address}" if address else ""
    near = matching.nearest(name, [str(choice) for choice in spec.choices]) if help_ else []
    there = (
        f"nearest there: {', '.join(near)}" if near else f"there: {listed(spec.choices, most=6)}"
    )
    return f"the model {show_value(name)} ({spec.name}) is missing{where} ({there}){source}"


def _upstream(graph: Graph, nodes: Sequence[Node]) -> set[str]:
    """The nodes and everything that feeds them."""
    found: set[str] = set()
    waiting = list(nodes)
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
    above = {
        node.id: {
            str(v[0]) for v in node.inputs.values() if is_link(v) and str(v[0]) in graph.nodes
        }
        for node in graph.nodes.values()
    }
    takers: dict[str, list[str]] = {}
    for node_id, sources in above.items():
        for source in sources:
            takers.setdefault(source, []).append(node_id)
    missing = {node_id: len(sources) for node_id, sources in above.items()}
    ready = [node_id for node_id, count in missing.items() if not count]
    while ready:
        node_id = ready.pop()
        del missing[node_id]
        for taker in takers.get(node_id, ()):
            missing[taker] -= 1
            if not missing[taker]:
                ready.append(taker)
    if not missing:
        return []
    path: dict[str, int] = {}
    node_id = next(iter(missing))
    while node_id not in path:
        path[node_id] = len(path)
        node_id = next(source for source in above[node_id] if source in missing)
    return list(path)[path[node_id] :]
