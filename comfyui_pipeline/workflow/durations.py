"""How long a result is: ``duration`` in seconds, ``frames`` and ``fps``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.changes import NoRole, Origin, Planner
from comfyui_pipeline.workflow.graph import Graph, Target
from comfyui_pipeline.workflow.running import running

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
RATES = ("fps", "frame_rate", "frames_per_second", "video_fps")
SECONDS = (
    "seconds",
    "duration",
    "duration_seconds",
    "audio_length",
    "length_seconds",
    "seconds_total",
)
NUMBERS = ("INT", "FLOAT")


def frames(graph: Graph) -> list[Target]:
    """The inputs that hold the number of frames: those of nodes that begin a video, else of any."""
    found = _named(graph, FRAMES, ("INT",))
    latent = [t for used, t in found if used.node.outputs and "LATENT" in used.node.outputs]
    return _distinct(latent or [t for _, t in found])


def rates(graph: Graph) -> list[Target]:
    """The inputs that hold the frames per second."""
    return _distinct(t for _, t in _named(graph, RATES, NUMBERS))


def seconds(graph: Graph) -> list[Target]:
    """The inputs that hold a duration in seconds."""
    return _distinct(t for _, t in _named(graph, SECONDS, (*NUMBERS, "COMBO")))


def duration(graph: Graph) -> list[Target]:
    """What ``duration`` changes: seconds, else the number of frames if the fps are known."""
    return seconds(graph) or (frames(graph) if _rate(graph) else [])


def place(planner: Planner, name: str, given: Mapping[str, Any]) -> None:
    """Plan the changes of one of these arguments; ``fps`` counts for the others. Raises PatchError."""
    graph = planner.graph
    if name == "fps":
        _set_all(planner, rates(graph), given["fps"], "fps")
    elif name == "frames":
        _set_all(planner, frames(graph), given["frames"], "frames")
    else:
        _place_duration(planner, float(given["duration"]), given.get("fps"))


def _place_duration(planner: Planner, wanted: float, fps: float | None) -> None:
    graph = planner.graph
    if direct := seconds(graph):
        for target in planner.unset(direct):
            kind = target.spec.type if target.spec else ""
            value: Any = f"{wanted:g}" if kind == "COMBO" else wanted
            planner.set(
                target, _whole(wanted) if kind == "INT" else value, Origin.ARGUMENT, "duration"
            )
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


def _whole(value: float) -> int:
    return max(1, round(value))


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
        whole = target.spec is not None and target.spec.type == "INT"
        planner.set(target, _whole(value) if whole else value, Origin.ARGUMENT, name)


def _rate(graph: Graph) -> float | None:
    for target in rates(graph):
        value = target.node.inputs.get(target.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return float(value)
    return None


def _named(
    graph: Graph, names: tuple[str, ...], types: tuple[str, ...]
) -> list[tuple[Target, Target]]:
    """The inputs of these names at running nodes, each with the source of its value."""
    found = []
    for node in running(graph):
        for spec in node.specs.values():
            name = spec.name.rpartition(".")[2].lower()
            if name in names and spec.type in types and spec.name in node.inputs:
                used = Target(node, spec.name)
                source = graph.source(used, types)
                found += [(used, source)] if source else []
    return found


def _distinct(targets: Iterable[Target]) -> list[Target]:
    return list({(t.node.id, t.name): t for t in targets}.values())
