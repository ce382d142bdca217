"""The order of a workflow's input images: that of the inputs which they finally feed.

The workflow is read from its main result upwards, each node's inputs in the order of its type: an
image is counted where it is first met. A chain of nodes (reference latents, ControlNets, guides)
comes out in the order in which it is applied. The order of nodes in the file does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from comfyui_pipeline.workflow import image_roles
from comfyui_pipeline.workflow.branches import unused_inputs
from comfyui_pipeline.workflow.graph import Graph, Node, Target, is_link

VALUES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
"""Types of links that carry no picture: an image that only these reach comes last."""
RANKS = {"start image": -1, "end image": 1, "reference image": 2}
"""The place of an input among those of its node, by its name; 0 for all others."""
MAX_RESULTS = 8
"""Results whose whole way up is looked at; further ones count as they are listed."""
_NUMBERS = re.compile(r"(\d+)")


def in_slot_order(graph: Graph, targets: Sequence[Target]) -> list[Target]:
    """The inputs in the order of the slots that they feed, without those that are only shown while
    others make a result.
    """
    if len(targets) < 2 or not (outputs := _outputs(graph)):
        return list(targets)
    wanted = {target.node.id for target in targets}
    results = _making(graph, outputs)
    found = _reached(graph, results, wanted) or _reached(graph, outputs, wanted)
    ordered = [t for node_id in found for t in targets if t.node.id == node_id]
    return _by_frame(graph, ordered)


def independent(graph: Graph, targets: Sequence[Target]) -> bool:
    """Whether no result derives from two of the images, so that their order has no meaning."""
    ids = {target.node.id for target in targets}
    outputs = _outputs(graph)
    results = (_making(graph, outputs) or outputs)[:MAX_RESULTS]
    return len(ids) > 1 and all(len(_above(graph, node) & ids) < 2 for node in results)


def slots(graph: Graph, targets: Iterable[Target]) -> list[str]:
    """Each image with what it is for: ``1 → start image (node 5 "Load Image")``."""
    return [
        f"{number} → {slot(graph, target)} ({_short(target.node)})"
        for number, target in enumerate(targets, start=1)
    ]


def _short(node: Node) -> str:
    return f'node {node.id} "{node.title or node.class_type}"'


def slot(graph: Graph, target: Target) -> str:
    """The role of an image, else the input where it meets something else than images."""
    if role := image_roles.part_of(graph, target):
        return role
    frame = image_roles.frame_of(graph, target.node)
    ends = [
        (node, name)
        for node, name in image_roles.fed(graph, target.node)
        if not node.is_output_node
        and (set(node.outputs).isdisjoint(image_roles.IMAGES) or _takes_several(node))
        and not set(node.outputs) <= VALUES
    ]
    if not ends:
        return "image"
    node, name = ends[0]
    if node.outputs == ("LATENT",) and not _takes_several(node):
        node, name = next(((user, into) for user, into, _ in graph.consumers(node)), (node, name))
    at = f" at frame {frame}" if frame is not None else ""
    return f"{name} of {_short(node)}{at}"


def _takes_several(node: Node) -> bool:
    """Whether a node takes two pictures or encodings."""
    given = [spec.type for spec in node.specs.values() if is_link(node.inputs.get(spec.name))]
    return sum(kind in ("IMAGE", "LATENT", "CONDITIONING") for kind in given) > 1


def natural(node_id: str) -> list[Any]:
    """A key that sorts ids by the numbers in them."""
    return [
        (int(part), "") if part.isdigit() and len(part) < 20 else (-1, part)
        for part in _NUMBERS.split(node_id)
    ]


# -- results ---------------------------------------------------------------------------------------


def _outputs(graph: Graph) -> list[Node]:
    """The output nodes, that with the longest way to it first."""
    nodes = [node for node in graph.nodes.values() if node.is_output_node]
    nodes.sort(key=lambda node: natural(node.id))
    first = sorted(nodes[:MAX_RESULTS], key=lambda node: -len(_above(graph, node)))
    return first + nodes[MAX_RESULTS:]


def _making(graph: Graph, outputs: list[Node]) -> list[Node]:
    """The outputs that do not only show or compare."""
    first = [node for node in outputs[:MAX_RESULTS] if not _only_shows(graph, node)]
    return first + outputs[MAX_RESULTS:]


def _only_shows(graph: Graph, output: Node) -> bool:
    """Whether an output neither saves nor shows something made: a comparison, a preview of an input."""
    if "filename_prefix" in output.specs:
        return False
    pictures = [n for n in output.inputs if is_link(output.inputs[n]) and _pictures(output, n)]
    above = [graph.nodes[node_id] for node_id in _above(graph, output)]
    made = any(
        spec.name.endswith("seed") for node in (output, *above) for spec in node.specs.values()
    )
    return len(pictures) > 1 or not made


def _above(graph: Graph, node: Node) -> set[str]:
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for _, above in _links(graph, waiting.pop()):
            if above.id not in found:
                found.add(above.id)
                waiting.append(above)
    return found


# -- the way up ------------------------------------------------------------------------------------


def _reached(graph: Graph, outputs: Iterable[Node], wanted: set[str]) -> list[str]:
    """The wanted nodes in the order in which they are met; those behind plain values last."""
    found: dict[str, None] = {}
    for values_too in (False, True):
        seen: set[str] = set()
        for output in outputs:
            waiting = [output]
            while waiting:
                node = waiting.pop()
                if node.id in seen:
                    continue
                seen.add(node.id)
                if node.id in wanted:
                    found.setdefault(node.id)
                ways = [
                    (_rank(node, name), above)
                    for name, above in _links(graph, node)
                    if values_too or _pictures(node, name)
                ]
                waiting += [above for _, above in sorted(ways, key=lambda w: w[0], reverse=True)]
    return list(found)


def _links(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """The nodes above, except those that a switch leaves out."""
    unused = unused_inputs(graph, node)
    for name, value in node.inputs.items():
        if name not in unused and (linked := graph.link(value)):
            yield name, linked[0]


def _pictures(node: Node, name: str) -> bool:
    spec = node.specs.get(name)
    return spec is None or not VALUES.issuperset(spec.type.split(","))


def _rank(node: Node, name: str) -> tuple[int, int, int]:
    """What a node passes on comes before what it adds; a sampler's latent first and its model last."""
    kinds = {name: spec.type for name, spec in node.specs.items()}
    kind = kinds.get(name, "")
    place = -1 if kind in node.outputs and kind not in image_roles.IMAGES else 0
    if {"MODEL", "CONDITIONING", "LATENT"} <= set(kinds.values()):
        place = {"LATENT": -1, "MODEL": 1}.get(kind, 0)
    role = RANKS.get(image_roles.role_of_name(name), 0)
    names = [*node.specs, *(n for n in node.inputs if n not in node.specs)]
    return place, role, names.index(name)


# -- frames ----------------------------------------------------------------------------------------


def _by_frame(graph: Graph, targets: list[Target]) -> list[Target]:
    """Images that are placed at frames, in the order of these; counted from the end if negative."""
    frames = {
        t.node.id: index
        for t in targets
        if (index := image_roles.frame_of(graph, t.node)) is not None
    }
    placed = [t for t in targets if t.node.id in frames]
    ordered = iter(sorted(placed, key=lambda t: (frames[t.node.id] < 0, frames[t.node.id])))
    return [next(ordered) if t.node.id in frames else t for t in targets]
