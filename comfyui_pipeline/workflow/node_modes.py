"""Bypass or mute nodes of a prompt, as the editor does when it sends a workflow.

A muted node is left out, and what needs it cannot run. A bypassed one is left out too, but what was
linked to its output takes the input that the editor would choose: the one of the same place, else the
first of the same type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import params
from comfyui_pipeline.workflow.changes import Planner
from comfyui_pipeline.workflow.graph import Graph, Node, is_link
from comfyui_pipeline.workflow.schema import ANY_TYPE, types_match

MUTED, BYPASSED = 2, 4
Prompt = Mapping[str, Mapping[str, Any]]


def apply(
    prompt: Prompt, graph: Graph, entries: Sequence[Any], *, strict: bool, all_titled: bool
) -> tuple[dict[str, Any], dict[str, int], list[str]]:
    """The prompt without the nodes that ``entries`` of ``params`` mute or bypass, their modes by id,
    and notes on them.

    Raises PatchError for an unknown node, and where a node cannot do without a bypassed one.
    """
    planner = Planner(graph, strict)
    search = params._Search(planner)
    modes = {
        node.id: entry.mode
        for entry in entries
        if entry.mode in (MUTED, BYPASSED)
        for node in search.nodes(entry, every=all_titled or entry.all)
    }
    remaining = {}
    for node in graph.nodes.values():
        if node.id not in modes:
            inputs = _inputs(graph, node, modes)
            remaining[node.id] = {**prompt[node.id], "inputs": inputs}
    words = {MUTED: "Muted", BYPASSED: "Bypassed"}
    notes = [
        f"{words[mode]}: node {graph.nodes[node_id].label}." for node_id, mode in modes.items()
    ]
    return remaining, modes, notes


def _inputs(graph: Graph, node: Node, modes: Mapping[str, int]) -> dict[str, Any]:
    found = {}
    for name, value in node.inputs.items():
        spec = node.specs.get(name)
        kept = _kept_link(graph, value, spec.type if spec else "*", modes)
        if kept is not None:
            found[name] = kept
        elif spec is not None and spec.required and modes.get(str(value[0])) == BYPASSED:
            gone = graph.nodes[str(value[0])]
            raise PatchError(
                f"Node {gone.label} cannot be left out: node {node.label} needs its output for "
                f"{name!r}, and it has no input of that type to take in its place.",
                "Change its inputs with params instead, for example a strength of 0.",
            )
    return found


def _kept_link(graph: Graph, value: Any, wanted: str, modes: Mapping[str, int]) -> Any:
    """The value of an input after bypassing; None for a link that ends nowhere."""
    passed: set[str] = set()
    while is_link(value) and (mode := modes.get(str(value[0]))) is not None:
        node = graph.nodes[str(value[0])]
        if mode == MUTED or node.id in passed:
            return None
        passed.add(node.id)
        name = _replacement(node, int(value[1]), wanted)
        value = None if name is None else node.inputs.get(name)
        if not is_link(value):
            return None
    return value


def _replacement(node: Node, slot: int, wanted: str) -> str | None:
    """The input whose link replaces an output of a bypassed node (ExecutableNodeDTO.ts)."""
    sockets = [s for s in node.specs.values() if s.type.isupper() and _is_socket(node, s.name)]
    if wanted in ANY_TYPE:
        return (sockets[slot] if slot < len(sockets) else sockets[0]).name if sockets else None
    given = node.outputs[slot] if 0 <= slot < len(node.outputs) else "*"
    fitting = [s for s in sockets if types_match(s.type, given) and types_match(s.type, wanted)]
    if 0 <= slot < len(sockets) and sockets[slot] in fitting:
        return sockets[slot].name
    same = [socket for socket in sockets if socket.type == wanted]
    return next((socket.name for socket in same or fitting), None)


def _is_socket(node: Node, name: str) -> bool:
    """Whether an input can only be linked, or is linked although it could have a value."""
    spec = node.specs[name]
    plain = spec.type in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
    return not plain or is_link(node.inputs.get(name))
