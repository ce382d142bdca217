"""The value of an input that is nearest to a wanted number: ``5s`` for 4 where 5 and 10 are offered."""

from __future__ import annotations

import re
from typing import Any

from comfyui_pipeline.workflow.graph import InputSpec

_NUMBER = re.compile(r"\d+(\.\d+)?")


def nearest_allowed(spec: InputSpec | None, wanted: float) -> Any:
    """The nearest choice, or the nearest number on the steps and within the limits of an input."""
    if spec is None:
        return wanted
    if spec.type == "COMBO":
        numbers = [
            (abs(float(n[0]) - wanted), c) for c in spec.choices if (n := _NUMBER.search(str(c)))
        ]
        return min(numbers, key=lambda one: one[0])[1] if numbers else f"{wanted:g}"
    low, high, step = (_option(spec, name) for name in ("min", "max", "step"))
    value = wanted
    if spec.type == "INT" and step is not None and step > 1:
        offset = (low or 0) % step
        value = round((value - offset) / step) * step + offset
    value = value if high is None else min(value, high)
    value = value if low is None else max(value, low)
    return max(1, round(value)) if spec.type == "INT" else value


def _option(spec: InputSpec, name: str) -> float | None:
    value = spec.options.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
