"""A value as the caller wrote it -> one that the input's type takes. All of them may be strings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Target, is_link

LISTED = 12
TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})


def fit(graph: Graph, target: Target, value: Any) -> Any:
    """The value that ``target`` takes. Raises PatchError naming node, input, value and what is right."""
    if is_link(value):
        return _fit_link(graph, target, value)
    spec = target.spec
    if spec is None:
        return value
    if isinstance(value, (list, dict)) or value is None:
        raise _wrong(target, value, f"of type {spec.type}")
    reader = READERS.get(spec.type)
    if reader is None:
        if spec.type.isupper() and spec.name not in target.node.inputs:
            raise _wrong(target, value, f"a link to an output of type {spec.type}")
        if is_link(target.node.inputs.get(target.name)):
            raise _wrong(target, value, f'a link like ["4", 0] to an output of type {spec.type}')
        return value
    return reader(target, spec, value)


def _fit_link(graph: Graph, target: Target, value: list[Any]) -> list[Any]:
    linked = graph.link(value)
    if linked is None:
        raise _wrong(target, value, "a link to a node of this workflow")
    node, slot = linked
    if node.outputs and not 0 <= slot < len(node.outputs):
        raise _wrong(target, value, f"a link; node {node.label} has {len(node.outputs)} outputs")
    return [node.id, slot]


def _wrong(target: Target, value: Any, right: str) -> PatchError:
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:80] + "…"
    return PatchError(
        f"The input {target.name!r} of node {target.node.label} cannot be {shown}.",
        f"It has to be {right}.",
    )


def _whole(target: Target, spec: InputSpec, value: Any) -> int:
    try:
        exact = int(value) if isinstance(value, (int, str)) else None
    except ValueError:
        exact = None
    if exact is None:
        number = _float(value)
        if number is None or not number.is_integer():
            raise _wrong(target, value, "a whole number" + _range(spec))
        exact = int(number)
    _check_range(target, spec, exact)
    return exact


def _number(target: Target, spec: InputSpec, value: Any) -> float:
    number = _float(value)
    if number is None:
        raise _wrong(target, value, "a number" + _range(spec))
    _check_range(target, spec, number)
    return number


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _range(spec: InputSpec) -> str:
    low, high = spec.options.get("min"), spec.options.get("max")
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {low}"
    return f" of at most {high}" if low is None else f" from {low} to {high}"


def _check_range(target: Target, spec: InputSpec, number: float) -> None:
    low, high = spec.options.get("min"), spec.options.get("max")
    if (low is not None and number < low) or (high is not None and number > high):
        raise _wrong(target, number, "a number" + _range(spec))


def _truth(target: Target, _spec: InputSpec, value: Any) -> bool:
    """``"false"`` is false here; the server itself would take any text for true."""
    word = str(value).strip().lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise _wrong(target, value, "true or false")


def _string(_target: Target, _spec: InputSpec, value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _choice(target: Target, spec: InputSpec, value: Any) -> Any:
    if spec.takes_file and isinstance(value, str):
        return value
    for choice in spec.choices:
        if choice == value or str(choice) == str(value):
            return choice
    if not spec.choices and not spec.required:
        return value
    raise _wrong(target, value, f"one of: {_listed(spec.choices, str(value))}")


def _listed(choices: tuple[Any, ...], value: str) -> str:
    """The choices, the nearest to ``value`` first, cut to a readable number."""
    if not choices:
        return "nothing (the server has no such file)"
    from difflib import get_close_matches

    names = [str(choice) for choice in choices]
    near = get_close_matches(value, names, LISTED // 2, 0.4)
    ordered = near + [name for name in names if name not in near]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(ordered[:LISTED]) + more


READERS: Mapping[str, Callable[[Target, InputSpec, Any], Any]] = MappingProxyType(
    {
        "INT": _whole,
        "FLOAT": _number,
        "BOOLEAN": _truth,
        "STRING": _string,
        "COMBO": _choice,
    }
)
