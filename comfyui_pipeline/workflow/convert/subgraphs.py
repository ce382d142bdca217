"""Instances of subgraphs: the widgets that they promote, and the values that they hold for them.

An instance has an input for each input of its definition; one that leads to an inner widget shows
that widget and holds its value. Files of older versions list such widgets in ``proxyWidgets``
instead; they become inputs of the definition here. Follows frontend 1.58.1: SubgraphNode.ts,
proxyWidgetMigration.ts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from comfyui_pipeline.workflow.convert.document import SUBGRAPH_INPUT, Link, UiNode
from comfyui_pipeline.workflow.convert.loaded_graph import (
    LoadedDocument,
    LoadedGraph,
    LoadedNode,
    Promotions,
    SubgraphInput,
)
from comfyui_pipeline.workflow.convert.primitives import is_primitive
from comfyui_pipeline.workflow.convert.widgets import NO_VALUE, Socket, Widget

QUARANTINE = "proxyWidgetErrorQuarantine"
NODE_PREFIX = re.compile(r"\s*(\d+)\s*:\s*")


def new_instance(ui: UiNode, definition: LoadedGraph, document: LoadedDocument) -> LoadedNode:
    """An instance with the widgets that its definition promotes and the values of the file."""
    document.count(sockets=len(definition.inputs) + len(definition.outputs))
    outputs = [slot.type for slot in definition.outputs]
    instance = LoadedNode(ui, None, outputs, subgraph=definition)
    is_group = "#" in ui.type and ui.type.startswith("workflow")
    if is_group:
        _spread_group_values(instance, definition)
    for slot in definition.inputs:
        instance.sockets.append(_new_socket(definition, slot))
    definition.instances.append(instance)
    if is_group:
        return instance
    _take_saved_values(instance, definition, document)
    for name, value in _quarantined_values(ui):
        widget = instance.widget(name)
        if widget is not None and value is not NO_VALUE:
            widget.value = value
    return instance


def _new_socket(definition: LoadedGraph, slot: SubgraphInput) -> Socket:
    return Socket(slot.name, slot.type, _promoted_widget(definition, slot), optional=True)


def _promoted_widget(definition: LoadedGraph, slot: SubgraphInput) -> Widget | None:
    """A copy of the inner widget that an input leads to, under the name of the input."""
    for link_id in slot.links:
        target = definition.target_of(link_id)
        if target is not None and target[1].widget is not None:
            widget = copy(target[1].widget)
            widget.name = slot.name
            return widget
    return None


def _take_saved_values(
    instance: LoadedNode, definition: LoadedGraph, document: LoadedDocument
) -> None:
    """The file lists a value for each input that had a widget when it was saved."""
    values = instance.ui.values if isinstance(instance.ui.values, Sequence) else ()
    names = [socket.name for socket in instance.sockets if socket.widget is not None]
    saved = [socket.name for socket in _saved_sockets(instance, definition)]
    if saved != names and len(values) == len(saved):
        present = set(names)
        missing = ", ".join([name[:80] for name in saved if name not in present][:12])
        document.notes.append(
            f"Node {instance.ui.label}: the server's node types have no widget for {missing}; the "
            "other values were assigned correctly."
        )
        names = saved
    by_name = dict(zip(names, values, strict=False))
    for socket in instance.sockets:
        if socket.widget is not None and socket.name in by_name:
            socket.widget.value = by_name[socket.name]


def _saved_sockets(instance: LoadedNode, definition: LoadedGraph) -> list[Socket]:
    """The inputs of an instance that had a widget when it was saved."""
    return [
        socket
        for slot, socket in zip(definition.inputs, instance.sockets, strict=True)
        if socket.widget is not None or _had_widget(definition, slot)
    ]


def saved_widgets(instance: LoadedNode) -> list[Widget | None]:
    """The widget for each value that an instance saves; None for one that no node type has now."""
    definition = instance.subgraph
    if definition is None:
        return []
    saved = _saved_sockets(instance, definition)
    values = instance.ui.values if isinstance(instance.ui.values, Sequence) else ()
    if any(socket.widget is None for socket in saved) and len(values) != len(saved):
        saved = [socket for socket in saved if socket.widget is not None]
    return [socket.widget for socket in saved]


def _had_widget(definition: LoadedGraph, slot: SubgraphInput) -> bool:
    """Whether the file marks the inner end of this input as a widget."""
    for link_id in slot.links:
        link = definition.links.get(link_id)
        node = definition.nodes.get(link.target) if link else None
        for saved in node.ui.inputs if node else ():
            if saved.link == link_id and saved.widget:
                return True
    return False


def _quarantined_values(ui: UiNode) -> Iterator[tuple[str, Any]]:
    """Values that an earlier load could not assign by id, saved under the name of the input."""
    entries = ui.properties.get(QUARANTINE)
    for entry in entries if isinstance(entries, list) else ():
        if (name := _quarantined_name(entry)) is not None:
            yield name, entry.get("hostValue", NO_VALUE)


def _quarantined_name(entry: Any) -> str | None:
    original = entry.get("originalEntry") if isinstance(entry, dict) else None
    if isinstance(original, list) and original[:1] == ["-1"] and len(original) > 1:
        return str(original[1])
    return None


def without_quarantined(properties: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    """The properties of an instance without such values for the inputs ``names``."""
    entries = properties.get(QUARANTINE)
    if not isinstance(entries, list):
        return properties
    kept = [entry for entry in entries if _quarantined_name(entry) not in names]
    return {**properties, QUARANTINE: kept}


def _spread_group_values(instance: LoadedNode, definition: LoadedGraph) -> None:
    """The values of a group node are those of its inner nodes, one list after the other."""
    values = instance.ui.values if isinstance(instance.ui.values, Sequence) else ()
    for widget, value in zip(group_widgets(definition), values, strict=False):
        widget.value = value


def group_widgets(definition: LoadedGraph) -> list[Widget]:
    """The widgets of which a group node saves the values, in that order.

    Those that were made inputs come last, each with its control (frontend, groupNode.ts).
    """
    plain: list[Widget] = []
    converted: list[Widget] = []
    for node in definition.nodes.values():
        linked = _widgets_linked_inside(node, definition)
        as_input = {saved.name for saved in node.ui.inputs if saved.widget}
        found = plain
        for widget in node.widgets:
            if widget.sent:
                found = converted if widget.name in as_input else plain
            if id(widget) not in linked and widget.type != "BUTTON":
                found.append(widget)
    return plain + converted


def _widgets_linked_inside(node: LoadedNode, definition: LoadedGraph) -> set[int]:
    """The ids (``id()``) of widgets that another node of the group sets: they have no saved value."""
    linked = set()
    for socket in node.sockets:
        if socket.widget is not None and socket.link is not None:
            link = definition.links.get(socket.link)
            if link is None or link.origin != SUBGRAPH_INPUT:
                linked.add(id(socket.widget))
    return linked


# -- promoted widgets of older files ---------------------------------------------------------------


def promote_listed_widgets(instance: LoadedNode, document: LoadedDocument) -> None:
    """Add an input for each inner widget in ``proxyWidgets``, with the value of the instance."""
    definition = instance.subgraph
    entries = instance.ui.properties.get("proxyWidgets")
    if definition is None or not isinstance(entries, list) or not all(map(_is_entry, entries)):
        return
    values = instance.ui.values if isinstance(instance.ui.values, Sequence) else ()
    for number, entry in enumerate(entries):
        value = values[number] if number < len(values) else NO_VALUE
        node_id, name, inner_id = _normalized_entry(definition, *entry)
        position = _position_of(definition, node_id, name, inner_id, document)
        if position is None and node_id == "-1":
            same = (i for i, slot in enumerate(definition.inputs) if slot.name == name)
            position = next(same, None)
        if position is not None:
            instance.listed[position] = number
        widget = instance.sockets[position].widget if position is not None else None
        if value is None and (inner := definition.nodes.get(node_id)) and is_primitive(inner):
            value = NO_VALUE  # the primitive's own
        if widget is not None and value is not NO_VALUE:
            widget.value = value


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) in (2, 3)
        and all(isinstance(part, str) for part in entry)
    )


def _normalized_entry(
    definition: LoadedGraph, node_id: str, name: str, inner_id: str | None = None
) -> tuple[str, str, str | None]:
    """Older lists write ``12: seed`` for a widget of a node inside the node that they name."""
    if _leads_to_widget(definition, node_id, name):
        return node_id, name, inner_id
    start = 0
    while match := NODE_PREFIX.match(name, start):
        end = match.end()
        if end == len(name):
            if name[-1] == ":":
                break  # no name follows
            end -= 1
        inner_id, start = match.group(1), end
    return node_id, name[start:], inner_id


def _leads_to_widget(definition: LoadedGraph, node_id: str, name: str) -> bool:
    graph: LoadedGraph | None = definition
    while graph is not None:
        node = graph.nodes.get(node_id)
        if node is None:
            return False
        if node.subgraph is None:
            return node.widget(name) is not None
        slot = next((slot for slot in node.subgraph.inputs if slot.name == name), None)
        source = _widget_behind(node.subgraph, slot) if slot else None
        if source is None:
            return False
        graph, (node_id, name) = node.subgraph, source
    return False


def _widget_behind(definition: LoadedGraph, slot: SubgraphInput) -> tuple[str, str] | None:
    """The inner node and the name of its widget (or promoted input) that an input leads to."""
    for link_id in slot.links:
        target = definition.target_of(link_id)
        if target is None:
            continue
        node, socket = target
        if node.subgraph is not None:
            return node.id, socket.name
        if socket.widget is not None:
            return node.id, socket.widget.name
    return None


def _promotions(definition: LoadedGraph) -> Promotions:
    if definition.promotions is None:
        sources: dict[tuple[str, str], int] = {}
        for position, slot in enumerate(definition.inputs):
            source = _widget_behind(definition, slot)
            if source is not None:
                sources.setdefault(source, position)
        names = {slot.name for slot in definition.inputs}
        definition.promotions = Promotions(sources, names, max(definition.links, default=0))
    return definition.promotions


def _position_of(
    definition: LoadedGraph,
    node_id: str,
    name: str,
    inner_id: str | None,
    document: LoadedDocument,
) -> int | None:
    """The input that leads to an inner widget; it is added if there is none."""
    position = _promotions(definition).sources.get((node_id, name))
    node = definition.nodes.get(node_id)
    if position is not None or node is None:
        return position
    targets = _promoted_sockets(definition, node, name, inner_id)
    if not targets:
        return None
    document.count(sockets=len(definition.instances))
    base = node.ui.title if is_primitive(node) and node.ui.title else name
    return _add_input(definition, base, targets)


def _add_input(
    definition: LoadedGraph, base_name: str, targets: Sequence[tuple[LoadedNode, Socket]]
) -> int:
    """Add an input with links to ``targets``, also to all instances. Returns its position."""
    index = _promotions(definition)
    slot = SubgraphInput(index.free_name(base_name), targets[0][1].type, [])
    position = len(definition.inputs)
    definition.inputs.append(slot)
    took_over = False
    for node, socket in targets:
        index.last_link += 1
        before = definition.links.get(socket.link) if socket.link is not None else None
        took_over = took_over or (before is not None and before.origin == SUBGRAPH_INPUT)
        number = next(i for i, one in enumerate(node.sockets) if one is socket)
        link = Link(index.last_link, SUBGRAPH_INPUT, position, node.id, number)
        definition.links[link.id] = link
        socket.link = link.id
        slot.links.append(link.id)
    source = _widget_behind(definition, slot)
    if source is not None:
        index.sources.setdefault(source, position)
    if took_over:  # another input no longer leads to its widget
        definition.promotions = None
    for instance in definition.instances:
        instance.sockets.append(_new_socket(definition, slot))
    return position


def _promoted_sockets(
    definition: LoadedGraph, node: LoadedNode, name: str, inner_id: str | None
) -> list[tuple[LoadedNode, Socket]]:
    """The sockets to link for a promoted widget; for one of a primitive node, all its targets."""
    if name.startswith("$$"):
        return []
    if is_primitive(node):
        leaving = [link.id for link in definition.links.values() if link.origin == node.id]
        return [target for link in leaving if (target := definition.target_of(link))]
    socket = _socket_of_widget(node, name, inner_id)
    return [(node, socket)] if socket is not None else []


def _socket_of_widget(node: LoadedNode, name: str, inner_id: str | None) -> Socket | None:
    if node.subgraph is None:
        widget = node.widget(name)
        return node.socket_of(widget) if widget is not None else None
    for socket, slot in zip(node.sockets, node.subgraph.inputs, strict=False):
        source = _widget_behind(node.subgraph, slot)
        if socket.widget is None:
            continue
        if inner_id is not None and source == (inner_id, name):
            return socket
        if inner_id is None and (socket.name == name or (source and source[1] == name)):
            return socket
    return None
