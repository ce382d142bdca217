"""The file that ComfyUI's editor saves -> graphs of nodes, sockets and links, read but not understood.

Both versions of the file (links as lists, links as objects), subgraph definitions at any depth and
the older group nodes come out as the same values. What the editor puts right while it loads (ids
used twice, links to an occupied socket, renamed classes) is put right here, in the same way
(frontend 1.58.1: LGraph.configure, subgraphDeduplication.ts, linkDeduplication.ts).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.graph import label
from input_server.light_dataclasses import dataclass, replace
from input_server.text_values import parse_count

INLET_NODE = "-10"
OUTLET_NODE = "-20"
"""The ends of a subgraph's inner links that lead to its own inputs and outputs."""

MUTED = 2
BYPASSED = 4

GROUP_PREFIXES = ("workflow>", "workflow/")
MAX_DEFINITIONS = 1000
MAX_ID = 2**53
"""Ids beyond JavaScript's whole numbers are names, never counted on."""


@dataclass(frozen=True, slots=True)
class Link:
    """A wire from one node's output slot to another node's input slot."""

    id: int
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class UiSocket:
    """An input of a node as the file tells it. ``widget``: whether it belongs to a widget."""

    name: str
    type: str
    link: int | None
    widget: bool


@dataclass(frozen=True, slots=True)
class UiNode:
    """One node as the file tells it. ``values`` is what the widgets held, in an order of their own."""

    id: str
    type: str
    mode: int
    title: str
    inputs: tuple[UiSocket, ...]
    outputs: tuple[str, ...]
    values: Sequence[Any] | Mapping[str, Any]
    properties: Mapping[str, Any]

    @property
    def label(self) -> str:
        return label(self.id, self.title, self.type)


@dataclass(frozen=True, slots=True)
class Boundary:
    """An input or output of a subgraph, with the inner links that end there."""

    name: str
    type: str
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UiGraph:
    """The root graph, or a subgraph's definition."""

    name: str
    nodes: tuple[UiNode, ...]
    links: Mapping[int, Link]
    inputs: tuple[Boundary, ...] = ()
    outputs: tuple[Boundary, ...] = ()
    grouped: bool = False  # a group node's: its instance holds the values of all inner widgets


@dataclass(frozen=True, slots=True)
class UiWorkflow:
    """A whole file. A node whose type is a key of ``definitions`` is an instance of that subgraph."""

    root: UiGraph
    definitions: Mapping[str, UiGraph]

    def class_types(self) -> set[str]:
        """The classes to ask the server for."""
        graphs = [self.root, *self.definitions.values()]
        found = {node.type for graph in graphs for node in graph.nodes}
        return found - self.definitions.keys()


