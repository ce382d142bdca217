"""Check a prompt against the server's node types before it is queued, and report all problems.

Covers what the server would reject (execution.py, validate_inputs) and what it reports badly: a
missing node type, a link to a missing node (its error is ``'77'``), a circular link (dropped
silently). A branch that cannot run does not stop the others. What the server may take is left to it
(``doubts.py``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.bounded.truncate import show_value
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import doubts, editor_nodes, matching
from comfyui_pipeline.workflow.editor_nodes import VIRTUAL_TYPES
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from comfyui_pipeline.workflow.model_arguments import how_to_choose
from comfyui_pipeline.workflow.model_folders import MODEL_FOLDERS
from comfyui_pipeline.workflow.schema import types_match
from comfyui_pipeline.workflow.values import listed, range_of
from input_server.light_dataclasses import dataclass

FAILING_TYPE = (
    "the server fails to describe its node type (status 500), as the pack that it is part of is broken: "
    "see ComfyUI's console"
)
MAX_LISTED = 12
MAX_REASONS = 3
"""Problems reported for one output node that does not run."""
MAX_SUGGESTIONS = 100
"""Problems with similar names suggested; each is a comparison with every choice of the input."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the node types and models of a workflow can be installed from, as its author saved it.

    ``packs``: node type -> custom-node pack; ``models``: file name -> (folder, download URL).
    ``editor_types``: types that exist only in the editor, as far as the document shows.
    """

    packs: Mapping[str, str]
    models: Mapping[str, tuple[str, str]]
    editor_types: frozenset[str] = frozenset()


NO_ORIGIN = Origin({}, {})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a node cannot run, and what to do about it.

    ``maybe_stale``: a cached node type may be the reason, so it is worth requesting it again.
    ``missing_type``: the server does not have the node type, or cannot describe it.
    """

    node: Node
    message: str
    maybe_stale: bool = False
    missing_type: bool = False

    def __str__(self) -> str:
        return f"node {self.node.label}: {self.message}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The part of the prompt that can run; ``skipped_outputs``: label of an output node -> why not."""

    prompt: Mapping[str, Mapping[str, Any]]
    skipped_outputs: Mapping[str, str]


def origin_of(ui: Mapping[str, Any] | None) -> Origin:
    """Read the packs and models from an editor document, its root and every subgraph."""
    packs: dict[str, str] = {}
    models: dict[str, tuple[str, str]] = {}
    nodes: list[tuple[str, Any]] = []
    for graph in _graphs(ui):
        listed = [*graph["models"]] if isinstance(graph.get("models"), list) else []
        for node in graph.get("nodes") or ():
            if not isinstance(node, dict):
                continue
            properties = node.get("properties")
            nodes.append((str(node.get("type")), properties))
            if not isinstance(properties, dict):
                continue
            pack = properties.get("cnr_id") or properties.get("aux_id")
            if isinstance(pack, str):
                packs[str(node.get("type"))] = pack
            if isinstance(properties.get("models"), list):
                listed += properties["models"]
        for model in listed:
            if isinstance(model, dict) and isinstance(model.get("name"), str):
                source = (str(model.get("directory") or ""), str(model.get("url") or ""))
                models[model["name"]] = source
    return Origin(packs, models, editor_nodes.types_of(nodes))


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
    """All problems that keep nodes of the prompt from running, in the order of the nodes.

    ``known``: the node types that the server has.
    """
    found: list[Problem] = []
    loop = _circular_link(graph)
    labels = ", ".join(graph.nodes[i].label for i in loop[:MAX_LISTED])
    counts = Counter(node.class_type for node in graph.nodes.values())
    in_loop = set(loop)
    for node in graph.nodes.values():
        if node.class_type not in known:
            message = _missing_type(node, counts[node.class_type], origin)
            found.append(Problem(node, message, maybe_stale=True, missing_type=True))
            continue
        if isinstance(known, Mapping) and known[node.class_type].get("fails"):
            found.append(Problem(node, FAILING_TYPE, maybe_stale=True, missing_type=True))
            continue
        if node.id in in_loop:
            found.append(Problem(node, f"it is part of a circular link ({labels})"))
        suggest = len(found) < MAX_SUGGESTIONS
        found += _input_problems(graph, node, origin, suggest)
    return found


