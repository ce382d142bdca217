"""Which pass of a workflow an input of its samplers belongs to: the main one or what refines it.

The main pass is that of the samplers which derive from no other one. A later sampler belongs to it
if both divide one schedule (the same number of steps, of which each does a part), or if it begins
anew with as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comfyui_pipeline.workflow.graph import Graph, Node, Target
from comfyui_pipeline.workflow.running import below, running

SETTINGS = frozenset({"GUIDER", "SAMPLER", "SIGMAS", "NOISE"})
"""Types that only samplers take."""
BEGINS = ("start_at_step", "start_step")
ENDS = ("end_at_step", "end_step")
MAX_SAMPLERS = 64
"""With more of them, all count as the main pass."""
DENOISE = ("denoise", "denoise_strength")


def of_main_pass(
    graph: Graph, targets: Sequence[Target], names: Sequence[str], types: tuple[str, ...]
) -> list[Target]:
    """Those of the inputs, which samplers use under these names, that set the main pass; all if
    that is not certain.
    """
    if len(targets) > MAX_SAMPLERS:
        return list(targets)
    users = {(t.node.id, t.name): list(_samplers(graph, t, names, types)) for t in targets}
    every = {node.id: node for found in users.values() for node in found}
    if len(every) > MAX_SAMPLERS:
        return list(targets)
    helpers = {i for i, node in every.items() if _takes_one_step(graph, node)}
    later: set[str] = set()
    for node_id, node in every.items():
        if node_id not in helpers:
            after = below(graph, [node]) - {node_id}
            later |= {i for i in after & every.keys() if not _same_pass(graph, node, every[i])}
    main = every.keys() - later - helpers
    kept = [t for t in targets if main & {node.id for node in users[t.node.id, t.name]}]
    return kept or list(targets)


def parts_of_schedule(graph: Graph, steps: Target, names: Sequence[str]) -> Iterator[Target]:
    """The plain inputs that divide the steps of a sampler: at which step it begins, ends or splits."""
    for node in running(graph):
        if not any(_is_source(graph, node, name, steps, ("INT",)) for name in names):
            continue
        inputs = [(node, name) for name in (*BEGINS, *ENDS)]
        if "SIGMAS" in node.outputs:
            inputs = [
                (user, "step") for user, _, _ in graph.consumers(node) if "SIGMAS" in user.outputs
            ]
        for user, name in inputs:
            source = graph.source(Target(user, name), ("INT",)) if name in user.inputs else None
            if source is not None:
                yield source


def _samplers(
    graph: Graph, target: Target, names: Sequence[str], types: tuple[str, ...]
) -> Iterator[Node]:
    """The nodes that sample with the value of an input."""
    waiting = [
        node
        for node in running(graph)
        if any(_is_source(graph, node, name, target, types) for name in names)
    ]
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        if SETTINGS.isdisjoint(node.outputs):
            yield node
        else:
            waiting += [user for user, _, _ in graph.consumers(node)]


def _is_source(graph: Graph, node: Node, name: str, target: Target, types: tuple[str, ...]) -> bool:
    if name not in node.inputs:
        return False
    found = graph.source(Target(node, name), types)
    return found is not None and (found.node.id, found.name) == (target.node.id, target.name)


def _takes_one_step(graph: Graph, node: Node) -> bool:
    return _steps(graph, _schedule(graph, node)) == 1


def _schedule(graph: Graph, node: Node) -> Node:
    """The node that holds a sampler's steps: itself, or what makes its noise levels."""
    for spec in node.specs.values():
        linked = graph.link(node.inputs.get(spec.name))
        if spec.type == "SIGMAS" and linked is not None:
            return linked[0]
    return node


def _steps(graph: Graph, node: Node) -> object:
    found = [name for name in node.inputs if name == "steps" or name.endswith("_steps")]
    return graph.value_at(node, found[0], ("INT",)) if found else None


def _same_pass(graph: Graph, first: Node, second: Node) -> bool:
    """Whether a later sampler does the rest of an earlier one's schedule on its very latent, or as
    many steps from the beginning, as the next part of a film.
    """
    one, other = _schedule(graph, first), _schedule(graph, second)
    if _steps(graph, one) is None or _steps(graph, one) != _steps(graph, other):
        return False
    direct = any(
        user.id == second.id and "LATENT" in first.outputs[slot : slot + 1]
        for user, _, slot in graph.consumers(first)
    )
    divided = direct and not second.specs.keys().isdisjoint(BEGINS)
    strengths = [graph.value_at(other, n, ("FLOAT",)) for n in DENOISE if n in other.inputs]
    return divided or strengths == [1]
