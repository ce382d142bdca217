"""A saved workflow as the editor holds it once it is loaded: sockets linked, widgets filled.

Nodes get what their class gives them (``widgets.py``) and what the file saved (``widget_values.py``).
An instance of a subgraph shows inner widgets as its own and keeps their values; what older files
list as ``proxyWidgets`` becomes such an input first. Primitive nodes write into the widgets they
feed. Follows frontend 1.58.1: LGraph.configure, SubgraphNode.ts, proxyWidgetMigration.ts,
extensions/core/widgetInputs.ts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.convert import widget_values, widgets
from comfyui_pipeline.workflow.convert.document import (
    INLET_NODE,
    Boundary,
    Link,
    UiGraph,
    UiNode,
    UiSocket,
    UiWorkflow,
)
from comfyui_pipeline.workflow.convert.widgets import Layout, Socket, Widget
from comfyui_pipeline.workflow.files import MAX_NODES
from input_server.light_dataclasses import dataclass, field

REROUTE = "Reroute"
PRIMITIVE = "PrimitiveNode"
NOTES = frozenset({"Note", "MarkdownNote"})
VIRTUAL = frozenset({REROUTE, PRIMITIVE}) | NOTES
"""The nodes that only the editor knows: none of them is ever sent."""

LEGACY_PREFIX = re.compile(r"\s*(\d+)\s*:\s*")
MAX_SOCKETS = 1_000_000
"""Sockets of all instances of subgraphs: a small file can ask for the product of two large numbers."""
MOST_SORTED = 1000
"""Sockets beyond those of the class that are put beside the others of their group."""


@dataclass(slots=True)
class LiveNode:
    """A loaded node. ``inner`` is the definition that an instance of a subgraph shows."""

    ui: UiNode
    schema: Mapping[str, Any] | None
    outputs: list[str]
    layout: Layout = field(default_factory=Layout)
    inner: LiveGraph | None = None

    @property
    def id(self) -> str:
        return self.ui.id

    @property
    def sockets(self) -> list[Socket]:
        return self.layout.sockets

    @property
    def widgets(self) -> list[Widget]:
        """Its widgets; for an instance of a subgraph those that it shows, in the order of inputs."""
        if self.inner is None:
            return self.layout.widgets
        return [socket.widget for socket in self.layout.sockets if socket.widget is not None]

    @property
    def title(self) -> str:
        told = (self.schema or {}).get("display_name")
        return self.ui.title or (told if isinstance(told, str) and told else self.ui.type)

    @property
    def virtual(self) -> bool:
        return self.inner is not None or (self.schema is None and self.ui.type in VIRTUAL)

    def widget(self, name: str) -> Widget | None:
        return next((widget for widget in self.widgets if widget.name == name), None)

    def socket_of(self, widget: Widget) -> Socket | None:
        return next((socket for socket in self.sockets if socket.widget is widget), None)


@dataclass(slots=True)
class Inlet:
    """An input of a subgraph and the inner links that it feeds."""

    name: str
    type: str
    links: list[int]


@dataclass(slots=True)
class Promotions:
    """What adding inputs to a definition has to know of those that it has.

    ``sources``: inner node and widget -> the place of the first input that stands for it.
    """

    sources: dict[tuple[str, str], int]
    names: set[str]
    last_link: int
    numbers: dict[str, int] = field(default_factory=dict)  # name -> the last number behind it

    def free_name(self, base: str) -> str:
        name, number = base, self.numbers.get(base, 0)
        while name in self.names:
            number += 1
            name = f"{base}_{number}"
        self.numbers[base] = number
        self.names.add(name)
        return name


@dataclass(slots=True)
class LiveGraph:
    """The root or a definition, loaded. ``hosts`` are the instances of it, wherever they stand."""

    name: str
    nodes: dict[str, LiveNode]
    links: dict[int, Link]
    inlets: list[Inlet]
    outlets: Sequence[Boundary]
    hosts: list[LiveNode] = field(default_factory=list)
    promotions: Promotions | None = None

    def end_of(self, link_id: int) -> tuple[LiveNode, Socket] | None:
        """The node and the socket that a link leads to."""
        link = self.links.get(link_id)
        node = self.nodes.get(link.target) if link else None
        if node is None:
            return None
        return next(((node, s) for s in node.sockets if s.link == link_id), None)


@dataclass(slots=True)
class Editor:
    """A loaded workflow, and what had to be put right while loading it (for people)."""

    root: LiveGraph
    definitions: dict[str, LiveGraph]
    notes: list[str] = field(default_factory=list)
    node_count: int = 0
    socket_count: int = 0

    def count(self, nodes: int = 0, sockets: int = 0) -> None:
        """Count what is being loaded. Raises WorkflowError beyond the limits."""
        self.node_count += nodes
        self.socket_count += sockets
        if self.node_count > MAX_NODES:
            raise WorkflowError(f"The workflow has more than {MAX_NODES} nodes.")
        if self.socket_count > MAX_SOCKETS:
            raise WorkflowError(
                f"The subgraphs of this workflow have more than {MAX_SOCKETS} inputs in all."
            )

    def all_nodes(self) -> Iterator[LiveNode]:
        """Every node, once for each definition: the root's first."""
        for graph in (self.root, *self.definitions.values()):
            yield from graph.nodes.values()