def is_ui_format(document: Any) -> bool:
    """Whether this is the editor's own format rather than a prompt."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def read(document: Mapping[str, Any]) -> UiWorkflow:
    """Read a parsed file. Raises WorkflowError for what is no workflow of the editor."""
    try:
        root = _graph(document, "the workflow")
        last_id = _whole(document.get("last_node_id") or _state(document).get("lastNodeId"))
        definitions: dict[str, UiGraph] = {}
        for raw in _all_definitions(document):
            definitions.setdefault(str(raw["id"]), _graph(raw, str(raw.get("name") or raw["id"])))
        groups = _group_nodes(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise WorkflowError(
            f"This is not a workflow that ComfyUI's editor saved ({type(error).__name__}: {error}).",
            "Open it in ComfyUI and save it again.",
        ) from None
    root, definitions = _distinct_ids(root, definitions, last_id)
    root, copies = _own_groups(root, groups)
    return UiWorkflow(root, _leaf_first(definitions) | copies)


def _state(document: Mapping[str, Any]) -> Mapping[str, Any]:
    state = document.get("state")
    return state if isinstance(state, dict) else {}


def _whole(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MAX_ID else 0


# -- reading ---------------------------------------------------------------------------------------


def _graph(raw: Mapping[str, Any], name: str) -> UiGraph:
    nodes: dict[str, UiNode] = {}
    for item in raw.get("nodes") or ():
        node = _node(item)
        nodes.setdefault(node.id, node)
    links = [link for item in raw.get("links") or () if (link := _link(item)) is not None]
    kept, merged = _one_link_per_socket(links, nodes.values())
    return UiGraph(
        name,
        tuple(_with_links(node, merged) for node in nodes.values()),
        {link.id: link for link in reversed(kept)},
        tuple(_boundary(slot, merged) for slot in raw.get("inputs") or ()),
        tuple(_boundary(slot, merged) for slot in raw.get("outputs") or ()),
    )


def _node(raw: Mapping[str, Any]) -> UiNode:
    values = raw.get("widgets_values")
    properties = raw.get("properties")
    title = raw.get("title")
    return UiNode(
        id=str(raw["id"]),
        type=RENAMED.get(str(raw["type"]), str(raw["type"])),
        mode=_whole(raw.get("mode")),
        title=title if isinstance(title, str) else "",
        inputs=tuple(_socket(item) for item in raw.get("inputs") or ()),
        outputs=tuple(_type(item.get("type")) for item in raw.get("outputs") or ()),
        values=values if isinstance(values, (list, dict)) else (),
        properties=properties if isinstance(properties, dict) else {},
    )


def _socket(raw: Mapping[str, Any]) -> UiSocket:
    link = raw.get("link")
    return UiSocket(
        str(raw.get("name", "")),
        _type(raw.get("type")),
        link if isinstance(link, int) else None,
        isinstance(raw.get("widget"), dict),
    )


def _type(raw: Any) -> str:
    """A slot's type; old files hold a combo's own list of choices in its place."""
    return raw if isinstance(raw, str) else "COMBO" if isinstance(raw, list) else "*"


def _link(raw: Any) -> Link | None:
    """None for what is no link; whoever names it by its id is told that it is not there."""
    if isinstance(raw, dict):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        raw = [raw.get(name) for name in names]
    if not isinstance(raw, list) or len(raw) < 5:
        return None
    link_id, origin, origin_slot, target, target_slot = raw[:5]
    if not all(type(number) is int for number in (link_id, origin_slot, target_slot)):
        return None
    if origin_slot < 0 or target_slot < -1:
        return None
    return Link(link_id, str(origin), origin_slot, str(target), target_slot)


def _boundary(raw: Mapping[str, Any], merged: Mapping[int, int]) -> Boundary:
    links = dict.fromkeys(merged.get(i, i) for i in raw.get("linkIds") or ())
    return Boundary(str(raw.get("name", "")), _type(raw.get("type")), tuple(links))


def _one_link_per_socket(
    links: Sequence[Link], nodes: Iterable[UiNode]
) -> tuple[list[Link], dict[int, int]]:
    """The links without rivals for one socket, and for each that went the one that stands for it."""
    named = {socket.link for node in nodes for socket in node.inputs}
    kept: dict[tuple[str, int], Link] = {}
    place_of: dict[int, tuple[str, int]] = {}
    for link in links:
        place = (link.target, link.target_slot)
        rival = kept.setdefault(place, link)
        if rival is link:
            continue
        same = (rival.origin, rival.origin_slot) == (link.origin, link.origin_slot)
        if not same and link.id in named and rival.id not in named:
            kept[place] = link
            place_of[rival.id] = place
        else:
            place_of[link.id] = place
    return list(kept.values()), {i: kept[place].id for i, place in place_of.items()}


def _with_links(node: UiNode, merged: Mapping[int, int]) -> UiNode:
    if not any(socket.link in merged for socket in node.inputs):
        return node
    inputs = tuple(
        socket
        if socket.link is None
        else replace(socket, link=merged.get(socket.link, socket.link))
        for socket in node.inputs
    )
    return replace(node, inputs=inputs)


def _all_definitions(raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every subgraph definition, each followed by those inside it."""
    waiting = [raw]
    while waiting:
        holder = waiting.pop()
        if holder is not raw:
            yield holder
        inner = (holder.get("definitions") or {}).get("subgraphs") or ()
        waiting.extend(reversed(list(inner)))


# -- order and ids ---------------------------------------------------------------------------------


def _distinct_ids(
    root: UiGraph, definitions: Mapping[str, UiGraph], last_id: int
) -> tuple[UiGraph, dict[str, UiGraph]]:
    """Inner ids that the root or an earlier definition uses too get new ones, counted on."""
    used = {node.id for node in root.nodes}
    renamed: dict[str, dict[str, str]] = {}
    for key, graph in definitions.items():
        mine: dict[str, str] = {}
        for node in graph.nodes:
            if node.id in used:
                last_id += 1
                while str(last_id) in used:
                    last_id += 1
                mine[node.id] = str(last_id)
            else:
                last_id = max(last_id, parse_count(node.id, at_most=MAX_ID) or 0)
            used.add(mine.get(node.id, node.id))
        renamed[key] = mine
    fresh = {key: _renumber(graph, renamed, renamed[key]) for key, graph in definitions.items()}
    return _renumber(root, renamed, {}), fresh


def _renumber(
    graph: UiGraph, renamed: Mapping[str, Mapping[str, str]], mine: Mapping[str, str]
) -> UiGraph:
    nodes = tuple(
        _promoting(replace(node, id=mine.get(node.id, node.id)), renamed) for node in graph.nodes
    )
    links = {
        i: replace(
            link,
            origin=mine.get(link.origin, link.origin),
            target=mine.get(link.target, link.target),
        )
        for i, link in graph.links.items()
    }
    return replace(graph, nodes=nodes, links=links)


