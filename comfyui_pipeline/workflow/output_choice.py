"""Keep only some output nodes of a workflow, with what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import matching, switches
from comfyui_pipeline.workflow.graph import Graph, Node, is_link
from comfyui_pipeline.workflow.switches import OFF, Part, Parts
from input_server.light_dataclasses import dataclass, field

MAX_LISTED = 20
MAX_SHOWN = 80
EVERY = frozenset({"all", "any", "every", "everything", "*", "auto", "default", "全部", "所有"})
"""Words that mean all output nodes."""
Prompt = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The names of output nodes, or of groups and subgraphs with some. ``key``: the argument as written;
    ``parts``: all nodes of an editor document; ``modes``: those that the call gives to nodes.
    """

    names: Sequence[str]
    key: str = "output"
    parts: Parts | None = None
    modes: Mapping[str, int] = field(default_factory=dict)
    strict: bool = False


def keep_only(prompt: Prompt, graph: Graph, wanted: Wanted) -> dict[str, Any]:
    """The nodes that the named output nodes need, themselves included. Raises PatchError."""
    chosen = [node.id for name in wanted.names for node in find(graph, name, wanted)]
    return needed(prompt, chosen)


def needed(prompt: Prompt, outputs: Sequence[str]) -> dict[str, Any]:
    """The nodes of a prompt that these need, themselves included."""
    found: dict[str, None] = {}
    waiting = list(outputs)
    while waiting:
        node_id = waiting.pop()
        if node_id in found or node_id not in prompt:
            continue
        found[node_id] = None
        links = prompt[node_id]["inputs"].values()
        waiting += [str(value[0]) for value in links if is_link(value)]
    return {node_id: dict(node) for node_id, node in prompt.items() if node_id in found}


def find(graph: Graph, name: str, wanted: Wanted) -> list[Node]:
    """The output nodes of this id, title, type or group. Raises PatchError."""
    outputs = [node for node in graph.nodes.values() if node.is_output_node]
    if matching.normalize(name) in EVERY and not _titled(outputs, name):
        return outputs
    if name in graph.nodes:
        if not graph.nodes[name].is_output_node:
            raise _no_output(graph.nodes[name], outputs, wanted)
        return [graph.nodes[name]]
    if found := _titled(outputs, name):
        return found
    parts = wanted.parts or Parts(())
    named = switches.matching_parts(parts, name, strict=True)
    members = [part for one in named for part in one.members]
    if found := [node for node in outputs if any(_is_in(node, part) for part in members)]:
        return found
    if off := [part for part in members if wanted.modes.get(part.id, part.mode) in OFF]:
        raise _off(off[0], name, wanted)
    if others := _titled(list(graph.nodes.values()), name):
        raise _no_output(others[0], outputs, wanted)
    if not wanted.strict:
        titles = list(dict.fromkeys(node.title or node.class_type for node in outputs))
        similar = matching.fuzzy_match(name, titles).names
        if len(similar) == 1:
            return [n for n in outputs if (n.title or n.class_type) == similar[0]]
    raise PatchError(
        f'"{wanted.key}" is {name[:MAX_SHOWN]!r}, which is no output node of this workflow.',
        f"{_listed(outputs)} Leave it out to run them all.",
        code="unknown_node",
    )


def _is_in(node: Node, part: Part) -> bool:
    """Whether an output node is this part, or in the subgraph that it shows."""
    return node.id == part.id or node.id.startswith(f"{part.id}:")


def _off(part: Part, name: str, wanted: Wanted) -> PatchError:
    word = switches.WORDS[wanted.modes.get(part.id, part.mode)]
    return PatchError(
        f'"{wanted.key}" is {name[:MAX_SHOWN]!r}, but node {part.label} is {word}, so it does not run.',
        f'Enable it in the same call: "enable": ["{part.id}"]; with all that it needs, if that is off '
        "too.",
    )


def _titled(nodes: Sequence[Node], name: str) -> list[Node]:
    """The nodes of this title, else of this type."""
    word = matching.normalize(name)
    titled = [node for node in nodes if matching.normalize(node.title) == word]
    return titled or [node for node in nodes if matching.normalize(node.class_type) == word]


def _no_output(node: Node, outputs: Sequence[Node], wanted: Wanted) -> PatchError:
    return PatchError(
        f'"{wanted.key}" names node {node.label}, which is no output node: it saves or shows nothing.',
        _listed(outputs),
        code="unknown_node",
    )


def _listed(outputs: Sequence[Node]) -> str:
    labels = "; ".join(node.label for node in outputs[:MAX_LISTED])
    more = f"; and {len(outputs) - MAX_LISTED} more" if len(outputs) > MAX_LISTED else ""
    return f"Its output nodes are: {labels}{more}." if outputs else "It has no output node."