def load(workflow: UiWorkflow, schemas: Mapping[str, Mapping[str, Any]]) -> Editor:
    """Load a workflow beside the schemas of its classes; a class without one stays unknown."""
    editor = Editor(LiveGraph("", {}, {}, [], ()), {})
    for key, graph in workflow.definitions.items():  # leaves first
        editor.definitions[key] = _graph(graph, schemas, editor)
    editor.root = _graph(workflow.root, schemas, editor)
    for node in editor.all_nodes():
        for widget in node.widgets:
            widget_values.settle(widget)
    for live in (editor.root, *editor.definitions.values()):
        _apply_primitives(live)
    return editor


def _graph(ui: UiGraph, schemas: Mapping[str, Mapping[str, Any]], editor: Editor) -> LiveGraph:
    editor.count(nodes=len(ui.nodes))
    inlets = [Inlet(slot.name, slot.type, list(slot.links)) for slot in ui.inputs]
    graph = LiveGraph(ui.name, {}, dict(ui.links), inlets, ui.outputs)
    by_target: dict[str, list[Link]] = {}
    for link in ui.links.values():
        by_target.setdefault(link.target, []).append(link)
    for node in ui.nodes:
        inner = editor.definitions.get(node.type)
        live = _host(node, inner, editor) if inner else _node(node, schemas, editor)
        _connect(live, by_target.get(node.id, ()), ui.links)
        if live.inner is None and live.schema is not None:
            _fill(live, editor)
        graph.nodes[node.id] = live
    for live in graph.nodes.values():
        if live.inner is not None:
            _promote_listed(live, editor)
    return graph


# -- plain nodes -----------------------------------------------------------------------------------


def _node(ui: UiNode, schemas: Mapping[str, Mapping[str, Any]], editor: Editor) -> LiveNode:
    schema = schemas.get(ui.type)
    if schema is None:
        sockets = [Socket(s.name, s.type, optional=True) for s in ui.inputs]
        return LiveNode(ui, None, list(ui.outputs), Layout(sockets))
    kinds = [_output_kind(kind) for kind in schema.get("output") or ()]
    live = LiveNode(ui, schema, kinds + list(ui.outputs[len(kinds) :]), widgets.layout(schema))
    known = {socket.name for socket in live.sockets}
    extra = [_extra(socket) for socket in ui.inputs if socket.name not in known]
    for socket in extra[:MOST_SORTED]:
        group = socket.name.rpartition(".")[0]
        mates = [i for i, s in enumerate(live.sockets) if group and s.name.startswith(group + ".")]
        live.sockets.insert(mates[-1] + 1 if mates else len(live.sockets), socket)
    live.sockets.extend(extra[MOST_SORTED:])
    return live


def _output_kind(kind: Any) -> str:
    if isinstance(kind, list):
        return "COMBO"
    return "*" if kind == widgets.MATCH_TYPE else str(kind)


def _extra(socket: UiSocket) -> Socket:
    return Socket(socket.name, socket.type, optional=True)


