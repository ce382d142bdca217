"""What the author of a workflow shows in the editor's App mode: ``extra.linearData`` of its document.

``inputs``: ``[node id, widget name]`` each, in the author's order; ``outputs``: ids of nodes (frontend
workflowSchema.ts).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.workflow.graph import Graph, Node, Target, is_link
from input_server.light_dataclasses import dataclass

MAX_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class AppMode:
    """The chosen inputs and the nodes of the chosen outputs that the prompt has."""

    inputs: tuple[Target, ...] = ()
    outputs: tuple[Node, ...] = ()


NO_APP = AppMode()


def read(document: Mapping[str, Any] | None, graph: Graph) -> AppMode:
    """App mode of a document; entries that name nothing in the prompt are left out."""
    extra = (document or {}).get("extra")
    data = extra.get("linearData") if isinstance(extra, dict) else None
    if not isinstance(data, dict):
        return NO_APP
    inputs = [_target(entry, graph) for entry in _list(data.get("inputs"))]
    outputs = [_node(ident, graph) for ident in _list(data.get("outputs"))]
    return AppMode(
        tuple({(t.node.id, t.name): t for t in inputs if t is not None}.values()),
        tuple({node.id: node for node in outputs if node is not None}.values()),
    )


def _target(entry: Any, graph: Graph) -> Target | None:
    """The input of an entry. One that a subgraph shows belongs to a node inside it, whose id begins
    with that of the subgraph's node.
    """
    if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[1], str):
        return None
    ident, name = str(entry[0]), entry[1]
    node = graph.nodes.get(ident)
    nodes = [node] if node else [n for n in graph.nodes.values() if n.id.startswith(f"{ident}:")]
    found = [n for n in nodes if name in n.inputs and not is_link(n.inputs[name])]
    return Target(found[0], name) if len(found) == 1 else None


def _node(ident: Any, graph: Graph) -> Node | None:
    inside = [node for node in graph.nodes.values() if node.id.startswith(f"{ident}:")]
    return graph.nodes.get(str(ident)) or next((n for n in inside if n.is_output_node), None)


def _list(value: Any) -> list[Any]:
    return value[:MAX_ENTRIES] if isinstance(value, list) else []
