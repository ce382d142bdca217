"""Load a saved workflow as the editor does: sockets linked, widgets filled, primitives applied.

A node gets the layout of its type (``widgets.py``) and the values of the file
(``widget_values.py``). Follows frontend 1.58.1: LGraph.configure, LGraphNode.configure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from comfyui_pipeline.workflow.convert import primitives, subgraphs, widget_values, widgets
from comfyui_pipeline.workflow.convert.document import Link, UiGraph, UiNode, UiWorkflow
from comfyui_pipeline.workflow.convert.loaded_graph import (
    LoadedDocument,
    LoadedGraph,
    LoadedNode,
    SubgraphInput,
)
from comfyui_pipeline.workflow.convert.widgets import Layout, Socket
from comfyui_pipeline.workflow.schema import ANY_TYPE, COMBO, MATCH_TYPE, NodeType

MAX_SORTED_SOCKETS = 1000
"""Sockets that only the file has and that are sorted into their group; the others go to the end."""

MAX_LISTED = 12
"""Inputs that one note lists."""

NodeTypes = Mapping[str, NodeType]


def load(workflow: UiWorkflow, types: NodeTypes) -> LoadedDocument:
    """Load a workflow. Nodes whose type is not in ``types`` keep the sockets of the file.

    Raises WorkflowError for more nodes or subgraph inputs than are supported.
    """
    document = LoadedDocument(LoadedGraph("", {}, {}, [], ()), {})
    for key, graph in workflow.definitions.items():  # innermost first
        document.definitions[key] = _load_graph(graph, types, document)
    document.root = _load_graph(workflow.root, types, document)
    editor_types = workflow.editor_types()
    for node in document.all_nodes():
        node.editor_only = not node.virtual and node.type is None and node.ui.type in editor_types
        for widget in node.widgets:
            widget_values.normalize(widget)
    for loaded in document.graphs:
        primitives.apply(loaded)
    return document


def _load_graph(ui: UiGraph, types: NodeTypes, document: LoadedDocument) -> LoadedGraph:
    document.count(nodes=len(ui.nodes))
    inputs = [SubgraphInput(slot.name, slot.type, list(slot.links)) for slot in ui.inputs]
    graph = LoadedGraph(ui.name, {}, dict(ui.links), inputs, ui.outputs, raw=ui.raw)
    by_target: dict[str, list[Link]] = {}
    for link in ui.links.values():
        by_target.setdefault(link.target, []).append(link)
    for ui_node in ui.nodes:
        if ui_node.id in ui.controllers and ui_node.type not in types:
            continue  # it exists only in the editor
        definition = document.definitions.get(ui_node.type)
        if definition is not None:
            node = subgraphs.new_instance(ui_node, definition, document)
        else:
            node = _new_node(ui_node, types.get(ui_node.type))
        _connect(node, by_target.get(node.id, ()), ui.links)
        if node.type is not None:
            _fill_widgets(node)
        graph.nodes[node.id] = node
    for node in graph.nodes.values():
        if node.subgraph is not None:
            subgraphs.promote_listed_widgets(node, document)
    return graph


def _new_node(ui: UiNode, node_type: NodeType | None) -> LoadedNode:
    if node_type is None:
        sockets = [Socket(s.name, s.type, optional=True) for s in ui.inputs]
        return LoadedNode(ui, None, list(ui.outputs), Layout(sockets))
    outputs = [_output_type(kind) for kind in node_type.outputs]
    outputs += ui.outputs[len(outputs) :]
    node = LoadedNode(ui, node_type, outputs, widgets.layout(node_type))
    known = {socket.name for socket in node.sockets}
    hidden = {widget.name: widget for widget in node.widgets if widget.name not in known}
    extra = [
        Socket(s.name, s.type, hidden.get(s.name) if s.widget else None, optional=True)
        for s in ui.inputs
        if s.name not in known
    ]
    for socket in extra[:MAX_SORTED_SOCKETS]:
        group = socket.name.rpartition(".")[0]
        same = [i for i, s in enumerate(node.sockets) if group and s.name.startswith(group + ".")]
        node.sockets.insert(same[-1] + 1 if same else len(node.sockets), socket)
    node.sockets.extend(extra[MAX_SORTED_SOCKETS:])
    return node


def _output_type(kind: str) -> str:
    if kind.startswith("["):
        return COMBO
    return "*" if kind == MATCH_TYPE else kind


def _connect(node: LoadedNode, arriving: Sequence[Link], links: Mapping[int, Link]) -> None:
    """Put each link on the socket that the file names for it, else on its slot if that is free.

    A slot is one of the file's inputs, whose order may not be that of the node type.
    """
    named: set[int] = set()
    sockets = {socket.name: socket for socket in reversed(node.sockets)}
    for saved in node.ui.inputs:
        socket = sockets.get(saved.name)
        if saved.link is None or socket is None:
            continue
        link = links.get(saved.link)
        if link is not None and link.target == node.id:
            if link.id not in named:
                socket.link = link.id
            named.add(link.id)
        elif link is None and socket.link is None:
            socket.link = saved.link  # a dead link: reported when it is followed
    for link in arriving:
        if link.id in named or link.target_slot < 0:
            continue
        slot = link.target_slot
        name = node.ui.inputs[slot].name if slot < len(node.ui.inputs) else ""
        socket = (
            sockets.get(name)
            if name in sockets
            else next(iter(node.sockets[slot : slot + 1]), None)
        )
        if socket is not None and socket.link is None:
            socket.link = link.id


def _fill_widgets(node: LoadedNode) -> None:
    if node.type is None:
        return
    repaired = widget_values.assign(node.layout, node.ui.values, node.type)
    left = widget_values.left_over(node.layout, node.ui.values)
    if repaired:
        node.unplaced.append(f"Node {node.ui.label}: {repaired}.")
    elif left:
        listed = ", ".join(
            json.dumps(value, ensure_ascii=False)[:60] for value in left[:MAX_LISTED]
        )
        node.unplaced.append(
            f"Node {node.ui.label}: the server's node type has no place for these saved values, which "
            f"were left out: {listed}. If they matter, the server has another version of it."
        )
    node.unplaced += _drop_unknown_sockets(node, node.type)


def _drop_unknown_sockets(node: LoadedNode, node_type: NodeType) -> list[str]:
    """Drop the sockets of widgets that the node type does not have. Returns notes on their links.

    The one behind a dropped socket stays: the editor removes them while it walks the list
    (frontend 1.58.1, extensions/core/widgetInputs.ts, onGraphConfigured). Also dropped: unknown sockets
    for anything, of a type that is never run.
    """
    linked: list[str] = []
    if not (node_type.outputs or node_type.is_output_node):
        known = {spec.name for spec in node_type.inputs}
        idle = [s for s in node.sockets if s.type in ANY_TYPE and s.name not in known]
        linked = [socket.name for socket in idle if socket.link is not None]
        node.layout.sockets = [s for s in node.sockets if s.type not in ANY_TYPE or s.name in known]
    as_widget = {saved.name for saved in node.ui.inputs if saved.widget}
    as_widget -= {widget.name for widget in node.widgets}
    as_widget -= {spec.name for spec in node_type.inputs}
    kept: list[Socket] = []
    dropped = False
    for socket in node.sockets:
        unknown = socket.widget is None and socket.name in as_widget
        dropped = unknown and not dropped
        if not dropped:
            kept.append(socket)
        if unknown and socket.link is not None:
            linked.append(socket.name)
    node.layout.sockets = kept
    if not linked:
        return []
    names = ", ".join(repr(name[:80]) for name in linked[:MAX_LISTED])
    more = f" and {len(linked) - MAX_LISTED} more" if len(linked) > MAX_LISTED else ""
    return [
        f"Node {node.ui.label}: the workflow links inputs that the server's node type does not have: "
        f"{names}{more}. If the node fails, the server has another version of it."
    ]
