"""Bypass or mute nodes of a prompt in API format, as the editor does when it sends a workflow.

A muted node is left out, and what needs it cannot run. A bypassed one is left out too, but what was
linked to its output takes the input that the editor would choose: the one of the same place, else the
first of the same type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import switches
from comfyui_pipeline.workflow.graph import Graph, Node, is_link
from comfyui_pipeline.workflow.running import running
from comfyui_pipeline.workflow.schema import ANY_TYPE, types_match
from comfyui_pipeline.workflow.switches import MUTED, Broken, Chosen, Part, Parts, Switch
from input_server.light_dataclasses import replace

Prompt = Mapping[str, Mapping[str, Any]]


def apply(
    prompt: Prompt, graph: Graph, wanted: Sequence[Switch], *, strict: bool
) -> tuple[dict[str, Any], Chosen]:
    """The prompt without the nodes that a call mutes or bypasses, and which these are.

    Raises PatchError for an unknown name.
    """
    chosen = switches.choose(parts_of(graph), wanted, strict=strict)
    modes = {node_id: mode for node_id, mode in chosen.modes.items() if mode in switches.OFF}
    left = {i: replace(n, inputs=_inputs(graph, n, modes)) for i, n in graph.nodes.items()}
    left = {i: node for i, node in left.items() if i not in modes}
    if not left:
        raise PatchError(
            f"Nothing is left to run: {', '.join(chosen.said)}.", "Bypass or mute fewer nodes."
        )
    found = [one for node in running(Graph(left)) for one in _broken(graph, node, modes)]
    changed = {i: {**prompt[i], "inputs": node.inputs} for i, node in left.items()}
    return changed, replace(chosen, broken=tuple(found))


def parts_of(graph: Graph) -> Parts:
    """The nodes of a prompt, in which all are active."""
    return Parts(
        tuple(
            Part(
                node.id,
                node.title,
                node.class_type,
                takes=frozenset(node.specs) | frozenset(node.inputs),
            )
            for node in graph.nodes.values()
        )
    )


def _inputs(graph: Graph, node: Node, modes: Mapping[str, int]) -> dict[str, Any]:
    found = {}
    for name, value in node.inputs.items():
        spec = node.specs.get(name)
        kept = _kept_link(graph, value, spec.type if spec else "*", modes)
        if kept is not None:
            found[name] = kept
    return found


def _broken(graph: Graph, node: Node, modes: Mapping[str, int]) -> Iterator[Broken]:
    """The required inputs that a node which runs has lost."""
    for name, value in graph.nodes[node.id].inputs.items():
        spec = node.specs.get(name)
        if name in node.inputs or spec is None or not spec.required or not is_link(value):
            continue
        gone = graph.nodes.get(str(value[0]))
        if gone is not None and gone.id in modes:
            yield Broken(node.id, name, gone.id, gone.label, modes[gone.id])


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
