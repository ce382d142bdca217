"""Which workflow a call means when it names none, or names a purpose instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from comfyui_pipeline.errors import CallError
from comfyui_pipeline.workflow.purpose_words import RESIZE
from comfyui_pipeline.workflow.shipped import SHIPPED
from comfyui_pipeline.workflow_catalog import Entry

IMAGES = ("image", "images", "start_image", "end_image", "control_image", "reference_image")
SIZES = ("width", "height", "size", "aspect_ratio", "resolution")
TIMES = ("duration", "frames", "fps")


def kinds_for(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of workflow that suit the arguments of a call, the best first; none if unclear."""
    has = {name for name, value in given.items() if value not in (None, "", (), [])}
    images = _count_images(given)
    if has & {"lyrics", "tags"}:
        return ("music", "text2audio")
    if "video" in has:
        return ("video2video",)
    if has & {"start_image", "end_image"} or (images and has & set(TIMES)):
        return ("img2video",)
    if "mask" in has and images:
        return ("inpaint",) if "prompt" in has or images < 2 else ("combine",)
    if "control_image" in has:
        return ("control",)
    if images > 1:
        return ("edit",) if "prompt" in has else ("combine",)
    if images and "prompt" in has:
        return ("img2img", "edit")
    if images and has & {"scale", "upscale_model"}:
        return ("upscale", RESIZE)
    if images and has & set(SIZES):
        return (RESIZE,)
    if images:
        return ()
    if "prompt" in has and has & set(TIMES):
        return ("text2video", "music", "text2audio")
    return ("text2img",) if "prompt" in has else ()


def _count_images(given: Mapping[str, Any]) -> int:
    count = 0
    for name in IMAGES:
        value = given.get(name)
        if value:
            count += len(value) if isinstance(value, (list, tuple)) else 1
    return count


def best(
    entries: Sequence[Entry],
    kinds: Sequence[str],
    images: int | None = None,
    *,
    mask: bool = True,
) -> Entry | None:
    """The workflow of the first kind that runs, else of the first kind there is.

    ``images``: how many are given; None if that does not matter. ``mask``: whether one may
    be needed.
    """
    suiting = [
        (place, entry)
        for place, kind in enumerate(kinds)
        for entry in entries
        if _is(entry, kind)
        and _takes(entry, images)
        and (mask or "mask" not in entry.summary["takes"])
    ]
    if not suiting:
        return None
    return min(suiting, key=lambda found: (_lack(found[1]), found[0], *_rank(found[1])))[1]


def _is(entry: Entry, kind: str) -> bool:
    found = entry.summary.get("kind")
    if kind == RESIZE:
        return found == "process" and bool(entry.summary.get("size"))
    return bool(found == kind)


def _takes(entry: Entry, images: int | None) -> bool:
    if images is None:
        return True
    least = sum(role.endswith("image") for role in entry.summary["takes"])
    return least <= max(images, 1) <= max(entry.summary["most_images"], least) or not least


def _lack(entry: Entry) -> int:
    """0 if it runs, 1 with another model, 2 if a model is missing, 3 if a node type is."""
    if entry.problem or entry.summary.get("missing_types"):
        return 3
    if entry.summary.get("missing_models"):
        return 2
    return 1 if entry.summary.get("instead") else 0


def _rank(entry: Entry) -> tuple[int, int, str]:
    shipped = SHIPPED.index(entry.name) if entry.name in SHIPPED else len(SHIPPED)
    return shipped, entry.summary.get("count", 0), entry.name


def taking_images(entries: Sequence[Entry], count: int) -> list[str]:
    """The workflows that take so many images, those that run first."""
    fitting = [
        entry
        for entry in entries
        if entry.summary.get("takes")
        and sum(role.endswith("image") for role in entry.summary["takes"])
        <= count
        <= entry.summary["most_images"]
    ]
    return [entry.name for entry in sorted(fitting, key=lambda e: (_lack(e), *_rank(e)))]


def by_default(
    given: Mapping[str, Any], entries: Callable[[], Sequence[Entry]]
) -> tuple[Entry, str]:
    """The workflow for a call that names none, and a sentence that says so. Raises CallError."""
    kinds = kinds_for(given)
    chosen = best(entries(), kinds, _count_images(given), mask="mask" in given) if kinds else None
    if chosen is None:
        raise CallError(
            '"workflow" is missing, and no workflow could be chosen for these arguments.',
            'Name one; {"info": "workflows"} lists them with their purpose.',
        )
    purpose = chosen.summary["purpose"]
    return chosen, (
        f"No workflow was named: {chosen.name} ({purpose}) was chosen. "
        '{"info": "workflows"} lists the others.'
    )
