"""Apply the caller's changes: first planned in full against the graph, then carried out at once.

A change that fits nothing is an error that lists what there is; the prompt given is never altered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.tool_call import Param, ToolCall
from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, Node, Target
from comfyui_pipeline.workflow.values import fit

LISTED = 30


@dataclass(frozen=True, slots=True)
class Change:
    """A new value for one input. ``reason`` is the argument that asked for it."""

    target: Target
    value: Any
    reason: str
    replaced_link: bool = False

    @property
    def needs_file(self) -> bool:
        """Whether the value names a picture or another file that has to be brought to the server."""
        spec = self.target.spec
        return spec is not None and spec.takes_file and isinstance(self.value, str)


def plan(graph: Graph, call: ToolCall, *, drawn_seed: int, prefix: str) -> list[Change]:
    """Every change that this call means, in no need of an order.

    ``drawn_seed`` goes into each seed that the caller left open; ``prefix`` into the file names of
    saving nodes when the caller gave a prompt ("" leaves them). Raises PatchError.
    """
    changes = _from_params(graph, call.params)
    settled = {_place(change.target) for change in changes}

    def add(reason: str, targets: Iterable[Target], value: Any) -> None:
        open_ones = [target for target in targets if _place(target) not in settled]
        if not open_ones:
            raise PatchError(f'"{reason}" and "params" both set the same input.', "Give only one.")
        changes.extend(_change(graph, target, value, reason) for target in open_ones)

    if call.prompt is not None:
        add("prompt", _texts(graph, "positive", "prompt"), call.prompt)
    if call.negative_prompt is not None:
        add("negative_prompt", _texts(graph, "negative", "negative_prompt"), call.negative_prompt)
    if call.image is not None:
        add("image", [_picture(graph)], call.image)
    for side in ("width", "height"):
        if (length := getattr(call, side)) is not None:
            add(side, [_size(graph, side)], length)
    changes += _seed_changes(graph, call, drawn_seed, settled)
    if call.prompt is not None and prefix:
        open_ones = [t for t in roles.prefixes(graph) if _place(t) not in settled]
        changes += [_change(graph, t, _in_folder(t, prefix), "file name") for t in open_ones]
    return changes


def apply(prompt: Mapping[str, Mapping[str, Any]], changes: Sequence[Change]) -> dict[str, Any]:
    """A new prompt with the changes made."""
    inputs = {node_id: dict(node["inputs"]) for node_id, node in prompt.items()}
    for change in changes:
        inputs[change.target.node.id][change.target.name] = change.value
    return {node_id: {**node, "inputs": inputs[node_id]} for node_id, node in prompt.items()}


def with_value(change: Change, value: str) -> Change:
    """The same change with the server's name of a file that was brought in."""
    return replace(change, value=value)


def _place(target: Target) -> tuple[str, str]:
    return target.node.id, target.name


def _change(graph: Graph, target: Target, value: Any, reason: str) -> Change:
    linked = graph.link(target.node.inputs.get(target.name)) is not None
    return Change(target, fit(graph, target, value), reason, replaced_link=linked)


def _from_params(graph: Graph, params: Sequence[Param]) -> list[Change]:
    changes: dict[tuple[str, str], Change] = {}
    for param in params:
        node = _node(graph, param)
        for name, value in param.inputs.items():
            target = Target(node, _input(node, name))
            changes[_place(target)] = _change(graph, target, value, "params")
    return list(changes.values())


def _node(graph: Graph, param: Param) -> Node:
    if param.node_id is not None:
        if param.node_id not in graph.nodes:
            raise PatchError(f"There is no node {param.node_id!r}.", _nodes(graph))
        return graph.nodes[param.node_id]
    title = param.node_title or ""
    found = [node for node in graph.nodes.values() if node.title == title]
    wanted = title.strip().casefold()
    found = found or [n for n in graph.nodes.values() if n.title.strip().casefold() == wanted]
    if not found:
        raise PatchError(f"There is no node titled {title!r}.", _nodes(graph))
    if len(found) > 1:
        candidates = "; ".join(node.label for node in found)
        raise PatchError(f"{len(found)} nodes are titled {title!r}: {candidates}.", "Use node_id.")
    return found[0]


def _nodes(graph: Graph) -> str:
    labels = [node.label for node in graph.nodes.values()]
    more = f"; and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    return f"This workflow has: {'; '.join(labels[:LISTED])}{more}."


def _input(node: Node, name: str) -> str:
    known = [*node.specs, *(given for given in node.inputs if given not in node.specs)]
    if name in known:
        return name
    raise PatchError(
        f"Node {node.label} has no input {name!r}.",
        f"It has: {', '.join(known)}." if known else "It has none.",
    )


def _texts(graph: Graph, role: str, reason: str) -> list[Target]:
    found = roles.texts(graph, role)
    if not found:
        raise PatchError(
            f'This workflow has no {role} text, so "{reason}" has nowhere to go.',
            f"Leave it out, or name a node in params. {_nodes(graph)}",
        )
    return found


def _picture(graph: Graph) -> Target:
    found = roles.pictures(graph)
    if len(found) == 1:
        return found[0]
    if not found:
        raise PatchError('This workflow takes no picture, so "image" has nowhere to go.')
    raise PatchError(
        f'This workflow takes {len(found)} pictures, so "image" is not clear.',
        f"Name each in params: {_ways(found)}.",
    )


def _ways(targets: Sequence[Target]) -> str:
    return "; ".join(f"node {t.node.label}, input {t.name}" for t in targets)


def _size(graph: Graph, side: str) -> Target:
    nodes = roles.sizes(graph)
    if len(nodes) > 1:
        ways = _ways([Target(node, side) for node in nodes])
        raise PatchError(
            f'{len(nodes)} nodes of this workflow have a {side}, so "{side}" is not clear.',
            f"Name one in params: {ways}.",
        )
    source = graph.source(Target(nodes[0], side), ("INT",)) if nodes else None
    if source is None:
        raise PatchError(
            f'This workflow has no {side} of its own, so "{side}" has nowhere to go.',
            "The size comes from its input picture or its models; leave it out.",
        )
    return source


def _seed_changes(
    graph: Graph, call: ToolCall, drawn: int, settled: set[tuple[str, str]]
) -> list[Change]:
    found = roles.seeds(graph)
    if call.seed is not None and not found:
        raise PatchError('This workflow draws nothing at random, so "seed" has nowhere to go.')
    reason, seed = ("drawn", drawn) if call.seed is None else ("seed", call.seed)
    changes = []
    for target in found:
        if _place(target) not in settled:
            highest = target.spec.options.get("max") if target.spec else None
            if reason == "drawn" and isinstance(highest, int):
                seed = drawn % (highest + 1)
            changes.append(_change(graph, target, seed, reason))
    return changes


def _in_folder(target: Target, prefix: str) -> str:
    """The workflow's own folder with the prompt's words as the name: ``a/ComfyUI`` -> ``a/words``."""
    old = target.node.inputs.get(target.name)
    folder = old.rpartition("/")[0] if isinstance(old, str) else ""
    return f"{folder}/{prefix}" if folder else prefix
