"""How long a result is: ``duration`` in seconds, ``frames`` and ``fps``.

A number is set where it is held, and in all places that must agree: the latent's length and the
sound's, the rate of the encoder and of the conditioning. A length that is computed from seconds and
frames per second is set through its seconds; a number of frames takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.changes import NoRole, Origin, Planner
from comfyui_pipeline.workflow.graph import Graph, Target, is_link
from comfyui_pipeline.workflow.nearest_values import nearest_allowed
from comfyui_pipeline.workflow.number_sources import (
    computing,
    is_number,
    is_whole,
    linked_numbers,
    origins,
)
from comfyui_pipeline.workflow.running import above, running

ARGUMENTS = ("duration", "frames", "fps")
FRAMES = (
    "length",
    "num_frames",
    "frames",
    "frame_count",
    "video_frames",
    "video_length",
    "frames_number",
)
LOADED_FRAMES = ("frame_load_cap",)
RATES = ("fps", "frame_rate", "frames_per_second", "video_fps")
LOADED_RATES = ("force_rate",)
SECONDS = (
    "seconds",
    "duration",
    "duration_seconds",
    "audio_length",
    "length_seconds",
    "seconds_total",
)
NEAR = 0.1
"""By how much rates of one video differ: 24 beside 25. Motion conditioning and previews differ by more."""
MEDIA = frozenset({"VIDEO", "AUDIO"})


def frames(graph: Graph) -> list[Target]:
    """The inputs that hold the number of frames: those of nodes that begin a video and those that
    agree with them, else of any; else how many frames of a video are loaded.
    """
    found = [(used, held) for used in _named(graph, FRAMES) if (held := _frames_at(graph, used))]
    begin = [(used, held) for used, held in found if "LATENT" in used.node.outputs]
    if begin:
        known = {_number(t) for _, held in begin for t in held} - {None}
        agree = [held for _, held in found if all(_number(t) in known for t in held)]
        return _distinct(t for held in [*(h for _, h in begin), *agree] for t in held)
    loaded = [used for used in _named(graph, LOADED_FRAMES) if origins(graph, used)]
    return _distinct(t for _, held in found for t in held) or _all_origins(graph, loaded)


def _frames_at(graph: Graph, used: Target) -> tuple[Target, ...]:
    """Where to write a number of frames: at its source, or in place of what computes it."""
    if held := origins(graph, used):
        return held
    return (used,) if computing(graph, used) is not None else ()


def rates(graph: Graph) -> list[Target]:
    """The inputs that hold the frames per second of the result, and others that agree with it."""
    found = [
        (used, held)
        for used in _named(graph, RATES)
        if (held := origins(graph, used)) and _has_content(used)
    ]
    if not found:
        return _all_origins(graph, _named(graph, LOADED_RATES))
    sizes = {used.node.id: len(above(graph, used.node)) for used, _ in found}
    main = max(found, key=lambda one: (one[0].node.is_output_node, sizes[one[0].node.id]))
    value = _number(main[1][0]) or 0.0
    loaded = [(t, origins(graph, t)) for t in _named(graph, LOADED_RATES)]
    return _distinct(
        target
        for _, held in [*found, *loaded]
        for target in held
        if abs((_number(target) or 0.0) - value) <= value * NEAR
    )


def _has_content(used: Target) -> bool:
    """Whether a node that has a frame rate gets anything to show, or needs nothing."""
    wanted = [
        s.name for s in used.node.specs.values() if s.required and s.type in ("IMAGE", "VIDEO")
    ]
    return all(is_link(used.node.inputs.get(name)) for name in wanted)


def seconds(graph: Graph) -> list[Target]:
    """The inputs that hold a duration in seconds: by name, and those that a length is computed from."""
    named = [used for used in _named(graph, SECONDS, ("COMBO",)) if origins(graph, used)]
    cuts = [used for used in named if _cuts(graph, used)]
    computed = _computed_from(graph)
    makes = [used for used in named if used not in cuts]
    if not (makes or computed) and any("LATENT" in t.node.outputs for t in frames(graph)):
        return []  # the length is what counts: a sound or a film is only cut
    return _distinct([*computed, *_all_origins(graph, makes)]) or _all_origins(graph, cuts)


def _cuts(graph: Graph, used: Target) -> bool:
    """Whether a node only takes a part of a video or sound, and makes none."""
    if any(name.endswith("seed") for name in used.node.specs):
        return False
    linked = {
        spec.type
        for spec in used.node.specs.values()
        if graph.link(used.node.inputs.get(spec.name)) is not None
    }
    return not MEDIA.isdisjoint(linked & set(used.node.outputs))


def _computed_from(graph: Graph) -> list[Target]:
    """The numbers besides the rate from which the length of a video is computed."""
    rate = {_key(t) for used in _named(graph, RATES) for t in origins(graph, used)}
    found: list[Target] = []
    for used in _named(graph, FRAMES):
        node = computing(graph, used)
        links = linked_numbers(graph, node) if node is not None else ()
        held = [t for link in links for t in origins(graph, link)]
        others = [t for t in held if _key(t) not in rate and not _counts(t)]
        found += others if len({t.node.id for t in others}) == 1 else []
    return found


def _counts(target: Target) -> bool:
    """Whether a title says that a number is one of frames, or a rate."""
    title = target.node.title.lower()
    return any(word in title for word in ("frame", "fps", "rate", "帧")) and "duration" not in title


def duration(graph: Graph) -> list[Target]:
    """What ``duration`` changes: seconds, else the number of frames if the fps are known."""
    return seconds(graph) or (frames(graph) if _rate(graph) else [])


def place(planner: Planner, name: str, given: Mapping[str, Any]) -> None:
    """Plan the changes of one of these arguments; ``fps`` counts for the others. Raises PatchError."""
    graph = planner.graph
    if name == "fps":
        _set_all(planner, rates(graph), given["fps"], "fps")
    elif name == "frames":
        _place_frames(planner, given["frames"], given.get("fps"))
    else:
        _place_duration(planner, float(given["duration"]), given.get("fps"))


def _place_frames(planner: Planner, wanted: int, fps: float | None) -> None:
    targets, rate = frames(planner.graph), fps or _rate(planner.graph)
    direct = [] if targets else seconds(planner.graph)
    if direct and rate:
        planner.notes.append(
            f"{wanted} frames at {rate:g} frames per second: {wanted / rate:.3g} s."
        )
        _set_seconds(planner, direct, wanted / rate, "frames")
    elif direct:
        raise PatchError(
            f'This workflow has seconds but no frames per second, so that "{planner.key("frames")}" '
            "cannot be converted.",
            'Give "duration" in seconds.',
        )
    else:
        _set_all(planner, targets, wanted, "frames")


def _set_seconds(planner: Planner, targets: list[Target], wanted: float, name: str) -> None:
    for target in planner.unset(targets):
        value = nearest_allowed(target.spec, wanted)
        planner.set(
            target, value, Origin.ARGUMENT, name, part="" if name == "duration" else "seconds"
        )
        if value.__class__ is str or value != wanted:
            number = str(value).strip().rstrip("s")
            if number != f"{wanted:g}":
                planner.notes.append(
                    f"Node {target.node.label} cannot make {wanted:g} s; the nearest is {number} s."
                )


def _place_duration(planner: Planner, wanted: float, fps: float | None) -> None:
    graph = planner.graph
    if direct := seconds(graph):
        _set_seconds(planner, direct, wanted, "duration")
        return
    targets = frames(graph)
    key = planner.key("duration")
    if not targets:
        raise NoRole(
            f'This workflow has no duration that "{key}" could change.',
            "Its result is no video or audio of a length that can be chosen.",
        )
    rate = fps or _rate(graph)
    if not rate:
        raise PatchError(
            f'This workflow has a number of frames but no frames per second, so that "{key}" '
            "cannot be converted.",
            'Give "frames".',
        )
    free = planner.unset(targets)
    if not free:
        raise PatchError(f'"{key}" and "frames" both set the length.', "Give only one.")
    for target in free:
        number = _on_step(target, wanted * rate)
        planner.set(target, number, Origin.ARGUMENT, "duration", part="frames")
        steps = f"; its frames come in {_series(target)}" if number != wanted * rate else ""
        planner.notes.append(
            f"{number} frames at {rate:g} frames per second last {number / rate:.3g} s{steps}."
        )


def _on_step(target: Target, number: float) -> int:
    """The nearest number of frames that the input takes; many models take 4n+1."""
    options = target.spec.options if target.spec else {}
    step, low = options.get("step", 1), options.get("min", 1)
    step = step if isinstance(step, int) and step > 0 else 1
    low = low if isinstance(low, int) else 1
    offset = low % step
    return max(low, round((number - offset) / step) * step + offset)


def _series(target: Target) -> str:
    """The numbers of frames that an input takes: ``whole numbers``, ``steps of 4 plus 1``."""
    options = target.spec.options if target.spec else {}
    step, low = options.get("step", 1), options.get("min", 1)
    if not isinstance(step, int) or step <= 1 or not isinstance(low, int):
        return "whole numbers"
    return f"steps of {step}" + (f" plus {low % step}" if low % step else "")


def _set_all(planner: Planner, targets: list[Target], value: Any, name: str) -> None:
    if not targets:
        raise NoRole(
            f'This workflow has no input for "{planner.key(name)}".',
            "describe lists what it takes.",
        )
    for target in planner.unset(targets):
        new = max(1, round(value)) if is_whole(target) else value
        planner.set(target, new, Origin.ARGUMENT, name)


def _rate(graph: Graph) -> float | None:
    for target in rates(graph):
        value = _number(target)
        if value is not None and value > 0:
            return value
    return None


def _number(target: Target) -> float | None:
    value = target.node.inputs.get(target.name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _key(target: Target) -> tuple[str, str]:
    return target.node.id, target.name


def _named(graph: Graph, names: tuple[str, ...], more: tuple[str, ...] = ()) -> list[Target]:
    """The inputs of these names at running nodes that take numbers, or one of ``more`` types."""
    return [
        Target(node, spec.name)
        for node in running(graph)
        for spec in node.specs.values()
        if spec.name.rpartition(".")[2].lower() in names
        and (is_number(node, spec.name) or spec.type in more)
        and spec.name in node.inputs
    ]


def _all_origins(graph: Graph, used: Iterable[Target]) -> list[Target]:
    return _distinct(target for one in used for target in origins(graph, one))


def _distinct(targets: Iterable[Target]) -> list[Target]:
    return list({_key(t): t for t in targets}.values())