def check(graph: Graph, prompt: Mapping[str, Any], found: Sequence[Problem]) -> Checked:
    """The part of the prompt that can run, without nodes that lead to no output.

    ``found``: the result of :func:`problems`. Raises WorkflowError if no output node can run.
    """
    outputs = [node for node in graph.nodes.values() if node.is_output_node]
    if not outputs and not any(problem.missing_type for problem in found):
        raise WorkflowError(
            "This workflow has no output node, so nothing would run.",
            "Add a node that saves or previews the result, such as SaveImage.",
        )
    reasons = _reasons(graph, found)
    runnable = [node for node in outputs if node.id not in reasons]
    if not runnable:
        raise WorkflowError(summary(found), "Correct this, or choose another workflow.")
    needed = _upstream(graph, runnable)
    skipped = {
        node.label: "; ".join(str(found[number]) for number in reasons[node.id])
        for node in outputs
        if node.id in reasons
    }
    return Checked({i: node for i, node in prompt.items() if i in needed}, skipped)


def _reasons(graph: Graph, found: Sequence[Problem]) -> dict[str, list[int]]:
    """Node id -> the first problems that keep the node from running, its own or of its sources.

    Linear in the number of links, as each node gets at most MAX_REASONS problems.
    """
    users: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        for source in {str(v[0]) for v in node.inputs.values() if is_link(v)}:
            users.setdefault(source, []).append(node.id)
    reasons: dict[str, list[int]] = {}
    for number, problem in enumerate(found):
        stack = [problem.node.id]
        while stack:
            node_id = stack.pop()
            known = reasons.setdefault(node_id, [])
            if len(known) < MAX_REASONS and known[-1:] != [number]:
                known.append(number)
                stack += users.get(node_id, ())
    return reasons


def summary(found: Sequence[Problem]) -> str:
    """All problems in one sentence, the same one once."""
    types_first = sorted(found, key=lambda problem: not problem.missing_type)
    lines = list(dict.fromkeys(str(problem) for problem in types_first))
    more = f"; and {len(lines) - MAX_LISTED} more" if len(lines) > MAX_LISTED else ""
    return f"This workflow cannot run on this server: {'; '.join(lines[:MAX_LISTED])}{more}."


def _missing_type(node: Node, count: int, origin: Origin) -> str:
    times = f" (used by {count} nodes)" if count > 1 else ""
    missing = f"its node type is not installed on this ComfyUI server{times}"
    if node.class_type in VIRTUAL_TYPES or node.class_type in origin.editor_types:
        return (
            f"this ComfyUI server does not have its node type{times}, which seems to exist only in the "
            "editor: nothing can be installed for it. In the editor, link the nodes behind it to what "
            "is before it, or replace it by a node of the server, and save the workflow again"
        )
    pack = origin.packs.get(node.class_type)
    if pack and pack != "comfy-core":
        return (
            f"{missing}; it is part of the custom-node pack {show_value(pack)}: install that with "
            "ComfyUI Manager"
        )
    if pack:
        return f"{missing}; it is part of ComfyUI itself: update ComfyUI"
    return (
        f"{missing}; if it is part of a custom-node pack, ComfyUI Manager finds that by its name (the "
        "embedded demo server has no nodes that need a model: use a full ComfyUI for them)"
    )


def _input_problems(graph: Graph, node: Node, origin: Origin, suggest: bool) -> Iterator[Problem]:
    """``suggest``: name similar choices."""
    for spec in node.specs.values():
        if spec.required and spec.name not in node.inputs:
            message = f"its required input {spec.name!r} ({spec.type}) has neither link nor value"
            yield Problem(node, message, maybe_stale=True)
    for name, value in node.inputs.items():
        spec_of = node.specs.get(name)
        if is_link(value):
            problem = _link_problem(graph, name, value, spec_of)
            maybe_stale = False
        elif spec_of is not None and (number := json_text.non_finite(value)) is not None:
            problem = (
                f"its input {show_value(name)} is {number}, which JSON cannot represent; set it to a "
                "finite number with params, or correct the workflow"
            )
            maybe_stale = False
        elif spec_of is None or doubts.doubt(spec_of, value):
            continue
        else:
            problem = _value_problem(graph, node, spec_of, value, origin, suggest)
            maybe_stale = True
        if problem:
            yield Problem(node, problem, maybe_stale=maybe_stale)


