"""Read the document that ComfyUI's editor saves into graphs of nodes, sockets and links.

Both versions of the format (links as lists or as objects), subgraph definitions at any depth and
the older group nodes give the same structure. Duplicate ids, several links to one socket and
renamed node types are repaired as the editor does when it loads a file (frontend 1.58.1:
LGraph.configure, subgraphDeduplication.ts, linkDeduplication.ts).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import editor_nodes
from comfyui_pipeline.workflow.node_label import node_label
from input_server.light_dataclasses import dataclass, field, replace
from input_server.parse_values import parse_count

SUBGRAPH_INPUT = "-10"
SUBGRAPH_OUTPUT = "-20"
"""Node ids used for the inputs and the outputs of a subgraph in its inner links."""

MUTED = 2
BYPASSED = 4

MAX_DEFINITIONS = 1000
MAX_ID = 2**53
"""Larger ids are not exact integers in JavaScript; they are treated as names."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link from an output slot (``origin``) to an input slot (``target``)."""

    id: int
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class UiSocket:
    """An input of a node as saved. ``widget``: whether it belongs to a widget."""

    name: str
    type: str
    link: int | None
    widget: bool


@dataclass(frozen=True, slots=True)
class UiNode:
    """One node as saved. ``values``: the widget values, by position or by name.

    ``raw``: the node in the document; empty for one inside a group node.
    """

    id: str
    type: str
    mode: int
    title: str
    inputs: tuple[UiSocket, ...]
    outputs: tuple[str, ...]
    values: Sequence[Any] | Mapping[str, Any]
    properties: Mapping[str, Any]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def label(self) -> str:
        return node_label(self.id, self.title, self.type)


