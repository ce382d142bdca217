"""Nodes that exist only in the editor and are never sent: reroutes, primitives, notes, set/get pairs.

Nodes of an extension that pass a value on by name ("Set" and "Get" nodes) are recognised by their
shape, not by their type: two unknown nodes that hold the same name, one with a linked input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from comfyui_pipeline.workflow.schema import types_match
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.convert.loaded_graph import LoadedGraph, LoadedNode

PREVIOUS_NAME = "previousName"
"""A property of "Set" and "Get" nodes: what they were called before."""


@dataclass(frozen=True, slots=True)
class Setters:
    """The "Set" nodes for which there is a "Get" node of the same name.

    ``by_name``: shared name -> the nodes that set it, each with the graph that it is in. ``types``: the
    node types of such pairs; another node of these types sets or gets a name that nothing else uses.
    """

    by_name: Mapping[str, list[tuple[LoadedGraph, LoadedNode]]]
    types: frozenset[str]


def find_setters(graphs: Iterable[LoadedGraph]) -> Setters:
    """Find the pairs by what they are: nodes of unknown types that hold the same name."""
    setters: dict[str, list[tuple[LoadedGraph, LoadedNode]]] = {}
    read: dict[str, set[str]] = {}
    for graph in graphs:
        for node in graph.nodes.values():
            name = shared_name(node)
            if not name or node.virtual or node.type is not None:
                continue
            if any(socket.link is not None for socket in node.sockets):
                setters.setdefault(name, []).append((graph, node))
            else:
                read.setdefault(name, set()).add(node.ui.type)
    pairs = {name: found for name, found in setters.items() if name in read}
    setting = {node.ui.type for found in pairs.values() for _, node in found}
    return Setters(pairs, frozenset(setting.union(*(read[name] for name in pairs))))


def setter_in(graph: LoadedGraph, name: str, setters: Setters) -> LoadedNode | None:
    """The first node of a graph that sets this name."""
    found = setters.by_name.get(name, ())
    return next((node for where, node in found if where is graph), None)


def is_set_or_get(node: LoadedNode, setters: Setters) -> bool:
    """Whether a node of an unknown type sets or gets a shared value."""
    name = shared_name(node)
    if node.type is not None or node.subgraph is not None or not name or node.virtual:
        return False
    known = node.ui.type in setters.types or PREVIOUS_NAME in node.ui.properties
    return known or name in setters.by_name


def passes_on(node: LoadedNode) -> bool:
    """Whether a node of an unknown type passes on what it receives: a reroute of an extension, or a
    node of the editor that has an output of the same type for each input, and no value.
    """
    if node.type is not None or node.subgraph is not None or node.ui.values:
        return False
    if not node.editor_only or not node.outputs or len(node.ui.inputs) != len(node.outputs):
        return is_reroute(node)
    pairs = zip(node.ui.inputs, node.outputs, strict=True)
    return all(types_match(socket.type, output) for socket, output in pairs)


def is_reroute(node: LoadedNode) -> bool:
    """Whether it has one input, one output, and no names at either, or its type says so."""
    if len(node.ui.inputs) != 1 or len(node.outputs) != 1:
        return False
    return not node.ui.inputs[0].name or "reroute" in node.ui.type.lower()


def shared_name(node: LoadedNode) -> str:
    """The only widget value of a node if it is a text, else an empty text."""
    values = node.ui.values
    only = values[0] if isinstance(values, (list, tuple)) and len(values) == 1 else None
    return only if isinstance(only, str) else ""
