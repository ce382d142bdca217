"""One workflow in a line: its purpose, what it takes, and what the server lacks for it.

``survey`` makes what is worded here. This module imports nothing: a list from the index needs no
graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_MISSING = 3
"""Missing node types or models in a line."""
Summary = Mapping[str, Any]
"""What the list of workflows says about one, as JSON: see ``survey.of``."""


def line(summary: Summary) -> str:
    """Purpose, inputs, size or duration, and what is missing: ``文生图 text to image, 512x512``."""
    if not summary.get("kind"):
        return "purpose unknown"
    facts = [f"{summary['purpose_zh']} {summary['purpose']}"]
    if summary["steps"] and summary["kind"] in ("process", "combine", "upscale"):
        facts[0] += f" ({'; '.join(summary['steps'][:2])})"
    if needs := _needs(summary["takes"], summary["most_images"]):
        facts.append(f"needs {needs}")
    if size := summary["size"]:
        to = "to " if summary["kind"] == "process" else ""
        facts.append(f"{to}{size[0]}x{size[1]}")
    if seconds := summary["seconds"]:
        facts.append(f"{seconds:g} s")
    return ", ".join(facts)


def _needs(takes: Sequence[str], most_images: int) -> str:
    """``image, mask``; ``1–3 images`` where some may be left out."""
    images = [role for role in takes if role == "image"]
    others = [role for role in takes if role != "image"]
    if not images:
        return " + ".join(others)
    count = len(images)
    if most_images > sum(role.endswith("image") for role in takes):
        shown = f"{count}–{most_images} images"
    else:
        shown = "image" if count == 1 else f"{count} images"
    return " + ".join([shown, *others])


def missing(summary: Summary) -> str:
    """What the server lacks, in words; "" if nothing."""
    types, models = summary["missing_types"], [name for _, name in summary["missing_models"]]
    parts = []
    if types:
        parts.append(f"node {_some(types)}")
    if models:
        parts.append(_some(models))
    return " and ".join(parts)


def instead(summary: Summary) -> str:
    """The models that stand in for missing ones, in words; "" if none."""
    return ", ".join(f"{new} instead of {old}" for old, new in summary.get("instead", ()))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_MISSING} more" if len(names) > MAX_MISSING else ""
    return ", ".join(names[:MAX_MISSING]) + more