@dataclass(frozen=True, slots=True)
class SubgraphSlot:
    """An input or output of a subgraph, with the inner links that are connected to it."""

    name: str
    type: str
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UiGraph:
    """The root graph or a subgraph definition. ``raw``: as the document has it; empty for a group.

    ``controllers``: ids of the nodes by which an extension draws links.
    """

    name: str
    nodes: tuple[UiNode, ...]
    links: Mapping[int, Link]
    inputs: tuple[SubgraphSlot, ...] = ()
    outputs: tuple[SubgraphSlot, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    controllers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class UiWorkflow:
    """A complete file. A node whose type is a key of ``definitions`` is an instance of that subgraph."""

    root: UiGraph
    definitions: Mapping[str, UiGraph]

    def class_types(self) -> set[str]:
        """The node types to request from the server."""
        graphs = [self.root, *self.definitions.values()]
        found = {node.type for graph in graphs for node in graph.nodes}
        return found - self.definitions.keys()

    def editor_types(self) -> frozenset[str]:
        """The node types that exist only in the editor, as far as the document shows."""
        graphs = [self.root, *self.definitions.values()]
        nodes = (node for graph in graphs for node in graph.nodes)
        return editor_nodes.types_of((node.type, node.properties) for node in nodes)


def read_document(document: Mapping[str, Any]) -> UiWorkflow:
    """Read a parsed file. Raises WorkflowError if the editor could not have saved it."""
    from comfyui_pipeline.workflow.convert import group_nodes  # which uses this module

    try:
        root = _graph(document, "the workflow")
        last_id = _count(document.get("last_node_id") or _state(document).get("lastNodeId"))
        definitions: dict[str, UiGraph] = {}
        for raw in _all_definitions(document):
            definitions.setdefault(str(raw["id"]), _graph(raw, str(raw.get("name") or raw["id"])))
        groups = group_nodes.definitions(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise WorkflowError(
            f"The file is not a workflow saved by ComfyUI's editor ({type(error).__name__}: {error}).",
            "Open it in ComfyUI and save it again.",
        ) from None
    root, definitions = _distinct_ids(root, definitions, last_id)
    root, copies = group_nodes.instantiate(root, groups, last_id)
    return UiWorkflow(root, _innermost_first(definitions) | copies)


def _state(document: Mapping[str, Any]) -> Mapping[str, Any]:
    state = document.get("state")
    return state if isinstance(state, dict) else {}


def _count(value: Any) -> int:
    valid = isinstance(value, int) and not isinstance(value, bool)
    return value if valid and 0 <= value <= MAX_ID else 0


# -- reading ---------------------------------------------------------------------------------------


def _graph(raw: Mapping[str, Any], name: str) -> UiGraph:
    nodes: dict[str, UiNode] = {}
    for item in raw.get("nodes") or ():
        node = read_node(item)
        nodes.setdefault(node.id, node)
    links = [link for item in raw.get("links") or () if (link := _link(item)) is not None]
    links, merged = _one_link_per_socket(links, nodes.values())
    controllers = _add_drawn_links(raw, nodes, links)
    return UiGraph(
        name,
        tuple(_with_links(node, merged) for node in nodes.values()),
        {link.id: link for link in reversed(links)},
        tuple(_subgraph_slot(slot, merged) for slot in raw.get("inputs") or ()),
        tuple(_subgraph_slot(slot, merged) for slot in raw.get("outputs") or ()),
        raw,
        controllers,
    )


def read_node(raw: Mapping[str, Any]) -> UiNode:
    """Read a node as it is saved."""
    values = raw.get("widgets_values")
    properties = raw.get("properties")
    title = raw.get("title")
    return UiNode(
        id=str(raw["id"]),
        type=RENAMED.get(str(raw["type"]), str(raw["type"])),
        mode=_count(raw.get("mode")),
        title=title if isinstance(title, str) else "",
        inputs=tuple(_socket(item) for item in raw.get("inputs") or ()),
        outputs=tuple(_type(item.get("type")) for item in raw.get("outputs") or ()),
        values=values if isinstance(values, (list, dict)) else (),
        properties=properties if isinstance(properties, dict) else {},
        raw=raw,
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
    """The type of a slot; old files have the list of choices there for a combo."""
    return raw if isinstance(raw, str) else "COMBO" if isinstance(raw, list) else "*"


def _link(raw: Any) -> Link | None:
    """Read a link; None if it is malformed, which is reported where its id is used."""
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


def _subgraph_slot(raw: Mapping[str, Any], merged: Mapping[int, int]) -> SubgraphSlot:
    links = dict.fromkeys(merged.get(i, i) for i in raw.get("linkIds") or ())
    return SubgraphSlot(str(raw.get("name", "")), _type(raw.get("type")), tuple(links))


def _one_link_per_socket(
    links: Sequence[Link], nodes: Iterable[UiNode]
) -> tuple[list[Link], dict[int, int]]:
    """One link for each target socket, and for each dropped link the id of the one that replaces it."""
    named = {socket.link for node in nodes for socket in node.inputs}
    chosen: dict[tuple[str, int], Link] = {}
    dropped: dict[int, tuple[str, int]] = {}
    for link in links:
        target = (link.target, link.target_slot)
        rival = chosen.setdefault(target, link)
        if rival is link:
            continue
        same = (rival.origin, rival.origin_slot) == (link.origin, link.origin_slot)
        if not same and link.id in named and rival.id not in named:
            chosen[target] = link
            dropped[rival.id] = target
        else:
            dropped[link.id] = target
    return list(chosen.values()), {i: chosen[target].id for i, target in dropped.items()}


def _add_drawn_links(
    raw: Mapping[str, Any], nodes: dict[str, UiNode], links: list[Link]
) -> frozenset[str]:
    """Link the sockets that an extension links when the editor sends a workflow ("use everywhere").

    It saves them as ``extra.ue_links``. Returns the ids of the nodes that control them.
    """
    controllers = set()
    extra = raw.get("extra")
    drawn = extra.get("ue_links") if isinstance(extra, dict) else None
    number = max((link.id for link in links), default=0)
    for entry in drawn if isinstance(drawn, list) else ():
        if not isinstance(entry, dict):
            continue
        target, slot = nodes.get(str(entry.get("downstream"))), entry.get("downstream_slot")
        origin, from_slot = str(entry.get("upstream")), entry.get("upstream_slot")
        controllers.add(str(entry.get("controller")))
        if target is None or not (origin in nodes or origin == SUBGRAPH_INPUT):
            continue
        if type(from_slot) is not int or from_slot < 0:
            continue
        if type(slot) is not int or not 0 <= slot < len(target.inputs):
            continue
        if target.inputs[slot].link is None:
            number += 1
            links.append(Link(number, origin, from_slot, target.id, slot))
            sockets = list(target.inputs)
            sockets[slot] = replace(sockets[slot], link=number)
            nodes[target.id] = replace(target, inputs=tuple(sockets))
    return frozenset(controllers)


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
    """Every subgraph definition, each followed by those that it contains."""
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
    """Give a new id to inner nodes whose id is also used by the root or an earlier definition."""
    used = {node.id for node in root.nodes}
    new_ids: dict[str, dict[str, str]] = {}
    for key, graph in definitions.items():
        mine: dict[str, str] = {}  # old id -> new id
        for node in graph.nodes:
            if node.id in used:
                last_id += 1
                while str(last_id) in used:
                    last_id += 1
                mine[node.id] = str(last_id)
            else:
                last_id = max(last_id, parse_count(node.id, at_most=MAX_ID) or 0)
            used.add(mine.get(node.id, node.id))
        new_ids[key] = mine
    renumbered = {key: renumber(graph, new_ids, new_ids[key]) for key, graph in definitions.items()}
    return renumber(root, new_ids, {}), renumbered


def renumber(
    graph: UiGraph, new_ids: Mapping[str, Mapping[str, str]], mine: Mapping[str, str]
) -> UiGraph:
    """The same graph with other ids for its nodes (``mine``) and in its lists of promoted widgets."""
    nodes = tuple(
        _with_promoted_ids(replace(node, id=mine[node.id]) if node.id in mine else node, new_ids)
        for node in graph.nodes
    )
    return relinked(replace(graph, nodes=nodes), mine)


def relinked(graph: UiGraph, ids: Mapping[str, str]) -> UiGraph:
    """The same graph with links that lead to other node ids."""
    if not ids:
        return graph
    links = {
        number: replace(
            link,
            origin=ids.get(link.origin, link.origin),
            target=ids.get(link.target, link.target),
        )
        if link.origin in ids or link.target in ids
        else link
        for number, link in graph.links.items()
    }
    return replace(graph, links=links)


def _with_promoted_ids(node: UiNode, new_ids: Mapping[str, Mapping[str, str]]) -> UiNode:
    """Use the new ids in an instance's list of promoted widgets, which names inner nodes by id."""
    ids = new_ids.get(node.type)
    entries = node.properties.get("proxyWidgets")
    if not ids or not isinstance(entries, list):
        return node
    updated = [
        [ids.get(str(entry[0]), entry[0]), *entry[1:]]
        if isinstance(entry, list) and entry
        else entry
        for entry in entries
    ]
    return replace(node, properties={**node.properties, "proxyWidgets": updated})


def _innermost_first(definitions: Mapping[str, UiGraph]) -> dict[str, UiGraph]:
    """Sort definitions so that each comes after those that it contains.

    Raises WorkflowError for subgraphs that contain one another, or for more than MAX_DEFINITIONS.
    """
    if len(definitions) > MAX_DEFINITIONS:
        raise WorkflowError(
            f"The workflow has more than {MAX_DEFINITIONS} subgraphs.", "Remove some of them."
        )
    holders: dict[str, list[str]] = {key: [] for key in definitions}
    missing: dict[str, int] = {}
    for key, graph in definitions.items():
        held = {node.type for node in graph.nodes} & definitions.keys()
        missing[key] = len(held)
        for inner in held:
            holders[inner].append(key)
    position = {key: number for number, key in enumerate(definitions)}
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
        ready = sorted(freed, key=position.__getitem__)
    if len(ordered) < len(definitions):
        circle = [graph.name for key, graph in definitions.items() if key not in ordered]
        names = ", ".join(name[:80] for name in circle[:12])
        raise WorkflowError(
            f"These subgraphs contain one another: {names}.",
            "Open the workflow in ComfyUI and take one of them out of the other.",
        )
    return ordered


def _renamed_types() -> dict[str, str]:
    """Old node type -> the type that the editor replaces it by when it loads a file."""
    path = Path(__file__).with_name("renamed_classes.json")
    return dict(json.loads(path.read_text("utf-8")))


RENAMED: Mapping[str, str] = _renamed_types()
