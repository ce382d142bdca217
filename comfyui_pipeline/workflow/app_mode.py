"""What the author of a workflow shows in the editor's App mode: ``extra.linearData`` of its document.

``inputs``: ``[node, widget name]`` each, in the author's order; ``outputs``: ids of nodes. The node of
an input is an id, also of a node inside a subgraph, or ``<graph>:<id>:<widget>`` of a widget, which a
subgraph node may show for a node inside (frontend 1.49.6: appModeStore, upgradeAndValidateInput).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.workflow.graph import Graph, Node, Target, is_link
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.convert.prompt import Converted

MAX_ENTRIES = 100
WIDGET_ID = re.compile(r"([0-9A-Fa-f-]{36}):([^:]{1,80})(?::(.{1,200}))?", re.DOTALL)
"""``<graph>:<node>:<widget>``, or without the widget a node of a graph."""


@dataclass(frozen=True, slots=True)
class AppInput:
    """An input that the author shows. ``label``: what the author calls it; "" for its own name."""

    target: Target
    label: str = ""


@dataclass(frozen=True, slots=True)
class AppMode:
    """The chosen inputs and the nodes of the chosen outputs that the prompt has."""

    inputs: tuple[AppInput, ...] = ()
    outputs: tuple[Node, ...] = ()


NO_APP = AppMode()


def read(
    document: Mapping[str, Any] | None, graph: Graph, converted: Converted | None = None
) -> AppMode:
    """App mode of a document; entries that name nothing in the prompt are left out.

    ``converted``: its conversion, which knows what subgraphs show.
    """
    extra = (document or {}).get("extra")
    data = extra.get("linearData") if isinstance(extra, dict) else None
    if not isinstance(data, dict):
        return NO_APP
    inputs = []
    if entries := _list(data.get("inputs")):
        shown: Mapping[tuple[str, str], tuple[str, str, str]] = {}
        if converted is not None:
            from comfyui_pipeline.workflow.convert import shown_widgets

            shown = shown_widgets.read(converted)
        inputs = [_input(entry, graph, shown) for entry in entries]
    outputs = [_node(ident, graph) for ident in _list(data.get("outputs"))]
    return AppMode(
        tuple({(i.target.node.id, i.target.name): i for i in inputs if i is not None}.values()),
        tuple({node.id: node for node in outputs if node is not None}.values()),
    )


def _input(
    entry: Any, graph: Graph, shown: Mapping[tuple[str, str], tuple[str, str, str]]
) -> AppInput | None:
    """``shown``: (node, widget) of the document -> node id, input and label in the prompt."""
    if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[1], str):
        return None
    ident, name = str(entry[0]), entry[1]
    if found := WIDGET_ID.fullmatch(ident):
        place = f"{found[1]}:{found[2]}" if found[3] is None else found[2]
        ident, name = place, found[3] or name
    node_id, inner, label = shown.get((ident, name), (ident, name, ""))
    node = graph.nodes.get(node_id)
    if node is None or inner not in node.inputs or is_link(node.inputs[inner]):
        return None
    return AppInput(Target(node, inner), label)


def _node(ident: Any, graph: Graph) -> Node | None:
    """The node of an output, or the output node inside a subgraph."""
    inside = [node for node in graph.nodes.values() if node.id.startswith(f"{ident}:")]
    return graph.nodes.get(str(ident)) or next((n for n in inside if n.is_output_node), None)


def _list(value: Any) -> list[Any]:
    return value[:MAX_ENTRIES] if isinstance(value, list) else []
