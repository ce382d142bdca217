"""Nodes that exist only in the editor and are never sent: reroutes, primitives, notes, set/get pairs.

Nodes of an extension that pass a value on by name ("Set" and "Get" nodes) are recognised by their
shape, not by their type: two unknown nodes that hold the same name, one with a linked input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from comfyui_pipeline.workflow.schema import types_match

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.convert.loaded_graph import LoadedGraph, LoadedNode

Setters = Mapping[str, "tuple[LoadedGraph, LoadedNode]"]
"""Shared name -> the node that sets it, and the graph that the node is in."""


def find_setters(graphs: Iterable[LoadedGraph]) -> Setters:
    """The "Set" nodes for which there is a "Get" node of the same name."""
    setters: dict[str, tuple[LoadedGraph, LoadedNode]] = {}
    read: set[str] = set()
    for graph in graphs:
        for node in graph.nodes.values():
            name = shared_name(node)
            if not name or node.virtual or node.type is not None:
                continue
            if any(socket.link is not None for socket in node.sockets):
                setters.setdefault(name, (graph, node))
            else:
                read.add(name)
    return {name: setter for name, setter in setters.items() if name in read}


def is_set_or_get(node: LoadedNode, setters: Setters) -> bool:
    """Whether a node of an unknown type sets or gets a shared value."""
    return node.type is None and node.subgraph is None and shared_name(node) in setters


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