def _connect(live: LiveNode, arriving: Sequence[Link], links: Mapping[int, Link]) -> None:
    """Put each link on the socket whose name the file gives it; others on their slot if it is free."""
    named: set[int] = set()
    sockets = {socket.name: socket for socket in reversed(live.sockets)}
    for told in live.ui.inputs:
        socket = sockets.get(told.name)
        if told.link is None or socket is None:
            continue
        link = links.get(told.link)
        if link is not None and link.target == live.id:
            if link.id not in named:
                socket.link = link.id
            named.add(link.id)
        elif link is None and socket.link is None:
            socket.link = told.link  # dead: told when it is followed
    for link in arriving:
        if link.id not in named and 0 <= link.target_slot < len(live.sockets):
            socket = live.sockets[link.target_slot]
            if socket.link is None:
                socket.link = link.id


def _fill(live: LiveNode, editor: Editor) -> None:
    told = widget_values.assign(live.layout, live.ui.values, live.schema or {})
    if told:
        editor.notes.append(f"Node {live.ui.label}: {told}.")
    shown = {told.name for told in live.ui.inputs if told.widget}
    defined = {widget.name for widget in live.widgets}
    live.layout.sockets = [
        socket
        for socket in live.sockets
        if socket.widget is not None or socket.name not in shown or socket.name in defined
    ]


# -- instances of subgraphs ------------------------------------------------------------------------


def _host(ui: UiNode, inner: LiveGraph, editor: Editor) -> LiveNode:
    """An instance: a socket for each input of the definition, with the widget that it shows."""
    editor.count(sockets=len(inner.inlets) + len(inner.outlets))
    host = LiveNode(ui, None, [slot.type for slot in inner.outlets], inner=inner)
    for inlet in inner.inlets:
        host.sockets.append(Socket(inlet.name, inlet.type, _shown(inner, inlet), optional=True))
    inner.hosts.append(host)
    if "#" in ui.type and ui.type.startswith("workflow"):
        _spread_group_values(host, editor)
        return host
    _take_saved(host, inner, editor)
    for name, value in _quarantined(ui):
        widget = host.widget(name)
        if widget is not None and value is not widgets.NO_VALUE:
            widget.value = value
    return host


def _take_saved(host: LiveNode, inner: LiveGraph, editor: Editor) -> None:
    """The saved values belong to the inputs that had a widget then, whatever has one now."""
    values = host.ui.values if isinstance(host.ui.values, Sequence) else ()
    shown = [socket.name for socket in host.sockets if socket.widget is not None]
    then = [
        inlet.name
        for inlet, socket in zip(inner.inlets, host.sockets, strict=True)
        if socket.widget is not None or _had_widget(inner, inlet)
    ]
    if then != shown and len(values) == len(then):
        still = set(shown)
        gone = ", ".join([name[:80] for name in then if name not in still][:12])
        editor.notes.append(
            f"Node {host.ui.label}: what it shows of {gone} is not in this server's classes; the "
            "other values kept their places."
        )
        shown = then
    by_name = dict(zip(shown, values, strict=False))
    for socket in host.sockets:
        if socket.widget is not None and socket.name in by_name:
            socket.widget.value = by_name[socket.name]


def _had_widget(inner: LiveGraph, inlet: Inlet) -> bool:
    """Whether the file tells of a widget at the inner end of this input."""
    for link_id in inlet.links:
        link = inner.links.get(link_id)
        node = inner.nodes.get(link.target) if link else None
        for socket in node.ui.inputs if node else ():
            if socket.link == link_id and socket.widget:
                return True
    return False


def _shown(inner: LiveGraph, inlet: Inlet) -> Widget | None:
    """A widget of the instance's own for an input that feeds an inner widget, with its value."""
    for link_id in inlet.links:
        end = inner.end_of(link_id)
        if end is not None and end[1].widget is not None:
            shown = copy(end[1].widget)
            shown.name = inlet.name
            return shown
    return None


def _quarantined(ui: UiNode) -> Iterator[tuple[str, Any]]:
    """Values that an earlier load could not place by id, kept by the input's name."""
    entries = ui.properties.get("proxyWidgetErrorQuarantine")
    for entry in entries if isinstance(entries, list) else ():
        original = entry.get("originalEntry") if isinstance(entry, dict) else None
        if isinstance(original, list) and original[:1] == ["-1"] and len(original) > 1:
            yield str(original[1]), entry.get("hostValue", widgets.NO_VALUE)


