"""Sizes that a node offers as choices: ``720p``, ``2K``, ``16:9``, ``1280x720``, ``Custom``.

An input is recognised by its choices: every choice with a digit says a size, a ratio or a level of
quality. A request takes the nearest choice; what it differs by is said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.changes import Origin, Planner
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target
from comfyui_pipeline.workflow.running import below, running
from input_server.light_dataclasses import dataclass

if TYPE_CHECKING:
    from comfyui_pipeline.size_values import SizeRequest

PICTURES = frozenset({"IMAGE", "VIDEO", "LATENT", "SVG"})
NAMES = ("resolution", "ratio", "size", "quality", "dimension")
"""Words in the names of inputs whose choices are sizes."""
FAR = 1.25
"""A ratio that differs by more than this factor has another shape."""
NEAR = 1.02
"""A ratio that differs by less than this factor is the same shape."""
LINES_OF_K: Mapping[float, int] = {1: 720, 2: 1440, 4: 2160, 8: 4320}
"""What "2K" means next to choices such as "1080p"."""
_PAIR = re.compile(r"([0-9]{3,5}) ?[x×*:] ?([0-9]{3,5})")
_RATIO = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?) ?[:/] ?([0-9]{1,2}(?:\.[0-9]{1,3})?)(?![0-9])")
_LINES = re.compile(r"(?<![0-9])([0-9]{3,4})p\b")
_K = re.compile(r"(?<![0-9.])([0-9](?:\.[0-9])?)k\b")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a choice says: pixels (``width``, ``height``), only a ``ratio``, or a length of its sides."""

    width: int = 0
    height: int = 0
    ratio: float = 0
    short: int = 0
    long: int = 0

    @property
    def kind(self) -> str:
        return "size" if self.width else "ratio" if self.ratio else "level"


@dataclass(frozen=True, slots=True)
class ChoiceNode:
    """A node that makes pictures, and its inputs whose choices are sizes, ratios and levels."""

    node: Node
    size: Target | None
    ratio: Target | None
    level: Target | None

    @property
    def targets(self) -> list[Target]:
        return [t for t in (self.size, self.level, self.ratio) if t]

    @property
    def now(self) -> tuple[str, ...]:
        """Its present choices; nodes with the same ones change together."""
        return tuple(str(t.node.inputs.get(t.name)).lower() for t in self.targets)


def find(graph: Graph) -> list[ChoiceNode]:
    """The nodes whose choices decide the size of the result."""
    found = [one for node in running(graph) if (one := _choices_of(node))]
    videos = [one for one in found if "VIDEO" in one.node.outputs]
    found = videos or found  # pictures next to videos are made for them
    if len({one.now for one in found}) < 2:
        return found
    return [one for one in found if not below(graph, [one.node]) & {o.node.id for o in found}]


def targets_of(found: Sequence[ChoiceNode], argument: str) -> list[Target]:
    """The inputs that ``size`` or ``aspect_ratio`` changes; ``width`` and ``height`` have none."""
    if argument == "size":
        chosen = [one.size or one.level for one in found]
    elif argument == "aspect_ratio":
        chosen = [one.ratio or one.size for one in found]
    else:
        chosen = []
    return [target for target in chosen if target]


def _choices_of(node: Node) -> ChoiceNode | None:
    if PICTURES.isdisjoint(node.outputs) and "empty_latent_width" not in node.specs:
        return None
    kinds: dict[str, Target] = {}
    for spec in node.specs.values():
        value = node.inputs.get(spec.name)
        kind = _kind(spec, value) if isinstance(value, str) else ""
        if kind and kind not in kinds:
            kinds[kind] = Target(node, spec.name)
    if not kinds:
        return None
    return ChoiceNode(node, kinds.get("size"), kinds.get("ratio"), kinds.get("level"))


def offers_own_numbers(node: Node) -> bool:
    """Whether one of a node's sizes to choose from is "Custom"."""
    return any(
        spec.choices and any(map(_is_custom, spec.choices)) and _kind(spec, "") == "size"
        for spec in node.specs.values()
    )


def _is_custom(choice: Any) -> bool:
    return "custom" in str(choice).lower() and not any(c.isdigit() for c in str(choice))


def _kind(spec: InputSpec, value: str) -> str:
    """``size``, ``ratio`` or ``level``; "" for an input that is none of them."""
    name = spec.name.rpartition(".")[2].lower()
    if not any(word in name for word in NAMES):
        return ""
    if spec.type == "STRING":
        meaning = meaning_of(value)
        return "ratio" if "ratio" in name and meaning and meaning.kind == "ratio" else ""
    choices = [str(choice) for choice in spec.choices]
    said = [meaning_of(choice) for choice in choices if any(c.isdigit() for c in choice)]
    kinds = {meaning.kind if meaning else "" for meaning in said}
    return kinds.pop() if len(kinds) == 1 else ""