def _link_problem(graph: Graph, name: str, value: list[Any], spec: InputSpec | None) -> str | None:
    linked = graph.link(value)
    if linked is None:
        return (
            f"its input {show_value(name)} is linked to node {str(value[0])[:80]}, which is missing"
        )
    source, slot = linked
    if not source.outputs:
        return None
    if not 0 <= slot < len(source.outputs):
        return (
            f"its input {name!r} is linked to output {slot} of node {source.label}, which has only "
            f"{len(source.outputs)}"
        )
    kind = source.outputs[slot]
    if spec is None or _linkable(kind, spec):
        return None
    return (
        f"its input {name!r} is of type {spec.type}, but output {slot} of node {source.label} is of "
        f"type {kind}"
    )


def _linkable(kind: str, spec: InputSpec) -> bool:
    """Types may be lists, wildcards or, for a combo, the list of its choices as text."""
    if kind.startswith(("COMFY_", "[")) or spec.type.startswith("COMFY_"):
        return True
    return types_match(kind, spec.type)


def _value_problem(
    graph: Graph, node: Node, spec: InputSpec, value: Any, origin: Origin, suggest: bool
) -> str | None:
    if spec.type in ("INT", "FLOAT"):
        return _number_problem(spec, value)
    if spec.type == "COMBO":
        return _choice_problem(graph, node, spec, value, origin, suggest)
    return None


def _number_problem(spec: InputSpec, value: Any) -> str | None:
    problem = f"its input {spec.name!r} is {show_value(value)}; it must be a number{range_of(spec)}"
    try:
        number = int(value) if spec.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        return problem
    low, high = spec.options.get("min"), spec.options.get("max")
    outside = (low is not None and number < low) or (high is not None and number > high)
    return problem if outside or not math.isfinite(number) else None


def _choice_problem(
    graph: Graph, node: Node, spec: InputSpec, value: Any, origin: Origin, suggest: bool
) -> str | None:
    if spec.takes_file or value in spec.choices or spec.options.get("remote"):
        return None
    if isinstance(value, (dict, list)) or spec.options.get("multiselect"):
        return None
    if not spec.required and not spec.choices:
        return None
    name = str(value)
    folder, url = origin.models.get(name, (MODEL_FOLDERS.get(spec.name, ""), ""))
    if not folder and not matching.is_model_file(name):
        choices = listed(spec.choices, name if suggest else "", 8)
        return f"its input {spec.name!r} is {show_value(name)}, which is not one of: {choices}"
    location = f" in models/{folder}" if folder else ""
    download = f"; the workflow says it can be downloaded from {url}" if url else ""
    similar = matching.nearest(name, [str(choice) for choice in spec.choices]) if suggest else []
    available = (
        f"similar: {', '.join(similar)}"
        if similar
        else f"available: {listed(spec.choices, most=6)}"
    )
    choose = ""
    if spec.choices and suggest:
        how = how_to_choose(graph, Target(node, spec.name), (similar or spec.choices)[0])
        choose = f"; {how} to use another"
    return (
        f"the model {show_value(name)} ({spec.name}) is missing{location} "
        f"({available}){download}{choose}"
    )


def needed_nodes(graph: Graph) -> list[Node]:
    """The nodes that run: those that an output node derives from; all if there is no output node."""
    needed = _upstream(graph, [node for node in graph.nodes.values() if node.is_output_node])
    return [node for node in graph.nodes.values() if node.id in needed or not needed]


def _upstream(graph: Graph, nodes: Sequence[Node]) -> set[str]:
    """The ids of the nodes and of all nodes upstream of them."""
    found: set[str] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node.id in found:
            continue
        found.add(node.id)
        for value in node.inputs.values():
            linked = graph.link(value)
            if linked is not None:
                stack.append(linked[0])
    return found


def _circular_link(graph: Graph) -> list[str]:
    """The ids of the nodes of one loop; empty if there is none (Kahn's algorithm)."""
    above = {
        node.id: {
            str(v[0]) for v in node.inputs.values() if is_link(v) and str(v[0]) in graph.nodes
        }
        for node in graph.nodes.values()
    }
    users: dict[str, list[str]] = {}
    for node_id, sources in above.items():
        for source in sources:
            users.setdefault(source, []).append(node_id)
    waiting = {node_id: len(sources) for node_id, sources in above.items()}
    ready = [node_id for node_id, count in waiting.items() if not count]
    while ready:
        node_id = ready.pop()
        del waiting[node_id]
        for user in users.get(node_id, ()):
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if not waiting:
        return []
    path: dict[str, int] = {}
    node_id = next(iter(waiting))
    while node_id not in path:
        path[node_id] = len(path)
        node_id = next(source for source in above[node_id] if source in waiting)
    return list(path)[path[node_id] :]
