"""Sizes that other nodes compute: the plain number behind a width, and what is enlarged after it.

``a/2`` of a number titled "Width", the size of an image that another node resized, twice the size
by a latent upscaler: all are the number times a factor. Nothing is followed into an image of the
caller: its size is not known before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from comfyui_pipeline.workflow.branches import unused_inputs
from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, Node, Target, is_link
from comfyui_pipeline.workflow.running import below
from comfyui_pipeline.workflow.size_names import FACTORS, PICTURES, side_names
from input_server.light_dataclasses import dataclass, field

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.size_nodes import ModelFactor, SizedNode

NUMBERS = ("INT", "FLOAT")
SIDES = ("width", "height")
MAX_DEPTH = 100
"""Nodes between a size and its number."""
MAX_WAYS = 8
"""Different factors on the ways to one node."""


@dataclass(frozen=True, slots=True)
class Root:
    """The input that holds a side: its number times ``factor`` is the side."""

    target: Target
    factor: float = 1.0

    def times(self, factor: float) -> Root:
        return Root(self.target, self.factor * factor)


@dataclass(slots=True)
class Chain:
    """Follows the sides of one graph; ``factor_of_model``: by how much an upscale model enlarges."""

    graph: Graph
    factor_of_model: ModelFactor
    open: set[tuple[str, str, str]] = field(default_factory=set)
    known: dict[tuple[str, str, str], Root | None] = field(default_factory=dict)

    def root(self, target: Target, side: str) -> Root | None:
        """Where the number of an input stands; the input itself if a selector computes it."""
        value = target.node.inputs.get(target.name)
        linked = self.graph.link(value)
        if linked is None:
            return None if is_link(value) else Root(target)
        key = (target.node.id, target.name, side)
        return self._once(key, lambda: self._behind(linked[0], linked[1], target, side))

    def _once(self, key: tuple[str, str, str], find: Callable[[], Root | None]) -> Root | None:
        """What ``find`` gives, kept; None within itself (circular links) and too far up."""
        if key in self.known:
            return self.known[key]
        if len(self.open) > MAX_DEPTH:
            return None
        self.known[key] = None
        self.open.add(key)
        self.known[key] = find()
        self.open.discard(key)
        return self.known[key]

    def _behind(self, node: Node, slot: int, target: Target, side: str) -> Root | None:
        pair = side_names(node)
        pictures = [name for name in self.linked(node) if self.kind(node, name) in PICTURES]
        output = node.output_names[slot].lower() if slot < len(node.output_names) else ""
        side = output if output in SIDES else side
        if pictures and not pair:
            link = self.graph.link(node.inputs[pictures[0]])
            return self.of_picture(link[0], side) if link and len(pictures) == 1 else None
        if pair:
            return self.root(Target(node, pair[SIDES.index(side)]), side)
        if any(spec.takes_file for spec in node.specs.values()):
            return None
        numbers = self._numbers(node)
        if not numbers:
            return Root(target)  # a selector of choices: its link is replaced
        text = _expression(node)
        if text is not None:
            return self._computed(node, text, numbers, side)
        if len(numbers) == 1 and not _has_choices(node):
            return self.root(Target(node, numbers[0]), side)
        return Root(target) if len(node.outputs) > 1 else None

    def _numbers(self, node: Node) -> list[str]:
        unused = unused_inputs(self.graph, node)
        return [
            name
            for name, value in node.inputs.items()
            if name not in unused and not isinstance(value, (str, bool))
            if (spec := node.specs.get(name)) is None
            or spec.type in (*NUMBERS, *WILDCARDS)
            or "INT" in spec.type.split(",")
        ]

    def _computed(self, node: Node, text: str, numbers: list[str], side: str) -> Root | None:
        """The number behind an expression that is proportional to it."""
        from comfyui_pipeline.workflow import formulas  # needs ast

        names = {name.rpartition(".")[2]: name for name in numbers}
        used = {n: name for n, name in names.items() if n in formulas.names_in(text)}
        plain = {n: self._plain(Target(node, name)) for n, name in used.items()}
        roots = {n: self.root(Target(node, name), side) for n, name in used.items()}
        linked = [n for n, name in used.items() if is_link(node.inputs[name]) and roots[n]]
        sized = [n for n in linked if self._says_side(node, used[n], roots[n])] or linked
        if len(sized) != 1 or (root := roots[sized[0]]) is None:
            return None
        rest = {n: v for n, v in plain.items() if n != sized[0]}
        if any(v is None for v in rest.values()):
            return None
        one, two = (formulas.evaluate(text, {**rest, sized[0]: x}) for x in (4096.0, 8192.0))
        if one is None or two is None or one <= 0 or abs(two / one - 2) > 0.02:
            return None
        return root.times((two - one) / 4096.0)

    def _says_side(self, node: Node, name: str, root: Root | None) -> bool:
        link = self.graph.link(node.inputs[name])
        words = f"{link[0].title if link else ''} {root.target.name if root else ''} "
        words += f"{root.target.node.title if root else ''}".lower()
        return any(side in words.lower() for side in SIDES)

    def _plain(self, target: Target) -> float | None:
        root = self.root(target, "width")
        value = root.target.node.inputs.get(root.target.name) if root else None
        if root is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return value * root.factor

    # -- pictures ----------------------------------------------------------------------------------

    def of_picture(self, node: Node, side: str) -> Root | None:
        """Where the side of what a node makes stands; None for a loaded image."""
        return self._once((node.id, "", side), lambda: self._of_picture(node, side))

    def _of_picture(self, node: Node, side: str) -> Root | None:
        pair = side_names(node)
        if pair:
            return self.root(Target(node, pair[SIDES.index(side)]), side)
        factor = self.enlarges(node)
        above = self.pictures_above(node)
        if factor is None or not above:
            return None
        root = self.of_picture(above[0], side)
        return root.times(factor) if root else None

    def pictures_above(self, node: Node) -> list[Node]:
        """The nodes whose pictures a node works on: those of its own kind, else of any."""
        linked = {n: k for n in self.linked(node) if (k := self.kind(node, n)) in PICTURES}
        same = [n for n, kind in linked.items() if kind in node.outputs]
        names = same or list(linked)
        return [link[0] for n in names if (link := self.graph.link(node.inputs[n]))]

    def enlarges(self, node: Node) -> float | None:
        """By how much a node enlarges; 1 if it does not, None if that is not known."""
        for spec in node.specs.values():
            named = spec.name.rpartition(".")[2] in FACTORS and spec.name in node.inputs
            if named and spec.type in NUMBERS:
                value = self._plain(Target(node, spec.name))
                return value if value and value > 0 else None
        for spec in node.specs.values():
            link = self.graph.link(node.inputs.get(spec.name))
            if link and spec.type in ("UPSCALE_MODEL", "LATENT_UPSCALE_MODEL"):
                return self.factor_of_model(self.graph, link[0])
        return 1.0

    def after(self, first: SizedNode) -> float:
        """By how much the results are larger than what a node begins; 1 if that is not known."""
        known: dict[str, frozenset[float]] = {first.node.id: frozenset({1.0})}
        found: set[float] = set()
        for node in in_order(self.graph, first.node):
            above = {f for one in self.pictures_above(node) for f in known.get(one.id, ())}
            fixed = self._by_root(node, first) if above else None
            by = self.enlarges(node) or 1.0
            ways = [fixed] if fixed else sorted(round(f * by, 6) for f in above)[-MAX_WAYS:]
            known[node.id] = frozenset(ways)
            found |= known[node.id] if node.is_output_node else set()
        return max(found, default=1.0)

    def _by_root(self, node: Node, first: SizedNode) -> float | None:
        """By how much a node resizes that takes its sides from the same number as the first."""
        pair = side_names(node)
        root = self.root(Target(node, pair[0]), SIDES[0]) if pair else None
        if root is None or (root.target.node.id, root.target.name) != first.key[:2]:
            return None
        return root.factor / first.factor

    def linked(self, node: Node) -> list[str]:
        unused = unused_inputs(self.graph, node)
        return [n for n, v in node.inputs.items() if is_link(v) and n not in unused]

    def kind(self, node: Node, name: str) -> str:
        """The type of what is linked to an input."""
        link = self.graph.link(node.inputs[name])
        if link is None or link[1] >= len(link[0].outputs):
            return ""
        kind = link[0].outputs[link[1]]
        return self._passed(link[0]) if kind in WILDCARDS else kind

    def _passed(self, node: Node) -> str:
        """The type of what a node passes on that takes any type."""
        if (node.id, "", "type") in self.open or len(self.open) > MAX_DEPTH:
            return ""
        self.open.add((node.id, "", "type"))
        kinds = [self.kind(node, name) for name in self.linked(node)]
        self.open.discard((node.id, "", "type"))
        return next((kind for kind in kinds if kind in PICTURES), "")


def in_order(graph: Graph, first: Node) -> list[Node]:
    """The nodes below one, each after those that it derives from; none of a circle."""
    ids = below(graph, [first]) - {first.id}
    above: dict[str, int] = {}
    for node_id in ids:
        links = map(graph.link, graph.nodes[node_id].inputs.values())
        above[node_id] = sum(1 for link in links if link and link[0].id in ids)
    ready = [graph.nodes[node_id] for node_id, count in above.items() if not count]
    for node in ready:
        for user, _, _ in graph.consumers(node):
            above[user.id] -= 1
            if not above[user.id]:
                ready.append(user)
    return ready


def _has_choices(node: Node) -> bool:
    return any(spec.type == "COMBO" for spec in node.specs.values())


def _expression(node: Node) -> str | None:
    """The formula of a node that computes."""
    for name, value in node.inputs.items():
        if name in ("expression", "value", "formula") and isinstance(value, str):
            return value
    return None
