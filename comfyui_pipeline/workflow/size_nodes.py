"""The nodes of a workflow that hold the size of its result, and by how much upscale models enlarge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, Node, Target
from comfyui_pipeline.workflow.running import below, part_that_runs, running
from comfyui_pipeline.workflow.size_chain import Chain, Root
from comfyui_pipeline.workflow.size_names import FACTORS, side_names
from input_server.light_dataclasses import dataclass, replace

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.changes import Planner

ModelFactor = Callable[[Graph, Node], "float | None"]
SIDES = ("width", "height")
MAX_FOLLOWED = 30
"""Beginnings whose enlargements are followed to the results."""
PIXELS = ("IMAGE", "LATENT", "MASK")


@dataclass(frozen=True, slots=True)
class SizedNode:
    """The inputs that hold a node's width and height, and their present values.

    A side of the node is ``factor`` times the number in its input, that of the result ``after``
    times the node's.
    """

    node: Node
    width: Target
    height: Target
    resizes: bool
    factor: float = 1.0
    after: float = 1.0

    @property
    def now(self) -> tuple[int, int] | None:
        """Width and height of the result; None if either is unknown, or 0 for "as the input"."""
        values = [target.node.inputs.get(target.name) for target in (self.width, self.height)]
        sides = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0]
        if len(sides) != 2:
            return None
        return round(sides[0] * self.factor * self.after), round(
            sides[1] * self.factor * self.after
        )

    @property
    def own(self) -> tuple[int, int] | None:
        """Width and height of what the node makes itself."""
        now = self.now
        return now and (round(now[0] / self.after), round(now[1] / self.after))

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.width.node.id, self.width.name, self.height.node.id, self.height.name


@dataclass(frozen=True, slots=True)
class Sizes:
    """The nodes that a size sets first, and those that follow by the same factor."""

    first: tuple[SizedNode, ...]
    later: tuple[SizedNode, ...]

    @property
    def begins(self) -> bool:
        """Whether the first ones begin an image instead of resizing one."""
        return any(not sized.resizes for sized in self.first)


def find(graph: Graph) -> Sizes:
    """The sized nodes of a workflow that run."""
    chain = Chain(part_that_runs(graph), _factor_of)
    found = [sized for node in running(graph) if (sized := _sized(chain, node))]
    if not found:
        chain = Chain(graph, _factor_of)
        found = [sized for node in graph.nodes.values() if (sized := _sized(chain, node))]
    begins = [s for s in found if not s.resizes]
    resizers = [s for s in found if s.resizes]
    first = [s for s in begins if "LATENT" in s.node.outputs]
    first = first or [s for s in begins if "IMAGE" in s.node.outputs]
    if not first:
        behind = below(graph, (s.node for s in resizers)) if resizers else set()
        first = [s for s in resizers if s.node.id not in behind] or begins
    starts = {s.node.id for s in first}
    behind = below(graph, (s.node for s in first)) if resizers else set()
    later = [s for s in resizers if s.node.id in behind and s.node.id not in starts]
    distinct = _distinct(first)
    if len(distinct) <= MAX_FOLLOWED:
        distinct = tuple(_with_what_follows(chain, sized) for sized in distinct)
    return Sizes(distinct, _distinct(later))


def factors(graph: Graph) -> list[Target]:
    """The inputs of running nodes that hold a factor of enlargement."""
    found = []
    for node in running(graph):
        for spec in node.specs.values():
            if spec.name in FACTORS and spec.type in ("FLOAT", "INT") and spec.name in node.inputs:
                source = graph.source(Target(node, spec.name), ("FLOAT", "INT"))
                found += [source] if source else []
    return list({(t.node.id, t.name): t for t in found}.values())


def fixed_factor(
    graph: Graph, node_ids: Iterable[str], planner: Planner | None = None
) -> float | None:
    """By how much the upscale models of these nodes enlarge, by the names of their files; 1 without
    models, None if a name does not say it. ``planner``: its changes count.
    """
    total: float = 1.0
    for node in (graph.nodes[one] for one in node_ids):
        for spec in node.specs.values():
            linked = graph.link(node.inputs.get(spec.name))
            if spec.type == "UPSCALE_MODEL" and linked is not None and "IMAGE" in node.outputs:
                factor = _factor_of(graph, linked[0], planner)
                if factor is None:
                    return None
                total *= factor
    return total


def _factor_of(graph: Graph, loader: Node, planner: Planner | None = None) -> float | None:
    """``4x-UltraSharp.pth``, ``RealESRGAN_x2plus`` -> 4, 2: of the model that will be loaded."""
    import re

    from comfyui_pipeline.workflow import model_names

    changes = planner.changes if planner else {}
    used = {
        (r.target.node.id, r.target.name): r.new
        for r in model_names.replacements(graph, set(changes), any_of=True)
    }
    for name, spec in loader.specs.items():
        value = changes[loader.id, name].value if (loader.id, name) in changes else None
        value = value or used.get((loader.id, name)) or loader.inputs.get(name)
        if spec.type == "COMBO" and isinstance(value, str):
            found = re.search(r"(?<![0-9])([1-9])x|x([1-9])(?![0-9])", value.lower())
            if found:
                return float(found[1] or found[2])
    return None


def _sized(chain: Chain, node: Node) -> SizedNode | None:
    names = side_names(node)
    makes = {*PIXELS, "VIDEO", *WILDCARDS} & {*node.outputs}
    if names is None or _has_presets(node) or (names[0] != "width" and not makes):
        return None
    if any(spec.takes_file for spec in node.specs.values()):
        return None
    width, height = (_root(chain, node, names[i], side) for i, side in enumerate(SIDES))
    if width is None or height is None or width.factor != height.factor:
        return None
    computed = node.inputs.get(names[0]) != node.inputs.get(names[1])
    if computed and _same(width.target, height.target):
        width, height = (Root(Target(node, name)) for name in names)  # in place of the links
    resizes = any(
        (spec := node.specs.get(name)) is not None
        and spec.required
        and chain.kind(node, name) in PIXELS
        and spec.type in node.outputs
        for name in chain.linked(node)
    )
    return SizedNode(node, width.target, height.target, resizes, width.factor)


def _has_presets(node: Node) -> bool:
    """Whether a choice such as "Custom" decides if a node's numbers count."""
    from comfyui_pipeline.workflow import size_choices

    return size_choices.offers_own_numbers(node)


def _root(chain: Chain, node: Node, name: str, side: str) -> Root | None:
    target = Target(node, name)
    found = chain.root(target, side)
    if found is None:
        source = chain.graph.source(target, ("INT",))
        found = Root(source) if source else None
    return found


def _same(one: Target, other: Target) -> bool:
    return (one.node.id, one.name) == (other.node.id, other.name)


def _with_what_follows(chain: Chain, sized: SizedNode) -> SizedNode:
    return sized if sized.resizes else replace(sized, after=chain.after(sized))


def _distinct(found: list[SizedNode]) -> tuple[SizedNode, ...]:
    return tuple({sized.key: sized for sized in found}.values())
