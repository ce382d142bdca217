"""Nodes that a workflow can do without: everything that needs them only feeds optional inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.workflow.graph import Graph, is_link

Prompt = dict[str, dict[str, Any]]


def without(prompt: Mapping[str, Mapping[str, Any]], graph: Graph, node_id: str) -> Prompt | None:
    """The prompt without a node, the nodes that require it, and the links to optional inputs.

    None where an output would be lost by that.
    """
    left, removed = without_all(prompt, graph, [node_id])
    nodes = [graph.nodes.get(one) for one in removed]
    return None if any(node is None or node.is_output_node for node in nodes) else left


def without_all(
    prompt: Mapping[str, Mapping[str, Any]], graph: Graph, node_ids: Sequence[str]
) -> tuple[Prompt, set[str]]:
    """The prompt without these nodes and what requires them, and the ids of all that are gone."""
    readers = _readers(prompt)
    removed: set[str] = set()
    waiting = list(node_ids)
    dropped: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        if one in removed:
            continue
        removed.add(one)
        for reader, name in readers.get(one, ()):
            spec = graph.nodes[reader].specs.get(name) if reader in graph.nodes else None
            if spec is not None and not spec.required:
                dropped.add((reader, name))
            else:
                waiting.append(reader)
    left = {
        one: {
            **node,
            "inputs": {k: v for k, v in node["inputs"].items() if (one, k) not in dropped},
        }
        for one, node in prompt.items()
        if one not in removed
    }
    return left, removed


def _readers(prompt: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Node -> the inputs that link to it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for node_id, node in prompt.items():
        for name, value in node["inputs"].items():
            if is_link(value):
                found.setdefault(str(value[0]), []).append((node_id, name))
    return found