def meaning_of(choice: str) -> Meaning | None:
    """What a choice says about the size; None for a word such as ``auto``."""
    text = choice.lower()
    if pair := _PAIR.search(text):
        width, height = int(pair[1]), int(pair[2])
        return Meaning(width, height, width / height) if width and height else None
    if pair := _RATIO.search(text):
        wide, tall = float(pair[1]), float(pair[2])
        return Meaning(ratio=wide / tall) if wide and tall else None
    if lines := _LINES.search(text):
        return Meaning(short=int(lines[1]))
    if thousands := _K.search(text):
        return Meaning(long=int(float(thousands[1]) * 1024))
    return None


# -- placing ---------------------------------------------------------------------------------------


def place(
    planner: Planner, given: Mapping[str, Any], request: SizeRequest, found: Sequence[ChoiceNode]
) -> None:
    """Set the choices that mean the request, the same ones in all nodes. Raises PatchError."""
    name = "size" if "size" in given else next(iter(given))
    if not (request.width or request.height or request.area or request.ratio):
        planner.notes.append(f"{planner.key(name)}: the workflow's own choice stays.")
        return
    if len({one.now for one in found}) > 1:
        raise _several(planner, name, found)
    asked = _worded(request)
    said = []
    for one in found:
        wanted = _Wanted.of(request, one)
        values = _values(planner, name, one, wanted)
        free = {t.name: v for t, v in values if planner.unset([t])}
        for target, value in values:
            if target.name in free:
                planner.set(target, value, Origin.ARGUMENT, name, part=target.name)
        if free:
            chosen = ", ".join(f"{_short(key)} {value}" for key, value in free.items())
            said.append((chosen, _is_near(one, wanted, values)))
        if wanted.ratio and not (one.size or one.ratio) and not request.shape:
            planner.notes.append(
                f"Node {one.node.label} has no aspect ratio: the shape follows from its input."
            )
    for chosen, near in dict.fromkeys(said):
        text = f"{asked} → {chosen}" + ("." if near else ": the nearest choice, not exact.")
        (planner.notes if near else planner.important).append(text)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request as a shape and lengths of sides; 0 for what it leaves open."""

    width: int
    height: int
    ratio: float
    short: float
    long: float

    @staticmethod
    def of(request: SizeRequest, one: ChoiceNode) -> _Wanted:
        now = _now(one)
        width, height = request.width or 0, request.height or 0
        ratio = width / height if width and height else 0
        if request.ratio:
            ratio = request.ratio[0] / request.ratio[1]
        shape = ratio or now.ratio or 1
        if request.shape and width and (one.level or (one.size and now.ratio)):
            short = min(width, height)  # "1080p" says nothing on the shape
            return _Wanted(0, 0, 0, short, short * max(shape, 1 / shape))
        if width and not height:
            height = round(width / shape)
        elif height and not width:
            width = round(height * shape)
        area = width * height or request.area or 0
        if not area:
            return _Wanted(0, 0, ratio, 0, 0)
        wide, tall = (area * shape) ** 0.5, (area / shape) ** 0.5
        return _Wanted(width, height, ratio, min(wide, tall), max(wide, tall))


def _now(one: ChoiceNode) -> Meaning:
    """What the present choices say of size and shape."""
    for target in (one.size, one.ratio):
        meaning = meaning_of(str(target.node.inputs.get(target.name))) if target else None
        if meaning:
            return meaning
    return Meaning()


def _values(
    planner: Planner, name: str, one: ChoiceNode, wanted: _Wanted
) -> list[tuple[Target, Any]]:
    if one.size:
        return _size_values(planner, name, one, one.size, wanted)
    values: list[tuple[Target, Any]] = []
    if one.level and wanted.short:
        values.append((one.level, _nearest_level(one.level, wanted)))
    if one.ratio and wanted.ratio:
        values.append((one.ratio, _nearest_ratio(planner, name, one.ratio, wanted.ratio)))
    if not values:
        missing = "aspect ratio" if one.level else "number of pixels"
        listed = "; ".join(f"{t.name}: {_listed(t)}" for t in one.targets)
        raise PatchError(
            f'"{planner.key(name)}" cannot be met: node {one.node.label} has no {missing}.',
            f"It has {listed}.",
        )
    return values


def _size_values(
    planner: Planner, name: str, one: ChoiceNode, target: Target, wanted: _Wanted
) -> list[tuple[Target, Any]]:
    read = [(choice, meaning) for choice, meaning in _read(target) if meaning.width]
    for choice, meaning in read:
        if (meaning.width, meaning.height) == (wanted.width, wanted.height):
            return [(target, choice)]
    if wanted.width and wanted.height and (custom := _custom(one, target, wanted)):
        return custom
    now = _now(one)
    ratio = wanted.ratio or now.ratio or 1
    area = wanted.short * wanted.long or now.width * now.height or read[0][1].width ** 2
    best = min(_off(meaning.ratio, ratio) for _, meaning in read)
    _check_shape(planner, name, target, best)
    close = [(c, m) for c, m in read if _off(m.ratio, ratio) <= best * 1.04]
    return [(target, min(close, key=lambda pair: _off(pair[1].width * pair[1].height, area))[0])]


def _custom(one: ChoiceNode, target: Target, wanted: _Wanted) -> list[tuple[Target, Any]]:
    """The choice "Custom" with exact numbers, where these are within the limits of its inputs."""
    choice = next((c for c in _choices(target) if _is_custom(c)), None)
    if choice is None or target.spec is None:
        return []
    prefix = target.name.rpartition(".")[0]
    beside = [s for s in one.node.specs.values() if s.name.rpartition(".")[0] == prefix]
    found: list[tuple[Target, Any]] = [(target, choice)]
    for side in ("width", "height"):
        value = getattr(wanted, side)
        specs = [
            spec
            for spec in (*target.spec.branch(choice), *beside)
            if spec.type == "INT"
            and _short(spec.name) in (side, f"custom_{side}", f"empty_latent_{side}")
        ]
        if not specs or not _within(specs[0], value):
            return []
        found.append((Target(one.node, specs[0].name), value))
    return found


def _within(spec: InputSpec, value: int) -> bool:
    low, high, step = (spec.options.get(key) for key in ("min", "max", "step"))
    steps = step if isinstance(step, int) and step > 0 else 1
    fits = (not isinstance(low, int) or value >= low) and (
        not isinstance(high, int) or value <= high
    )
    return fits and value % steps == 0


def _nearest_ratio(planner: Planner, name: str, target: Target, ratio: float) -> str:
    if target.spec is not None and target.spec.type == "STRING":
        return _as_ratio(ratio)
    read = _read(target)
    choice, meaning = min(read, key=lambda pair: _off(pair[1].ratio, ratio))
    _check_shape(planner, name, target, _off(meaning.ratio, ratio))
    return choice


def _as_ratio(ratio: float) -> str:
    """A ratio in the smallest whole numbers that are close to it."""
    tall = next(t for t in range(1, 1001) if _off(max(1, round(ratio * t)) / t, ratio) < 1.004)
    return f"{max(1, round(ratio * tall))}:{tall}"


def _nearest_level(target: Target, wanted: _Wanted) -> str:
    read = _read(target)
    lines = any(meaning.short for _, meaning in read)

    def off(pair: tuple[str, Meaning]) -> float:
        meaning = pair[1]
        if meaning.long and not lines and wanted.long:
            return _off(meaning.long, wanted.long)
        return _off(_lines_of(meaning), wanted.short)

    return min(read, key=off)[0]


def _lines_of(meaning: Meaning) -> float:
    thousands = meaning.long / 1024
    return meaning.short or LINES_OF_K.get(thousands) or thousands * 576


def _is_near(one: ChoiceNode, wanted: _Wanted, values: Iterable[tuple[Target, Any]]) -> bool:
    """Whether the choices give what was asked, up to the rounding of the service."""
    for target, value in values:
        meaning = meaning_of(value) if isinstance(value, str) else None
        if meaning is None:
            continue
        if meaning.ratio and wanted.ratio and _off(meaning.ratio, wanted.ratio) > NEAR:
            return False
        if meaning.width and wanted.width:
            return (meaning.width, meaning.height) == (wanted.width, wanted.height)
        side = wanted.short if meaning.short else wanted.long
        vague = not wanted.width and meaning.long  # "2K" for "2K"
        if target == one.level and not vague and _off(meaning.short or meaning.long, side) > FAR:
            return False
    return True


def _check_shape(planner: Planner, name: str, target: Target, off: float) -> None:
    if off > FAR:
        raise PatchError(
            f'"{planner.key(name)}" cannot be met: no choice of {target.name!r} in node '
            f"{target.node.label} has nearly that shape.",
            f"Its choices are {_listed(target)}.",
        )


def _several(planner: Planner, name: str, found: Sequence[ChoiceNode]) -> PatchError:
    listed = "; ".join(
        f"node {one.node.label}, "
        + ", ".join(f"{t.name} = {t.node.inputs.get(t.name)}" for t in one.targets)
        for one in found[:12]
    )
    return PatchError(
        f'"{planner.key(name)}" is ambiguous: {len(found)} nodes of this workflow have different '
        "sizes.",
        f"Set each with params instead: {listed}.",
        code="ambiguous",
    )


def _read(target: Target) -> list[tuple[str, Meaning]]:
    return [(str(c), m) for c in _choices(target) if (m := meaning_of(str(c)))]


def _choices(target: Target) -> Sequence[Any]:
    return target.spec.choices if target.spec else ()


def _listed(target: Target) -> str:
    return ", ".join(str(choice) for choice in _choices(target)) or "any text such as 16:9"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _off(one: float, other: float) -> float:
    """By which factor two numbers differ, at least 1."""
    return max(one / other, other / one) if one > 0 and other > 0 else math.inf


def _worded(request: SizeRequest) -> str:
    """The request in the caller's terms."""
    if request.width or request.height:
        return "x".join(str(side or "?") for side in (request.width, request.height))
    parts = [f"{request.area / 1024 / 1024:.2g} megapixels"] if request.area else []
    if request.ratio:
        parts.append(f"{request.ratio[0]:g}:{request.ratio[1]:g}")
    return ", ".join(parts) or "auto"