def _spread_group_values(host: LiveNode, editor: Editor) -> None:
    """A group node's list of values is its inner nodes' lists, one after the other."""
    values = list(host.ui.values) if isinstance(host.ui.values, Sequence) else []
    values.reverse()
    for node in host.inner.nodes.values() if host.inner else ():
        inside = {id(s.widget) for s in node.sockets if s.widget is not None and s.link is not None}
        if host.inner is not None:
            for socket in node.sockets:
                link = host.inner.links.get(socket.link) if socket.link is not None else None
                if link is not None and link.origin == INLET_NODE and socket.widget is not None:
                    inside.discard(id(socket.widget))
        for widget in node.widgets:
            if id(widget) in inside or widget.type == "BUTTON":
                continue
            if not values:
                return
            widget.value = values.pop()


# -- promoted widgets of older files ---------------------------------------------------------------


def _promote_listed(host: LiveNode, editor: Editor) -> None:
    """Make an input of each inner widget that ``proxyWidgets`` lists, with the instance's value."""
    entries = host.ui.properties.get("proxyWidgets")
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        return
    values = host.ui.values if isinstance(host.ui.values, Sequence) else ()
    for place, entry in enumerate(entries):
        value = values[place] if place < len(values) else widgets.NO_VALUE
        _promote(host, *_normal_entry(host, *entry), value, editor)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) in (2, 3)
        and all(isinstance(part, str) for part in entry)
    )


def _normal_entry(
    host: LiveNode, node_id: str, name: str, within: str | None = None
) -> tuple[str, str, str | None]:
    """Older lists write ``12: seed`` for a widget of a node inside the node they name."""
    if _leads_to_widget(host, node_id, name):
        return node_id, name, within
    place = 0
    while match := LEGACY_PREFIX.match(name, place):
        end = match.end()
        if end == len(name):
            if name[-1] == ":":
                break  # nothing is named
            end -= 1
        within, place = match.group(1), end
    return node_id, name[place:], within


def _leads_to_widget(host: LiveNode, node_id: str, name: str) -> bool:
    graph = host.inner
    while graph is not None:
        node = graph.nodes.get(node_id)
        if node is None:
            return False
        if node.inner is None:
            return node.widget(name) is not None
        inlet = next((i for i in node.inner.inlets if i.name == name), None)
        source = _source(node.inner, inlet) if inlet else None
        if source is None:
            return False
        graph, (node_id, name) = node.inner, source
    return False


def _source(inner: LiveGraph, inlet: Inlet) -> tuple[str, str] | None:
    """The inner node and widget that an input stands for."""
    for link_id in inlet.links:
        end = inner.end_of(link_id)
        if end is None:
            continue
        node, socket = end
        if node.inner is not None:
            return node.id, socket.name
        if socket.widget is not None:
            return node.id, socket.widget.name
    return None


def _promotions(inner: LiveGraph) -> Promotions:
    if inner.promotions is None:
        sources: dict[tuple[str, str], int] = {}
        for place, inlet in enumerate(inner.inlets):
            source = _source(inner, inlet)
            if source is not None:
                sources.setdefault(source, place)
        names = {inlet.name for inlet in inner.inlets}
        inner.promotions = Promotions(sources, names, max(inner.links, default=0))
    return inner.promotions


def _promote(
    host: LiveNode, node_id: str, name: str, within: str | None, value: Any, editor: Editor
) -> None:
    inner = host.inner
    if inner is None:
        return
    place = _promotions(inner).sources.get((node_id, name))
    if place is None:
        place = _new_inlet(inner, node_id, name, within, editor)
    if place is None:
        by_name = node_id == "-1" and value is not widgets.NO_VALUE
        place = next((i for i, x in enumerate(inner.inlets) if by_name and x.name == name), None)
    widget = host.sockets[place].widget if place is not None else None
    if widget is not None and value is not widgets.NO_VALUE:
        widget.value = value


