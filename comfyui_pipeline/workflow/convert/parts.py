"""All nodes and groups of an editor document, and what breaks when a call switches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfyui_pipeline.workflow.convert.links import LinkResolver, Scope
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedNode
from comfyui_pipeline.workflow.editor_nodes import VIRTUAL_TYPES
from comfyui_pipeline.workflow.files import MAX_NODES
from comfyui_pipeline.workflow.graph import is_link
from comfyui_pipeline.workflow.switches import ACTIVE, OFF, Broken, Group, Part, Parts

Prompt = Mapping[str, Mapping[str, Any]]
Box = tuple[float, float, float, float]
TITLE_HEIGHT = 30.0
COLLAPSED_WIDTH = 80.0
"""Of a node in the editor: its title is above its position (LiteGraph.NODE_TITLE_HEIGHT)."""


def read(root: Scope) -> Parts:
    """The nodes of a document and of each instance of its subgraphs, with their saved modes."""
    nodes: list[Part] = []
    groups: list[Group] = []
    for scope, around in _scopes(root):
        inside = [
            (_part(scope, node, around), node)
            for node in scope.graph.nodes.values()
            if node.subgraph is not None or node.ui.type not in VIRTUAL_TYPES
        ]
        nodes += [part for part, _ in inside]
        groups += _groups(scope, inside)
    return Parts(tuple(nodes), tuple(groups), complete=True)


def _scopes(root: Scope) -> Iterator[tuple[Scope, tuple[str, ...]]]:
    """The root and the inside of each subgraph node, with the ids of the subgraph nodes around it."""
    waiting: list[tuple[Scope, tuple[str, ...]]] = [(root, ())]
    count = 0
    while waiting and count <= MAX_NODES:
        scope, around = waiting.pop()
        yield scope, around
        count += len(scope.graph.nodes)
        instances = [node for node in scope.graph.nodes.values() if node.subgraph is not None]
        waiting += [
            (scope.inside(node), (*around, scope.prefix + node.id)) for node in reversed(instances)
        ]


def _part(scope: Scope, node: LoadedNode, around: tuple[str, ...]) -> Part:
    kind = node.subgraph.name if node.subgraph is not None else node.ui.type
    takes = {socket.name for socket in node.sockets} | {widget.name for widget in node.widgets}
    title = node.ui.title or kind if node.subgraph is not None else node.title
    return Part(scope.prefix + node.id, title, kind, node.ui.mode, around, frozenset(takes))


# -- groups ----------------------------------------------------------------------------------------


def _groups(scope: Scope, inside: list[tuple[Part, LoadedNode]]) -> Iterator[Group]:
    """The groups of a graph. A node is in a group if its centre is (LGraphGroup.recomputeInsideNodes)."""
    raw = scope.graph.raw.get("groups")
    for group in raw if isinstance(raw, list) else ():
        if not isinstance(group, dict) or (box := _box(group.get("bounding"))) is None:
            continue
        left, top, width, height = box
        members = tuple(
            part
            for part, node in inside
            if (at := _centre(node.ui.raw)) is not None
            and left <= at[0] < left + width
            and top <= at[1] < top + height
        )
        title = group.get("title")
        if members:
            yield Group(title if isinstance(title, str) else "", members)


def _box(value: Any) -> Box | None:
    numbers = _numbers(value, 4)
    return None if numbers is None else (numbers[0], numbers[1], numbers[2], numbers[3])


def _centre(node: Mapping[str, Any]) -> tuple[float, float] | None:
    at, size, flags = _numbers(node.get("pos"), 2), _numbers(node.get("size"), 2), node.get("flags")
    if at is None:
        return None
    if isinstance(flags, dict) and flags.get("collapsed"):
        size = [COLLAPSED_WIDTH, 0.0]
    width, height = size or (0.0, 0.0)
    return at[0] + width / 2, at[1] - TITLE_HEIGHT + (height + TITLE_HEIGHT) / 2


def _numbers(value: Any, count: int) -> list[float] | None:
    """Numbers in a list or, as older files have them, in an object with the keys "0", "1", …"""
    if isinstance(value, dict):
        value = [value.get(str(place)) for place in range(count)]
    if not isinstance(value, list) or len(value) < count:
        return None
    found = value[:count]
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in found):
        return None
    return [float(one) for one in found]


# -- what cannot run -------------------------------------------------------------------------------


def broken(
    prompt: Prompt, places: Mapping[str, tuple[Scope, LoadedNode]], links: LinkResolver
) -> Iterator[Broken]:
    """The nodes that run and lack a required input because of the nodes that the call switches."""
    for node_id in _running(prompt, places):
        scope, node = places[node_id]
        for slot, socket in enumerate(node.sockets):
            if socket.link is None or socket.widget is not None or socket.optional:
                continue
            if socket.name in prompt[node_id]["inputs"]:
                continue
            for at in links.way(scope, node, slot):
                off, mode = at.scope.prefix + at.node.id, links.mode(at.scope, at.node)
                switched = off in links.modes or links.modes.get(node_id) == ACTIVE
                if mode in OFF and switched and at.side == "output":
                    label = at.scope.label(at.node)
                    yield Broken(node_id, socket.name, off, label, mode, off in links.modes)
                    break


def _running(prompt: Prompt, places: Mapping[str, tuple[Scope, LoadedNode]]) -> list[str]:
    outputs = [i for i in places if (kind := places[i][1].type) is not None and kind.is_output_node]
    waiting = list(outputs)
    found: set[str] = set()
    while waiting:
        node_id = waiting.pop()
        if node_id in found or node_id not in places:
            continue
        found.add(node_id)
        values = prompt[node_id]["inputs"].values()
        waiting += [str(value[0]) for value in values if is_link(value)]
    return [node_id for node_id in prompt if node_id in found]
