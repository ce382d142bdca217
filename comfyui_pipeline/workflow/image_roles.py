"""What the images of a workflow are for, by the inputs they feed: start image, end image, control image.

Names of inputs count first (``start_image``, ``last_frame``), then the titles of the loading nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from comfyui_pipeline.workflow.graph import Graph, Node, Target

WORDS: Mapping[str, frozenset[str]] = {
    "end image": frozenset({"end", "last", "final", "tail"}),
    "start image": frozenset({"start", "first", "begin", "initial"}),
    "control image": frozenset({"control", "pose", "depth", "canny", "lineart", "sketch", "hint"}),
    "reference image": frozenset({"reference", "ref", "style"}),
}
TITLE_WORDS: Mapping[str, tuple[str, ...]] = {
    "end image": ("尾帧", "尾幀", "末帧", "结束", "最后"),
    "start image": ("首帧", "首幀", "起始", "开始", "第一帧"),
    "control image": ("控制", "线稿", "姿势", "深度"),
    "reference image": ("参考", "參考"),
}
ARGUMENT_ROLES: Mapping[str, str] = {
    "start_image": "start image",
    "end_image": "end image",
    "control_image": "control image",
}
COUNTING = frozenset({"first", "last", "final", "initial"})
IMAGES = ("IMAGE", "MASK")
MAX_FOLLOWED = 16
"""Nodes that only change an image, behind one that loads it."""
_TOKEN = re.compile(r"[A-Za-z][a-z]*|[A-Z]+")


def part_of(graph: Graph, target: Target) -> str:
    """The role of the image that an input loads; "" for one that is just the image."""
    roles = [_role_of_name(name) for node, name in _fed(graph, target.node)]
    roles += ["control image" for node, _ in _fed(graph, target.node) if _takes_control(node)]
    found = [role for role in roles if role]
    return found[0] if found else _role_of_title(target.node.title)


def with_part(graph: Graph, targets: Iterable[Target], part: str) -> list[Target]:
    """Those of the inputs whose image has this role."""
    return [target for target in targets if part_of(graph, target) == part]


def in_slot_order(graph: Graph, targets: Sequence[Target]) -> list[Target]:
    """The inputs, those that feed the same node in the order of that node's inputs."""
    slots: dict[str, list[tuple[int, Target]]] = {}
    for target in targets:
        for node, name in _fed(graph, target.node):
            names = [*node.specs, *(n for n in node.inputs if n not in node.specs)]
            slots.setdefault(node.id, []).append((names.index(name), target))
    groups = [found for found in slots.values() if len({t.node.id for _, t in found}) > 1]
    if not groups:
        return list(targets)
    shared = max(groups, key=len)
    best: dict[str, int] = {}
    for slot, target in shared:
        best[target.node.id] = min(slot, best.get(target.node.id, slot))
    ordered = iter(sorted((t for t in targets if t.node.id in best), key=lambda t: best[t.node.id]))
    return [next(ordered) if target.node.id in best else target for target in targets]


def _fed(graph: Graph, node: Node) -> Iterator[tuple[Node, str]]:
    """The inputs that an image reaches: through nodes that only change the image."""
    seen = {node.id}
    waiting = [node]
    while waiting:
        for below, name, slot in graph.consumers(waiting.pop(0)):
            above = graph.link(below.inputs[name])
            if above is None or (slot < len(above[0].outputs) and not _is_image(above[0], slot)):
                continue
            yield below, name
            taken = [
                s for s in below.specs.values() if s.type == "IMAGE" and s.name in below.inputs
            ]
            new = below.id not in seen and len(seen) < MAX_FOLLOWED
            if "IMAGE" in below.outputs and len(taken) <= 1 and new:
                seen.add(below.id)
                waiting.append(below)


def _is_image(node: Node, slot: int) -> bool:
    return node.outputs[slot] in (*IMAGES, "*", "COMFY_MATCHTYPE_V3")


def _takes_control(node: Node) -> bool:
    return any("CONTROL_NET" in spec.type for spec in node.specs.values())


def _role_of_name(name: str) -> str:
    words = {word.lower() for word in _TOKEN.findall(name)}
    return next((role for role, known in WORDS.items() if words & known), "")


def _role_of_title(title: str) -> str:
    """ "First Image" only counts images; "First Frame" is the start."""
    words = {word.lower() for word in _TOKEN.findall(title)}
    counts = words & COUNTING and "frame" not in words
    if not counts and (found := _role_of_name(title)):
        return found
    return next(
        (role for role, known in TITLE_WORDS.items() if any(word in title for word in known)), ""
    )
