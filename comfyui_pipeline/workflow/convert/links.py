"""Follow a link to the output that really feeds it, or to the value of a promoted widget.

The way leads through reroutes, bypassed nodes, set/get pairs and the borders of subgraphs. Follows
frontend 1.58.1: executionUtil.ts, ExecutableNodeDTO.ts, rerouteNode.ts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.convert.document import BYPASSED, MUTED, SUBGRAPH_INPUT, Link
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedGraph, LoadedNode
from comfyui_pipeline.workflow.convert.virtual_nodes import (
    Setters,
    is_set_or_get,
    passes_on,
    setter_in,
    shared_name,
)
from comfyui_pipeline.workflow.convert.widgets import Socket, Widget
from comfyui_pipeline.workflow.editor_nodes import REROUTE, VIRTUAL_TYPES
from comfyui_pipeline.workflow.schema import ANY_TYPE, types_match
from input_server.light_dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One occurrence of a graph: the root, or the inside of one instance of a subgraph.

    ``prefix`` is put before the ids of its nodes in the prompt. There is one object for each
    occurrence, so scopes are compared by identity.
    """

    graph: LoadedGraph
    prefix: str = ""
    instance: LoadedNode | None = None
    outer: Scope | None = None
    children: dict[str, Scope] = field(default_factory=dict)

    def inside(self, instance: LoadedNode) -> Scope:
        """The scope of the nodes inside an instance of a subgraph."""
        if instance.subgraph is None:
            raise ValueError(f"{instance.id} is not an instance of a subgraph")
        if instance.id not in self.children:
            prefix = f"{self.prefix}{instance.id}:"
            self.children[instance.id] = Scope(instance.subgraph, prefix, instance, self)
        return self.children[instance.id]

    def label(self, node: LoadedNode) -> str:
        return self.prefix + node.ui.label


class PromotedWidget(NamedTuple):
    """The widget that a subgraph instance shows, where a link leads out of the subgraph to it."""

    widget: Widget
    instance: LoadedNode


Source = PromotedWidget | tuple[str, int] | None
"""Where a link comes from: a widget's value, ``(node id, output slot)``, or nothing."""


class Position(NamedTuple):
    """A position on the way along a link: an input or output slot of a node.

    ``target_type``: the type of the input that the link ends at; None at that input itself.
    """

    scope: Scope
    node_id: str
    side: str  # input | output
    slot: int
    target_type: str | None

    @property
    def node(self) -> LoadedNode:
        return self.scope.graph.nodes[self.node_id]


def _at_input(
    scope: Scope, node: LoadedNode, slot: int, target_type: str | None = None
) -> Position:
    return Position(scope, node.id, "input", slot, target_type)


def _at_output(scope: Scope, node: LoadedNode, slot: int, target_type: str) -> Position:
    return Position(scope, node.id, "output", slot, target_type)


Visited = set[tuple[Scope, str, str, int]]


