"""The workflow as the editor holds it after loading a file: nodes with linked sockets and widgets.

``loading.py`` creates it, ``links.py`` and ``prompt.py`` turn it into a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.convert.document import Link, SubgraphSlot, UiNode
from comfyui_pipeline.workflow.convert.widgets import Layout, Socket, Widget
from comfyui_pipeline.workflow.editor_nodes import VIRTUAL_TYPES
from comfyui_pipeline.workflow.files import MAX_NODES
from comfyui_pipeline.workflow.schema import NodeType
from input_server.light_dataclasses import dataclass, field

MAX_SOCKETS = 1_000_000
"""Sockets of all subgraph instances: a small file can ask for the product of two large numbers."""


@dataclass(slots=True)
class LoadedNode:
    """A node. ``type``: its node type, None if the server does not have it or it is virtual.

    ``subgraph``: the definition of which this node is an instance. ``listed``: position of its inputs
    -> position of their values, where the file lists these by ``proxyWidgets``. ``editor_only``: whether
    the server lacks its type, which exists only in the editor as far as the document shows.
    ``unplaced``: sentences on saved values and links that its type has no place for.
    """

    ui: UiNode
    type: NodeType | None
    outputs: list[str]
    layout: Layout = field(default_factory=Layout)
    subgraph: LoadedGraph | None = None
    listed: dict[int, int] = field(default_factory=dict)
    editor_only: bool = False
    unplaced: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.ui.id

    @property
    def sockets(self) -> list[Socket]:
        return self.layout.sockets

    @property
    def widgets(self) -> list[Widget]:
        """Its widgets; of a subgraph instance the promoted ones, in the order of its inputs."""
        if self.subgraph is None:
            return self.layout.widgets
        return [socket.widget for socket in self.layout.sockets if socket.widget is not None]

    @property
    def title(self) -> str:
        return self.ui.title or (self.type.display_name if self.type else "") or self.ui.type

    @property
    def virtual(self) -> bool:
        """Whether the node is never sent itself."""
        return self.subgraph is not None or (self.type is None and self.ui.type in VIRTUAL_TYPES)

    def widget(self, name: str) -> Widget | None:
        return next((widget for widget in self.widgets if widget.name == name), None)

    def socket_of(self, widget: Widget) -> Socket | None:
        return next((socket for socket in self.sockets if socket.widget is widget), None)


@dataclass(slots=True)
class SubgraphInput:
    """An input of a subgraph and the inner links that start there."""

    name: str
    type: str
    links: list[int]


@dataclass(slots=True)
class Promotions:
    """The inputs of a subgraph, indexed for adding more.

    ``sources``: (inner node, widget) -> position of the first input that is linked to it.
    """

    sources: dict[tuple[str, str], int]
    names: set[str]
    last_link: int
    suffixes: dict[str, int] = field(default_factory=dict)  # name -> the last number put behind it

    def free_name(self, base: str) -> str:
        """``base``, or ``base_1``, ``base_2``, … if an input has that name."""
        name, number = base, self.suffixes.get(base, 0)
        while name in self.names:
            number += 1
            name = f"{base}_{number}"
        self.suffixes[base] = number
        self.names.add(name)
        return name


@dataclass(slots=True)
class LoadedGraph:
    """The root graph or a subgraph definition. ``instances``: all nodes that show this definition.

    ``raw``: the graph in the document.
    """

    name: str
    nodes: dict[str, LoadedNode]
    links: dict[int, Link]
    inputs: list[SubgraphInput]
    outputs: Sequence[SubgraphSlot]
    instances: list[LoadedNode] = field(default_factory=list)
    promotions: Promotions | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)

    def target_of(self, link_id: int) -> tuple[LoadedNode, Socket] | None:
        """The node and the socket that a link leads to."""
        link = self.links.get(link_id)
        node = self.nodes.get(link.target) if link else None
        if node is None:
            return None
        return next(((node, s) for s in node.sockets if s.link == link_id), None)


@dataclass(slots=True)
class LoadedDocument:
    """A loaded workflow. ``notes``: what was repaired while loading, for the caller."""

    root: LoadedGraph
    definitions: dict[str, LoadedGraph]
    notes: list[str] = field(default_factory=list)
    node_count: int = 0
    socket_count: int = 0

    def count(self, nodes: int = 0, sockets: int = 0) -> None:
        """Count what is loaded. Raises WorkflowError beyond MAX_NODES and MAX_SOCKETS."""
        self.node_count += nodes
        self.socket_count += sockets
        if self.node_count > MAX_NODES:
            raise WorkflowError(f"The workflow has more than {MAX_NODES} nodes.")
        if self.socket_count > MAX_SOCKETS:
            raise WorkflowError(
                f"The subgraphs of this workflow have more than {MAX_SOCKETS} inputs in total."
            )

    @property
    def graphs(self) -> tuple[LoadedGraph, ...]:
        return (self.root, *self.definitions.values())

    def all_nodes(self) -> Iterator[LoadedNode]:
        """Every node, once for each definition: those of the root first."""
        for graph in self.graphs:
            yield from graph.nodes.values()
