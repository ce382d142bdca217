"""Keep only some output nodes of a workflow, with what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import matching
from comfyui_pipeline.workflow.graph import Graph, Node, is_link

MAX_LISTED = 20
MAX_SHOWN = 80
EVERY = frozenset({"all", "any", "every", "everything", "*", "auto", "default", "全部", "所有"})
"""Words that mean all output nodes."""
Prompt = Mapping[str, Mapping[str, Any]]


def keep_only(
    prompt: Prompt, graph: Graph, names: Sequence[str], *, strict: bool
) -> dict[str, Any]:
    """The nodes that the named output nodes need, themselves included. Raises PatchError."""
    chosen = [node for name in names for node in find(graph, name, strict=strict)]
    needed: dict[str, None] = {}
    waiting = [node.id for node in chosen]
    while waiting:
        node_id = waiting.pop()
        if node_id in needed or node_id not in graph.nodes:
            continue
        needed[node_id] = None
        links = graph.nodes[node_id].inputs.values()
        waiting += [str(value[0]) for value in links if is_link(value)]
    return {node_id: dict(node) for node_id, node in prompt.items() if node_id in needed}


def find(graph: Graph, name: str, *, strict: bool) -> list[Node]:
    """The output nodes of this id, title or type. Raises PatchError."""
    outputs = [node for node in graph.nodes.values() if node.is_output_node]
    if matching.normalize(name) in EVERY and not _titled(outputs, name):
        return outputs
    if name in graph.nodes:
        if not graph.nodes[name].is_output_node:
            raise _no_output(graph.nodes[name], outputs)
        return [graph.nodes[name]]
    if found := _titled(outputs, name):
        return found
    if others := _titled(list(graph.nodes.values()), name):
        raise _no_output(others[0], outputs)
    if not strict:
        titles = list(dict.fromkeys(node.title or node.class_type for node in outputs))
        similar = matching.fuzzy_match(name, titles).names
        if len(similar) == 1:
            return [n for n in outputs if (n.title or n.class_type) == similar[0]]
    raise PatchError(
        f'"output" is {name[:MAX_SHOWN]!r}, which is no output node of this workflow.',
        f"{_listed(outputs)} Leave it out to run them all.",
        code="unknown_node",
    )


def _titled(nodes: Sequence[Node], name: str) -> list[Node]:
    """The nodes of this title, else of this type."""
    word = matching.normalize(name)
    titled = [node for node in nodes if matching.normalize(node.title) == word]
    return titled or [node for node in nodes if matching.normalize(node.class_type) == word]


def _no_output(node: Node, outputs: Sequence[Node]) -> PatchError:
    return PatchError(
        f'"output" names node {node.label}, which is no output node: it saves or shows nothing.',
        _listed(outputs),
        code="unknown_node",
    )


def _listed(outputs: Sequence[Node]) -> str:
    labels = "; ".join(node.label for node in outputs[:MAX_LISTED])
    more = f"; and {len(outputs) - MAX_LISTED} more" if len(outputs) > MAX_LISTED else ""
    return f"Its output nodes are: {labels}{more}." if outputs else "It has no output node."