@dataclass(slots=True)
class LinkResolver:
    """Resolves the links of one workflow; results are cached, because chains share their parts.

    ``notes``: receives a message for each dead link that was ignored, and each name that is not set.
    ``modes``: id in the prompt -> mode of nodes that a call switches.
    """

    setters: Setters
    notes: list[str]
    modes: Mapping[str, int] = field(default_factory=dict)
    _sources: dict[Position, Source] = field(default_factory=dict)
    _reroutes: dict[tuple[int, str], tuple[LoadedNode, int] | None] = field(default_factory=dict)

    def mode(self, scope: Scope, node: LoadedNode) -> int:
        """Whether a node runs: as the call says, else as the document does."""
        if not self.modes:
            return node.ui.mode
        return self.modes.get(scope.prefix + node.id, node.ui.mode)

    def way(self, scope: Scope, node: LoadedNode, slot: int) -> list[Position]:
        """The positions that the link of a socket, which ``source`` follows too, leads through."""
        way: list[Position] = []
        visited: Visited = set()
        at: Position | Source = _at_input(scope, node, slot)
        while isinstance(at, Position):
            way.append(at)
            if at.side == "output":
                _visit(at, visited)
                at = self._before_output(at)
            else:
                at = self._before_input(at, visited)
        return way

    def source(self, scope: Scope, node: LoadedNode, slot: int) -> Source:
        """Where the value of an input socket comes from.

        Raises WorkflowError for a circular link, and for a dead link at a required input.
        """
        path: list[Position] = []
        visited: Visited = set()
        at: Position | Source = _at_input(scope, node, slot)
        while isinstance(at, Position):
            if at in self._sources:
                at = self._sources[at]
                break
            path.append(at)
            if at.side == "output":
                _visit(at, visited)
                at = self._before_output(at)
            else:
                at = self._before_input(at, visited)
        for passed in path:
            self._sources[passed] = at
        return at

    def _before_input(self, at: Position, visited: Visited) -> Position | Source:
        scope, node, socket = at.scope, at.node, at.node.sockets[at.slot]
        if socket.link is None:
            return None
        _visit(at, visited)
        link = scope.graph.links.get(socket.link)
        if link is None:
            self._dead_link(scope, node, socket, f"link {socket.link} is not in the file")
            return None
        if link.origin == SUBGRAPH_INPUT and scope.outer is not None:
            return _outside(scope, node, link)
        origin = scope.graph.nodes.get(link.origin)
        if origin is None:
            why = f"it is linked to node {link.origin[:80]}, which is missing"
            self._dead_link(scope, node, socket, why)
            return None
        if not self._fits_through_reroutes(scope.graph, origin, socket):
            return None
        return _at_output(scope, origin, link.origin_slot, at.target_type or socket.type)

    def _dead_link(self, scope: Scope, node: LoadedNode, socket: Socket, why: str) -> None:
        """Note a dead link, or raise WorkflowError if the input is required."""
        label = f"Node {scope.label(node)}"
        if socket.widget is None and not socket.optional:
            raise WorkflowError(
                f"{label}: its input {socket.name!r} has a dead link: {why}.",
                "Open the workflow in ComfyUI, link that input and save it again.",
            )
        self.notes.append(f"{label}: the input {socket.name!r} was left unlinked: {why}.")

    def _fits_through_reroutes(self, graph: LoadedGraph, node: LoadedNode, socket: Socket) -> bool:
        """The editor unlinks an input if reroutes bring it an output of another type."""
        top = self._above_reroutes(graph, node)
        if top is None or top[1] >= len(top[0].outputs):
            return True
        return types_match(top[0].outputs[top[1]], socket.type)

    def _above_reroutes(
        self, graph: LoadedGraph, node: LoadedNode
    ) -> tuple[LoadedNode, int] | None:
        """The node and output that feed a chain of reroutes; None if ``node`` is not a reroute."""
        passed: list[tuple[int, str]] = []
        top: tuple[LoadedNode, int] | None = None
        while node.virtual and node.ui.type == REROUTE:
            key = (id(graph), node.id)
            if key in self._reroutes:
                top = self._reroutes[key]
                break
            self._reroutes[key] = top  # in case the chain is circular
            passed.append(key)
            arriving = graph.links.get(node.sockets[0].link or -1) if node.sockets else None
            above = graph.nodes.get(arriving.origin) if arriving else None
            if arriving is None or above is None:
                top = None
                break
            node, top = above, (above, arriving.origin_slot)
        for key in passed:
            self._reroutes[key] = top
        return top

    def _before_output(self, at: Position) -> Position | Source:
        scope, node, slot, target_type = at.scope, at.node, at.slot, at.target_type or ""
        mode = self.mode(scope, node)
        if mode == MUTED:
            return None
        if mode == BYPASSED:
            replacement = _bypass_input(node, slot, target_type)
            return None if replacement is None else _at_input(scope, node, replacement)
        if node.subgraph is not None:
            return _inside(scope.inside(node), slot, target_type)
        if is_set_or_get(node, self.setters) and node.ui.type not in VIRTUAL_TYPES:
            return self._at_setter(scope, node, target_type)
        if node.virtual or passes_on(node):
            has_input = slot < len(node.sockets)
            return _at_input(scope, node, slot, target_type) if has_input else None
        return scope.prefix + node.id, slot

    def _at_setter(self, scope: Scope, node: LoadedNode, target_type: str) -> Position | None:
        """The linked input of the "Set" node in the nearest scope that has one, or its own."""
        name = shared_name(node)
        setter: LoadedNode | None = node if any(s.link is not None for s in node.sockets) else None
        outer: Scope | None = scope
        while outer is not None:
            setter = setter or setter_in(outer.graph, name, self.setters)
            if setter is not None:
                linked = (i for i, s in enumerate(setter.sockets) if s.link is not None)
                return _at_input(outer, setter, next(linked), target_type)
            outer = outer.outer
        self.notes.append(
            f"Node {scope.label(node)}: no node sets {name[:80]!r}, so what it is linked to gets nothing."
        )
        return None


