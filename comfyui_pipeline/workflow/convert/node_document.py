"""Nodes of a prompt as the editor's document has them, and whole prompts as documents.

A document made of a prompt has no subgraphs, groups or notes: nodes stand in columns, each to the
right of those that it takes something from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.workflow import schema as node_types
from comfyui_pipeline.workflow.convert import dynamic_text, widgets
from comfyui_pipeline.workflow.convert.widgets import NO_VALUE, Layout
from comfyui_pipeline.workflow.graph import is_link
from comfyui_pipeline.workflow.schema import DYNAMIC_COMBO, NodeSchemas, NodeType

WIDTH, GAP = 300, 60
LINE_HEIGHT = 26
Prompt = Mapping[str, Mapping[str, Any]]
Raw = dict[str, Any]


def from_prompt(prompt: Prompt, schemas: NodeSchemas) -> Raw:
    """A document that converts to this prompt."""
    types = {
        kind: node_types.read(schemas[kind])
        for kind in {node["class_type"] for node in prompt.values()} & schemas.keys()
    }
    nodes = {
        node_id: new_node(_number(node_id), node, types.get(node["class_type"], node_types.UNKNOWN))
        for node_id, node in prompt.items()
    }
    links: list[list[Any]] = []
    for node_id, node in prompt.items():
        for position, socket in enumerate(nodes[node_id]["inputs"]):
            value = node["inputs"].get(socket["name"])
            origin = nodes.get(str(value[0])) if is_link(value) else None
            if origin is None or not is_link(value) or not 0 <= value[1] < len(origin["outputs"]):
                continue
            number = len(links) + 1
            output = origin["outputs"][value[1]]
            output["links"] = [*(output["links"] or ()), number]
            socket["link"] = number
            links.append(
                [number, origin["id"], value[1], nodes[node_id]["id"], position, output["type"]]
            )
    _arrange(prompt, nodes)
    numbers = [node["id"] for node in nodes.values() if isinstance(node["id"], int)]
    return {
        "last_node_id": max(numbers, default=0),
        "last_link_id": len(links),
        "nodes": list(nodes.values()),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def new_node(number: int | str, node: Mapping[str, Any], node_type: NodeType) -> Raw:
    """A node of a document without its links: sockets, outputs and values of its widgets."""
    inputs = node["inputs"]
    layout = filled(widgets.layout(node_type), inputs)
    widget_names = {widget.name for widget in layout.widgets}
    types = {socket.name: socket.type for socket in layout.sockets}
    types |= {spec.name: spec.type for spec in node_type.inputs_of(inputs)}
    linked = [name for name, value in inputs.items() if is_link(value)]
    plain = [socket.name for socket in layout.sockets if socket.name not in widget_names]
    title = (node.get("_meta") or {}).get("title")
    shown: Raw = {"title": title} if title and title != node_type.display_name else {}
    return {
        "id": number,
        "type": node["class_type"],
        "pos": [0, 0],
        "size": [WIDTH, LINE_HEIGHT * (2 + len(plain) + len(layout.widgets))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": name, "type": types.get(name, "*"), "link": None}
            | ({"widget": {"name": name}} if name in widget_names else {})
            for name in dict.fromkeys([*plain, *linked])
        ],
        "outputs": [
            {"name": label, "type": kind if not kind.startswith("[") else "COMBO", "links": None}
            for label, kind in _labelled(node_type)
        ],
        "properties": {"Node name for S&R": node["class_type"]},
        "widgets_values": values_of(layout),
        **shown,
    }


def filled(layout: Layout, inputs: Mapping[str, Any]) -> Layout:
    """The layout with the plain values of a prompt in its widgets."""
    position = 0
    while position < len(layout.widgets):  # setting a dynamic combo adds widgets behind it
        widget = layout.widgets[position]
        if widget.sent and widget.name in inputs and not is_link(inputs[widget.name]):
            widget.value = saved_value(widget, inputs[widget.name])
            if widget.type == DYNAMIC_COMBO:
                widgets.expand(layout, widget)
        position += 1
    return layout


def values_of(layout: Layout) -> list[Any]:
    """The values as they are saved; those at the end that do not exist are left out."""
    values = [widget.value for widget in layout.widgets]
    while values and values[-1] is NO_VALUE:
        values.pop()
    return [None if value is NO_VALUE else value for value in values]


def saved_value(widget: widgets.Widget, value: Any) -> Any:
    """What a widget has to hold for this value to be sent."""
    if isinstance(value, dict) and "__value__" in value:
        return value["__value__"]
    if isinstance(value, str) and widget.options.get("dynamicPrompts") is True:
        return dynamic_text.escaped(value)
    return value


def _number(node_id: str) -> int | str:
    return int(node_id) if node_id.isdecimal() and str(int(node_id)) == node_id else node_id


def _labelled(node_type: NodeType) -> list[tuple[str, str]]:
    names = [*node_type.output_names, *node_type.outputs[len(node_type.output_names) :]]
    return list(zip(names, node_type.outputs, strict=False))


def _arrange(prompt: Prompt, nodes: Mapping[str, Raw]) -> None:
    """Put each node right of its sources; a column is as wide as a node."""
    columns: dict[str, int] = {}
    waiting = list(prompt)
    for _ in range(len(prompt)):  # a circle ends with the last round
        left = []
        for node_id in waiting:
            values = prompt[node_id]["inputs"].values()
            sources = {str(value[0]) for value in values if is_link(value)} & nodes.keys()
            if sources <= columns.keys():
                columns[node_id] = 1 + max((columns[one] for one in sources), default=-1)
            else:
                left.append(node_id)
        if not left or len(left) == len(waiting):
            break
        waiting = left
    heights: dict[int, int] = {}
    for order, node_id in enumerate(sorted(nodes, key=lambda one: columns.get(one, 0))):
        node, column = nodes[node_id], columns.get(node_id, 0)
        node["pos"] = [column * (WIDTH + GAP), heights.get(column, 0)]
        node["order"] = order
        heights[column] = node["pos"][1] + node["size"][1] + GAP
