"""Group nodes, which files of older editors have: each becomes an instance of a subgraph of its own.

Follows frontend 1.58.1: groupNode.ts, LGraph.convertToSubgraph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from comfyui_pipeline.workflow.convert.document import (
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    Link,
    SubgraphSlot,
    UiGraph,
    UiNode,
    read_node,
    relinked,
    renumber,
)
from input_server.light_dataclasses import replace

GROUP_PREFIXES = ("workflow>", "workflow/")


def definitions(document: Mapping[str, Any]) -> dict[str, UiGraph]:
    """The groups of a document by name."""
    groups = (document.get("extra") or {}).get("groupNodes") or {}
    return {str(name): _group(str(name), raw) for name, raw in groups.items()}


def instantiate(
    root: UiGraph, groups: Mapping[str, UiGraph], last_id: int
) -> tuple[UiGraph, dict[str, UiGraph]]:
    """Make each group node an instance of its own copy of the group, as it holds all values.

    The editor turns a group into a subgraph when it loads it: the inner nodes and then the instance
    get the next free ids (LGraph.convertToSubgraph).
    """
    copies: dict[str, UiGraph] = {}
    numbers = count(max([last_id, *(int(n.id) for n in root.nodes if n.id.isdecimal())]) + 1)
    renamed: dict[str, str] = {}
    nodes = []
    for node in root.nodes:
        names = [node.type[len(p) :] for p in GROUP_PREFIXES if node.type.startswith(p)]
        group = groups.get(names[0]) if names else None
        if group is not None:
            inner = {one.id: str(next(numbers)) for one in group.nodes}
            renamed[node.id] = str(next(numbers))
            node = replace(node, id=renamed[node.id], type=f"{node.type}#{node.id}")
            copies[node.type] = renumber(group, {}, inner)
        nodes.append(node)
    return relinked(replace(root, nodes=tuple(nodes)), renamed), copies


def _group(name: str, raw: Mapping[str, Any]) -> UiGraph:
    """A group as a subgraph: inner ids are positions, unlinked sockets become inputs and outputs."""
    nodes = [
        replace(read_node({**item, "id": position}), raw={})
        for position, item in enumerate(raw["nodes"])
    ]
    saved = raw.get("links") or ()
    numbers = count(len(saved) + 1)
    links = {
        number: Link(number, str(item[0]), item[1], str(item[2]), item[3])
        for number, item in enumerate(saved, start=1)
        if item[0] is not None and item[2] is not None
    }
    exposed = {(str(item[0]), item[1]) for item in raw.get("external") or ()}
    linked = {(link.origin, link.origin_slot) for link in links.values()} - exposed
    targets = {(link.target, link.target_slot): link.id for link in links.values()}
    inputs = _add_group_inputs(nodes, targets, links, numbers)
    outputs: list[SubgraphSlot] = []
    for node in nodes:
        for slot, kind in enumerate(node.outputs):
            if (node.id, slot) not in linked:
                number = next(numbers)
                links[number] = Link(number, node.id, slot, SUBGRAPH_OUTPUT, len(outputs))
                outputs.append(SubgraphSlot(kind, kind, (number,)))
    return UiGraph(name, tuple(nodes), links, tuple(inputs), tuple(outputs))


def _add_group_inputs(
    nodes: list[UiNode],
    targets: Mapping[tuple[str, int], int],
    links: dict[int, Link],
    numbers: Iterator[int],
) -> list[SubgraphSlot]:
    """Link each unlinked socket of the nodes to an input of their group; those of widgets come last."""
    sockets = [list(node.inputs) for node in nodes]
    free = []
    for position, node in enumerate(nodes):
        for slot, socket in enumerate(node.inputs):
            number = targets.get((node.id, slot))
            if number is None:
                free.append((socket.widget, position, slot))
            else:
                sockets[position][slot] = replace(socket, link=number)
    inputs: dict[str, SubgraphSlot] = {}
    for _, position, slot in sorted(free):
        node, socket, number = nodes[position], sockets[position][slot], next(numbers)
        links[number] = Link(number, SUBGRAPH_INPUT, len(inputs), node.id, slot)
        name = socket.name
        if name in inputs:
            name = f"{node.title or node.type} {socket.name}"
        while name in inputs:
            name += "_"
        inputs[name] = SubgraphSlot(name, socket.type, (number,))
        sockets[position][slot] = replace(socket, link=number)
    for position, node in enumerate(nodes):
        nodes[position] = replace(node, inputs=tuple(sockets[position]))
    return list(inputs.values())
