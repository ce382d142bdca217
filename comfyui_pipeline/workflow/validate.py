"""Hold a prompt against itself and the server's classes before it is queued.

Only what the server answers badly: a class it lacks, a link to nothing (its error is ``'77'``),
a cycle (dropped without a word) and a prompt with nothing to save. The rest it says well itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow.graph import Graph, is_link


def check_classes(graph: Graph, known: Collection[str]) -> None:
    """Raise WorkflowError naming each node whose class the server does not have."""
    lacking = [node.label for node in graph.nodes.values() if node.class_type not in known]
    if not lacking:
        return
    raise WorkflowError(
        f"This ComfyUI lacks what the workflow needs: {'; '.join(lacking[:20])}.",
        "Install these custom nodes there (ComfyUI Manager finds them by name), or choose another "
        "workflow. The embedded demo server runs no models: what needs one needs a full ComfyUI.",
    )


def check_prompt(graph: Graph) -> None:
    """Raise WorkflowError for a link to nothing, a cycle, or a prompt without an output node."""
    for node in graph.nodes.values():
        for name, value in node.inputs.items():
            if is_link(value):
                _check_link(graph, node.label, name, value)
    cycle = _cycle(graph)
    if cycle:
        raise WorkflowError(
            f"These nodes feed one another in a circle: {', '.join(cycle)}.",
            "Take one of the links out.",
        )
    if not any(node.saves for node in graph.nodes.values()):
        raise WorkflowError(
            "This workflow has no node that saves or shows anything, so nothing would run.",
            "Add a node that saves its result.",
        )


def _check_link(graph: Graph, label: str, name: str, value: list[Any]) -> None:
    linked = graph.link(value)
    if linked is None:
        raise WorkflowError(
            f"The input {name!r} of node {label} is linked to node {value[0]}, which is not there.",
            "Export the workflow again.",
        )
    node, slot = linked
    if not 0 <= slot < len(node.outputs):
        raise WorkflowError(
            f"The input {name!r} of node {label} is linked to output {slot} of {node.label}, "
            f"which has {len(node.outputs)}.",
            "Export the workflow again.",
        )


def _cycle(graph: Graph) -> list[str]:
    """The labels of one circle of links, empty when there is none."""
    feeds = {
        node.id: [str(v[0]) for v in node.inputs.values() if is_link(v)]
        for node in graph.nodes.values()
    }
    open_ones = {node_id: set(above) for node_id, above in feeds.items()}
    while ready := [node_id for node_id, above in open_ones.items() if not above]:
        for node_id in ready:
            del open_ones[node_id]
        for waiting in open_ones.values():
            waiting.difference_update(ready)
    if not open_ones:
        return []
    path = [next(iter(open_ones))]
    while (above := next(iter(open_ones[path[-1]]))) not in path:
        path.append(above)
    return [graph.nodes[node_id].label for node_id in path[path.index(above) :]]