def _outside(scope: Scope, node: LoadedNode, link: Link) -> Position | Source:
    """Outside of the subgraph, where a link starts at one of its inputs: a link or a widget."""
    instance, outer = scope.instance, scope.outer
    if instance is None or outer is None or link.origin_slot >= len(instance.sockets):
        raise WorkflowError(
            f"Node {scope.label(node)} is linked to an input that its subgraph "
            f"{scope.graph.name[:80]!r} does not have.",
            "Open the workflow in ComfyUI and save it again.",
        )
    socket = instance.sockets[link.origin_slot]
    if socket.link is None:
        return None if socket.widget is None else PromotedWidget(socket.widget, instance)
    return _at_input(outer, instance, link.origin_slot)


def _inside(inner: Scope, slot: int, target_type: str) -> Position | Source:
    """Inside of a subgraph, what feeds its output ``slot``."""
    outputs = inner.graph.outputs
    ids = outputs[slot].links if slot < len(outputs) else ()
    link = next((inner.graph.links[i] for i in ids if i in inner.graph.links), None)
    if link is None:
        return None
    instance, outer = inner.instance, inner.outer
    if link.origin == SUBGRAPH_INPUT and instance is not None and outer is not None:
        if link.origin_slot >= len(instance.sockets):
            return None
        return _at_input(outer, instance, link.origin_slot, target_type)
    origin = inner.graph.nodes.get(link.origin)
    return None if origin is None else _at_output(inner, origin, link.origin_slot, target_type)


def _visit(at: Position, visited: Visited) -> None:
    key = (at.scope, at.node_id, at.side, at.slot)
    if key in visited:
        raise WorkflowError(
            f"Node {at.scope.label(at.node)} has a circular link: there is no executable node in "
            "the loop.",
            "Open the workflow in ComfyUI and remove one of the links.",
        )
    visited.add(key)


def _bypass_input(node: LoadedNode, slot: int, target_type: str) -> int | None:
    """The input that replaces an output of a bypassed node (ExecutableNodeDTO.ts)."""
    sockets = node.sockets
    if target_type in ANY_TYPE:
        return (slot if slot < len(sockets) else 0) if sockets else None
    output_type = node.outputs[slot] if slot < len(node.outputs) else "*"

    def fits(socket: Socket) -> bool:
        return types_match(socket.type, output_type) and types_match(socket.type, target_type)

    if slot < len(sockets) and fits(sockets[slot]):
        return slot
    same = [number for number, socket in enumerate(sockets) if socket.type == target_type]
    fitting = [number for number, socket in enumerate(sockets) if fits(socket)]
    return next(iter(same or fitting), None)
