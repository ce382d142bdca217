"""Primitive nodes: write their value into the widgets that they are linked to.

Follows frontend 1.58.1: extensions/core/widgetInputs.ts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfyui_pipeline.workflow.convert import widgets
from comfyui_pipeline.workflow.convert.loaded_graph import LoadedGraph, LoadedNode
from comfyui_pipeline.workflow.convert.widgets import Socket, Widget
from comfyui_pipeline.workflow.editor_nodes import PRIMITIVE


def is_primitive(node: LoadedNode) -> bool:
    return node.virtual and node.ui.type == PRIMITIVE


def apply(graph: LoadedGraph) -> None:
    """Set the widgets behind every primitive node of a graph."""
    primitives = [node for node in graph.nodes.values() if is_primitive(node)]
    if not primitives:
        return
    leaving: dict[str, list[int]] = {}
    for link in graph.links.values():
        leaving.setdefault(link.origin, []).append(link.id)
    for node in primitives:
        links = sorted(leaving.get(node.id, ()))
        targets = [target for link in links if (target := graph.target_of(link))]
        _set_targets(node, [socket for _, socket in targets])


def _set_targets(node: LoadedNode, sockets: Sequence[Socket]) -> None:
    if not sockets:
        return
    first = sockets[0]
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
    fed = [socket.widget for socket in sockets if socket.widget is not None]
    if len(sockets) > 1:
        value = _clamped(value, fed)
    for widget in fed:
        widget.value = value


def _clamped(value: Any, fed: Sequence[Widget]) -> Any:
    """A number within the range that all widgets share, if they share one."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return value
    numeric = [widget for widget in fed if widget.type in ("INT", "FLOAT")]
    lows = [widget.options.get("min", float("-inf")) for widget in numeric]
    highs = [widget.options.get("max", float("inf")) for widget in numeric]
    if not lows or max(lows) > min(highs):
        return value
    return min(max(value, max(lows)), min(highs))