def _promoting(node: UiNode, renamed: Mapping[str, Mapping[str, str]]) -> UiNode:
    """An instance's list of promoted widgets names inner nodes by id."""
    ids = renamed.get(node.type)
    entries = node.properties.get("proxyWidgets")
    if not ids or not isinstance(entries, list):
        return node
    fresh = [
        [ids.get(str(entry[0]), entry[0]), *entry[1:]]
        if isinstance(entry, list) and entry
        else entry
        for entry in entries
    ]
    return replace(node, properties={**node.properties, "proxyWidgets": fresh})


def _leaf_first(definitions: Mapping[str, UiGraph]) -> dict[str, UiGraph]:
    """Definitions so ordered that each comes after those that it holds. Refuses circles."""
    if len(definitions) > MAX_DEFINITIONS:
        raise WorkflowError(f"The workflow has more than {MAX_DEFINITIONS} subgraphs.")
    holders: dict[str, list[str]] = {key: [] for key in definitions}
    missing: dict[str, int] = {}
    for key, graph in definitions.items():
        held = {node.type for node in graph.nodes} & definitions.keys()
        missing[key] = len(held)
        for inner in held:
            holders[inner].append(key)
    place = {key: number for number, key in enumerate(definitions)}
    ordered: dict[str, UiGraph] = {}
    ready = [key for key, count in missing.items() if not count]
    while ready:
        freed: list[str] = []
        for key in ready:
            ordered[key] = definitions[key]
            for holder in holders[key]:
                missing[holder] -= 1
                if not missing[holder]:
                    freed.append(holder)
        ready = sorted(freed, key=place.__getitem__)
    if len(ordered) < len(definitions):
        circle = [graph.name for key, graph in definitions.items() if key not in ordered]
        names = ", ".join(name[:80] for name in circle[:12])
        raise WorkflowError(f"These subgraphs contain one another: {names}.")
    return ordered


# -- group nodes (before subgraphs) ----------------------------------------------------------------


def _group_nodes(document: Mapping[str, Any]) -> dict[str, UiGraph]:
    groups = (document.get("extra") or {}).get("groupNodes") or {}
    return {str(name): _group(str(name), raw) for name, raw in groups.items()}


def _own_groups(root: UiGraph, groups: Mapping[str, UiGraph]) -> tuple[UiGraph, dict[str, UiGraph]]:
    """Each group node becomes an instance of a subgraph that is its alone: it holds all values."""
    copies: dict[str, UiGraph] = {}
    nodes = []
    for node in root.nodes:
        group = next(
            (groups.get(node.type[len(p) :]) for p in GROUP_PREFIXES if node.type[: len(p)] == p),
            None,
        )
        if group is not None:
            node = replace(node, type=f"{node.type}#{node.id}")
            copies[node.type] = group
        nodes.append(node)
    return replace(root, nodes=tuple(nodes)), copies


def _group(name: str, raw: Mapping[str, Any]) -> UiGraph:
    """A group as a subgraph: inner ids are places, unlinked sockets lead outside, in order."""
    nodes = [_node({**item, "id": place}) for place, item in enumerate(raw["nodes"])]
    links = {
        number: Link(number, str(item[0]), item[1], str(item[2]), item[3])
        for number, item in enumerate(raw.get("links") or (), start=1)
        if item[0] is not None and item[2] is not None
    }
    linked = {(link.target, link.target_slot): link.id for link in links.values()}
    outside = {(str(item[0]), item[1]) for item in raw.get("external") or ()}
    taken = {(link.origin, link.origin_slot) for link in links.values()} - outside
    inlets: dict[str, Boundary] = {}
    outlets: list[Boundary] = []
    for place, node in enumerate(nodes):
        sockets = []
        for slot, socket in enumerate(node.inputs):
            end = linked.get((node.id, slot))
            if end is None:
                end = len(links) + 1
                links[end] = Link(end, INLET_NODE, len(inlets), node.id, slot)
                label = socket.name
                if label in inlets:
                    label = f"{node.title or node.type} {socket.name}"
                while label in inlets:
                    label += "_"
                inlets[label] = Boundary(label, socket.type, (end,))
            sockets.append(replace(socket, link=end))
        nodes[place] = replace(node, inputs=tuple(sockets))
        for slot, kind in enumerate(node.outputs):
            if (node.id, slot) not in taken:
                end = len(links) + 1
                links[end] = Link(end, node.id, slot, OUTLET_NODE, len(outlets))
                outlets.append(Boundary(kind, kind, (end,)))
    return UiGraph(name, tuple(nodes), links, tuple(inlets.values()), tuple(outlets), grouped=True)


def _renamed() -> dict[str, str]:
    """Classes that the editor itself renames when it loads an old file."""
    path = Path(__file__).with_name("renamed_classes.json")
    return dict(json.loads(path.read_text("utf-8")))


RENAMED: Mapping[str, str] = _renamed()
