"""Which nodes of a workflow count: those that an output node derives from, behind switches only on the
branch that is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable

from comfyui_pipeline.workflow.branches import unused_inputs
from comfyui_pipeline.workflow.graph import Graph, Node


def running(graph: Graph) -> list[Node]:
    """The nodes that run, in the workflow's order; all nodes if none of them is an output."""
    return list(part_that_runs(graph).nodes.values())


def part_that_runs(graph: Graph) -> Graph:
    """The graph without nodes that do not run; computed once for a graph."""
    if not graph.running:
        graph.running.append(_part_that_runs(graph))
    return graph.running[0]


def _part_that_runs(graph: Graph) -> Graph:
    waiting = [node for node in graph.nodes.values() if node.is_output_node]
    if not waiting:
        return graph
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.id in found:
            continue
        found.add(node.id)
        unused = unused_inputs(graph, node)
        waiting += [
            linked[0]
            for name, value in node.inputs.items()
            if name not in unused and (linked := graph.link(value))
        ]
    if len(found) == len(graph.nodes):
        return graph
    return Graph({node_id: node for node_id, node in graph.nodes.items() if node_id in found})


def above(graph: Graph, node: Node) -> set[str]:
    """The ids of all nodes that a node derives from."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for value in waiting.pop().inputs.values():
            linked = graph.link(value)
            if linked is not None and linked[0].id not in found:
                found.add(linked[0].id)
                waiting.append(linked[0])
    return found


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
