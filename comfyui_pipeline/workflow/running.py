"""Which nodes of a workflow run: those that an output node derives from."""

from __future__ import annotations

from collections.abc import Iterable

from comfyui_pipeline.workflow.graph import Graph, Node


def running(graph: Graph) -> list[Node]:
    """The nodes that run, in the workflow's order; all nodes if none of them is an output."""
    waiting = [node for node in graph.nodes.values() if node.is_output_node]
    if not waiting:
        return list(graph.nodes.values())
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.id in found:
            continue
        found.add(node.id)
        waiting += [linked[0] for v in node.inputs.values() if (linked := graph.link(v))]
    return [node for node in graph.nodes.values() if node.id in found]


def below(graph: Graph, nodes: Iterable[Node]) -> set[str]:
    """The ids of all nodes that derive from one of these."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for node, _, _ in graph.consumers(waiting.pop()):
            if node.id not in found:
                found.add(node.id)
                waiting.append(node)
    return found