def _new_inlet(
    inner: LiveGraph, node_id: str, name: str, within: str | None, editor: Editor
) -> int | None:
    """Link a new input of the definition to that inner widget; gives its place, None if it cannot."""
    node = inner.nodes.get(node_id)
    targets = _promoted(inner, node, name, within) if node is not None else []
    if node is None or not targets:
        return None
    editor.count(sockets=len(inner.hosts))
    known = _promotions(inner)
    base = node.ui.title if node.ui.type == PRIMITIVE and node.ui.title else name
    inlet = Inlet(known.free_name(base), targets[0][1].type, [])
    place = len(inner.inlets)
    inner.inlets.append(inlet)
    replaced = False
    for target, socket in targets:
        known.last_link += 1
        link_id = known.last_link
        slot = next(i for i, one in enumerate(target.sockets) if one is socket)
        before = inner.links.get(socket.link) if socket.link is not None else None
        replaced = replaced or (before is not None and before.origin == INLET_NODE)
        inner.links[link_id] = Link(link_id, INLET_NODE, place, target.id, slot)
        socket.link = link_id
        inlet.links.append(link_id)
    source = _source(inner, inlet)
    if source is not None:
        known.sources.setdefault(source, place)
    if replaced:  # another input has lost its inner end
        inner.promotions = None
    for other in inner.hosts:
        other.sockets.append(Socket(inlet.name, inlet.type, _shown(inner, inlet), optional=True))
    return place


def _promoted(
    inner: LiveGraph, node: LiveNode, name: str, within: str | None
) -> list[tuple[LiveNode, Socket]]:
    """The inner sockets that a promoted widget stands for; a primitive stands for what it feeds."""
    if name.startswith("$$"):
        return []
    if node.virtual and node.ui.type == PRIMITIVE:
        ends = [link for link in inner.links.values() if link.origin == node.id]
        return [end for link in ends if (end := inner.end_of(link.id))]
    socket = _inner_socket(node, name, within)
    return [(node, socket)] if socket is not None else []


def _inner_socket(node: LiveNode, name: str, within: str | None) -> Socket | None:
    if node.inner is None:
        widget = node.widget(name)
        return node.socket_of(widget) if widget is not None else None
    for socket, inlet in zip(node.sockets, node.inner.inlets, strict=False):
        source = _source(node.inner, inlet)
        if socket.widget is None:
            continue
        if within is not None and source == (within, name):
            return socket
        if within is None and (socket.name == name or (source and source[1] == name)):
            return socket
    return None


# -- primitive nodes -------------------------------------------------------------------------------


def _apply_primitives(graph: LiveGraph) -> None:
    primitives = [
        node for node in graph.nodes.values() if node.virtual and node.ui.type == PRIMITIVE
    ]
    if not primitives:
        return
    leaving: dict[str, list[int]] = {}
    for link in graph.links.values():
        leaving.setdefault(link.origin, []).append(link.id)
    for node in primitives:
        _apply_primitive(graph, node, sorted(leaving.get(node.id, ())))


def _apply_primitive(graph: LiveGraph, node: LiveNode, links: Sequence[int]) -> None:
    """Write its value into every widget that it feeds."""
    ends = [end for link_id in links if (end := graph.end_of(link_id))]
    if not ends:
        return
    first = ends[0][1]
    kind = first.widget.type if first.widget is not None else first.type
    if kind not in widgets.WIDGETS:
        return
    values = node.ui.values if isinstance(node.ui.values, Sequence) else ()
    if values and node.ui.outputs[:1] == (kind,):
        value = values[0]
    elif first.widget is not None:
        value = first.widget.value
    else:
        return
    if len(ends) > 1:
        value = _within_all(value, [socket.widget for _, socket in ends])
    for _, socket in ends:
        if socket.widget is not None:
            socket.widget.value = value


def _within_all(value: Any, fed: Sequence[Widget | None]) -> Any:
    """A number that feeds several widgets is kept inside the range that they share."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return value
    lows, highs = [], []
    for widget in fed:
        if widget is not None and widget.type in ("INT", "FLOAT"):
            lows.append(widget.options.get("min", float("-inf")))
            highs.append(widget.options.get("max", float("inf")))
    if not lows or max(lows) > min(highs):
        return value
    return min(max(value, max(lows)), min(highs))
