"""What the images of a workflow are for, by the inputs they feed: start image, end image, control image.

Names of inputs count first (``start_image``, ``last_frame``), then the titles of the loading nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from comfyui_pipeline.workflow.graph import WILDCARDS, Graph, Node, Target
from comfyui_pipeline.workflow.schema import MATCH_TYPE

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
PASSED = frozenset({"IMAGE", MATCH_TYPE})
MAX_FOLLOWED = 16
"""Nodes that only change an image, behind one that loads it."""
FRAME_INDEX = ("frame_idx", "frame_index")
"""Parts of the name of an input that says at which frame an image is placed."""
FRAME_ROLES: Mapping[int | None, str] = {0: "start image", -1: "end image"}
_NUMBERS = re.compile(r"\d+")
_TOKEN = re.compile(r"[A-Za-z][a-z]*|[A-Z]+")


def part_of(graph: Graph, target: Target) -> str:
    """The role of the image that an input loads; "" for one that is just the image."""
    roles = [role_of_name(name) for node, name in fed(graph, target.node)]
    roles += ["control image" for node, _ in fed(graph, target.node) if _takes_control(node)]
    found = [role for role in roles if role]
    if not found and (role := FRAME_ROLES.get(frame_of(graph, target.node))):
        return role
    return found[0] if found else _role_of_title(target.node.title)


def frame_of(graph: Graph, loader: Node) -> int | None:
    """The frame of a video at which an image is placed; None if there is none, or if it is computed."""
    for node, name in fed(graph, loader):
        number = _NUMBERS.findall(name)[-1:]
        for spec in node.specs.values():
            own = _NUMBERS.findall(spec.name)[-1:]
            if any(word in spec.name for word in FRAME_INDEX) and own in ([], number):
                value = graph.value_at(node, spec.name, ("INT",))
                return value if isinstance(value, int) else None
    return None


def with_part(graph: Graph, targets: Iterable[Target], part: str) -> list[Target]:
    """Those of the inputs whose image has this role."""
    return [target for target in targets if part_of(graph, target) == part]


def fed(graph: Graph, node: Node) -> Iterator[tuple[Node, str]]:
    """The inputs that an image reaches: through nodes that only change the image."""
    seen = {node.id}
    waiting = [node]
    while waiting:
        for below, name, slot in graph.consumers(waiting.pop(0)):
            above = graph.link(below.inputs[name])
            if above is None or (slot < len(above[0].outputs) and not _is_image(above[0], slot)):
                continue
            yield below, name
            taken = [s for s in below.specs.values() if s.type in PASSED and s.name in below.inputs]
            new = below.id not in seen and len(seen) < MAX_FOLLOWED
            if not PASSED.isdisjoint(below.outputs) and len(taken) <= 1 and new:
                seen.add(below.id)
                waiting.append(below)


def _is_image(node: Node, slot: int) -> bool:
    return node.outputs[slot] in (*IMAGES, *WILDCARDS)


def _takes_control(node: Node) -> bool:
    return any("CONTROL_NET" in spec.type for spec in node.specs.values())


def role_of_name(name: str) -> str:
    """The role that the name of an input says: ``end_frame`` takes the end image."""
    words = {word.lower() for word in _TOKEN.findall(name)}
    return next((role for role, known in WORDS.items() if words & known), "")


def _role_of_title(title: str) -> str:
    """ "First Image" only counts images; "First Frame" is the start."""
    words = {word.lower() for word in _TOKEN.findall(title)}
    counts = words & COUNTING and "frame" not in words
    if not counts and (found := role_of_name(title)):
        return found
    return next(
        (role for role, known in TITLE_WORDS.items() if any(word in title for word in known)), ""
    )
