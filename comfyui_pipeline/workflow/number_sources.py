"""Where a number comes from: the inputs that hold it, behind primitives and conversions."""

from __future__ import annotations

from collections.abc import Iterator

from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, Node, Target, is_link

NUMBERS = frozenset({"INT", "FLOAT"})
MAX_FOLLOWED = 16


def origins(graph: Graph, used: Target) -> tuple[Target, ...]:
    """The inputs that hold the number which reaches an input; none if it is computed."""
    for _ in range(MAX_FOLLOWED):
        value = used.node.inputs.get(used.name)
        if not is_link(value):
            return (used,)
        linked = graph.link(value)
        if linked is None:
            return ()
        node = linked[0]
        links = list(linked_numbers(graph, node))
        if not links:
            return _held(node)
        if len(links) > 1 or _computes(node):
            return ()
        used = links[0]
    return ()


def computing(graph: Graph, used: Target) -> Node | None:
    """The node that computes the number which reaches an input from other numbers."""
    for _ in range(MAX_FOLLOWED):
        linked = graph.link(used.node.inputs.get(used.name))
        if linked is None:
            return None
        node = linked[0]
        links = list(linked_numbers(graph, node))
        if len(links) > 1 or (links and _computes(node)):
            return node
        if not links:
            return None
        used = links[0]
    return None


def linked_numbers(graph: Graph, node: Node) -> Iterator[Target]:
    """The inputs of a node that take a number from another node; none if it takes anything else."""
    links = [name for name, value in node.inputs.items() if is_link(value)]
    found = [name for name in links if is_number(node, name) or _is_wildcard(node, name)]
    if len(found) == len(links):
        yield from (Target(node, name) for name in found)


def is_number(node: Node, name: str) -> bool:
    """Whether an input takes numbers only (``FLOAT,INT`` takes both)."""
    spec = node.specs.get(name)
    kinds = set(spec.type.split(",")) if spec is not None else set()
    return not NUMBERS.isdisjoint(kinds) and kinds <= {*NUMBERS, "BOOLEAN"}


def is_whole(target: Target) -> bool:
    return target.spec is not None and target.spec.type == "INT"


def _is_wildcard(node: Node, name: str) -> bool:
    spec = node.specs.get(name)
    return spec is None or spec.type in WILDCARDS


def _held(node: Node) -> tuple[Target, ...]:
    """The plain numbers of a node that makes one: a single one, or several that are the same."""
    if any(is_link(value) for value in node.inputs.values()):
        return ()
    held = {
        name: value
        for name, value in node.inputs.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        if not name.lower().startswith("is")
    }
    return tuple(Target(node, name) for name in held) if len(set(held.values())) == 1 else ()


def _computes(node: Node) -> bool:
    """Whether a node of one number does more than pass it on: by its expression or its choices."""
    texts = [v for n, v in node.inputs.items() if isinstance(v, str) and not is_link(v)]
    own = [
        v for v in node.inputs.values() if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    return bool(own) or any(not text.strip(" ()").isidentifier() for text in texts)
