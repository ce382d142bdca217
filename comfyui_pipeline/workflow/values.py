"""Coercion of the caller's values, which may all be strings, to the types of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.bounded import numbers
from comfyui_pipeline.bounded.truncate import show_value
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import matching
from comfyui_pipeline.workflow.graph import Graph, InputSpec, Node, Target, is_link
from input_server.light_dataclasses import dataclass
from input_server.parse_values import parse_boolean

MAX_LISTED = 12
MAX_SHOWN = 80
"""Characters of a value in an error."""
MAX_DIGITS = 40
"""Digits of an integer written as text; seeds have twenty."""


@dataclass(frozen=True, slots=True)
class Coerced:
    """A value that its input takes. ``note``: the fuzzy match or rounding that it rests on, if any."""

    value: Any
    note: str | None = None


def coerce(graph: Graph, target: Target, value: Any, *, strict: bool = False) -> Coerced:
    """Convert ``value`` to what ``target`` takes. ``strict``: without fuzzy matching and rounding.

    Raises PatchError that names node, input, value and what is allowed.
    """
    if is_link(value):
        return Coerced(_coerce_link(graph, target, value))
    spec = target.spec
    if spec is None:
        return Coerced(value)
    if isinstance(value, (list, dict)) or value is None:
        raise _wrong(target, value, f"of type {spec.type}")
    if "," in spec.type:
        return _coerce_to_any(target, spec, value, strict)
    coercer = COERCERS.get(spec.type)
    if coercer is None:
        if spec.type.isupper() and spec.name not in target.node.inputs:
            raise _wrong(target, value, f"a link to an output of type {spec.type}")
        if is_link(target.node.inputs.get(target.name)):
            raise _wrong(target, value, f'a link like ["4", 0] to an output of type {spec.type}')
        return Coerced(value)
    return coercer(target, spec, value, strict)


def _coerce_to_any(target: Target, spec: InputSpec, value: Any, strict: bool) -> Coerced:
    """A value of an input of several types, such as ``INT,FLOAT``: the first type that takes it."""
    for kind in spec.type.split(","):
        if (coercer := COERCERS.get(kind)) is not None:
            try:
                return coercer(target, spec, value, strict)
            except WrongValue:
                continue
    if any(kind in COERCERS for kind in spec.type.split(",")):
        raise _wrong(target, value, f"of type {spec.type.replace(',', ' or ')}" + range_of(spec))
    return Coerced(value)


def _coerce_link(graph: Graph, target: Target, value: list[Any]) -> list[Any]:
    linked = graph.link(value)
    if linked is None:
        raise _wrong(target, value, "a link to a node of this workflow")
    node, slot = linked
    if node.outputs and not 0 <= slot < len(node.outputs):
        raise _wrong(target, value, f"a link; node {node.label} has {len(node.outputs)} outputs")
    return [node.id, slot]


PIXEL_INPUTS = frozenset({"IMAGE", "MASK", "INT", "FLOAT", "BOOLEAN", "COMBO", "COLOR"})


class WrongValue(PatchError):
    """A value that an input does not take. ``verdict``: what is wrong, after the input's name."""

    def __init__(self, target: Target, verdict: str, hint: str, *, code: str) -> None:
        name = repr(target.name[:MAX_SHOWN])
        super().__init__(
            f"The input {name} of node {target.node.label} {verdict}.", hint, code=code
        )
        self._named = f"{verdict} (input {name} of node {target.node.label})."

    def of_key(self, key: str) -> PatchError:
        """The same about the key of a call from which the value comes."""
        return PatchError(f'"{key}" {self._named}', self.hint, code=self.code)


def _wrong(target: Target, value: Any, right: str) -> WrongValue:
    verdict = f"cannot be {show_value(value)}"
    return WrongValue(target, verdict, f"It must be {right}.", code="invalid_value")


def _integer(target: Target, spec: InputSpec, value: Any, strict: bool) -> Coerced:
    exact = _exactly(value)
    if exact is None:
        number = _float(value)
        if number is None or not number.is_integer():
            raise _wrong(target, value, "an integer" + range_of(spec))
        exact = int(number)
    _check_range(target, spec, exact)
    return _on_step(target, spec, exact, strict)


def _exactly(value: Any) -> int | None:
    """An integer of any size, also beyond a float's precision; None for any other notation."""
    if isinstance(value, int) or not isinstance(value, str) or len(value) > MAX_DIGITS:
        return int(value) if isinstance(value, int) else None
    try:
        return int(value)
    except ValueError:
        return None


def _on_step(target: Target, spec: InputSpec, number: int, strict: bool) -> Coerced:
    """Round to the input's step; sizes of latents, for example, come in steps of 8 or 16.

    A node that only changes pixels takes any number: the server checks the range alone (execution.py
    ``validate_inputs``).
    """
    step, low = spec.options.get("step", 1), spec.options.get("min", 0)
    if not isinstance(step, int) or not isinstance(low, int) or step <= 1:
        return Coerced(number)
    if not strict and _changes_pixels(target.node):
        return Coerced(number)
    offset = low % step
    times, over = divmod(number - offset, step)
    times += over * 2 > step or (over * 2 == step and times % 2)  # ties to even
    rounded = times * step + offset
    high = spec.options.get("max")
    if rounded == number or rounded < low or (isinstance(high, int) and rounded > high):
        return Coerced(number)
    if strict:
        raise _wrong(
            target, number, f"a multiple of {step}" + (f" plus {offset}" if offset else "")
        )
    return Coerced(rounded, f"{target.name} {number} → {rounded} (steps of {step})")


def _changes_pixels(node: Node) -> bool:
    """Whether a node makes images of images and nothing else."""
    kinds = {spec.type for spec in node.specs.values()}
    return node.outputs[:1] == ("IMAGE",) and "IMAGE" in kinds and kinds <= PIXEL_INPUTS


def _number(target: Target, spec: InputSpec, value: Any, _strict: bool) -> Coerced:
    number = _float(value)
    if number is None:
        raise _wrong(target, value, "a number" + range_of(spec))
    _check_range(target, spec, number)
    return Coerced(number)


def _float(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    return numbers.parse_number(value) if isinstance(value, str) else numbers.finite(value)


def range_of(spec: InputSpec) -> str:
    """The range of a number as text: `` from 1 to 100``, `` of at least 0``, or empty."""
    low, high = spec.options.get("min"), spec.options.get("max")
    if low is None and high is None:
        return ""
    if high is None:
        return f" of at least {low}"
    return f" of at most {high}" if low is None else f" from {low} to {high}"


def _check_range(target: Target, spec: InputSpec, number: float) -> None:
    low, high = spec.options.get("min"), spec.options.get("max")
    if (low is not None and number < low) or (high is not None and number > high):
        raise _wrong(target, number, "a number" + range_of(spec))


def _boolean(target: Target, _spec: InputSpec, value: Any, _strict: bool) -> Coerced:
    """``"false"`` is false here, while the server would take any non-empty text as true."""
    truth = parse_boolean(str(value).strip())
    if truth is None:
        raise _wrong(target, value, "true or false")
    return Coerced(truth)


def _string(_target: Target, _spec: InputSpec, value: Any, _strict: bool) -> Coerced:
    return Coerced(value if isinstance(value, str) else str(value))


def _choice(target: Target, spec: InputSpec, value: Any, strict: bool) -> Coerced:
    if spec.takes_file and isinstance(value, str):
        return Coerced(value)
    if isinstance(value, str) and value in spec.choices:
        return Coerced(value)
    for choice in spec.choices:
        if not isinstance(choice, str) and (choice == value or str(choice) == str(value)):
            return Coerced(choice)
        if not isinstance(value, str) and choice == str(value):
            return Coerced(choice)
    if not spec.choices and not spec.required:
        return Coerced(value)
    choices = [str(choice) for choice in spec.choices]
    found = matching.find_file(str(value), choices, strict=strict)
    if len(found.names) > 1:
        matches = " and ".join(found.names[:MAX_LISTED])
        verdict = f"is ambiguous: {show_value(value)} matches {matches}"
        hint = "Give one of these names in full."
        raise WrongValue(target, verdict, hint, code="ambiguous")
    if found.names:
        name = found.names[0]
        chosen = spec.choices[choices.index(name)]
        return Coerced(chosen, f"{target.name} {show_value(value)} → {name!r}")
    raise _wrong(target, value, f"one of: {listed(spec.choices, str(value))}")


def listed(choices: tuple[Any, ...], value: str = "", most: int = MAX_LISTED) -> str:
    """The first ``most`` choices, those most similar to ``value`` first."""
    if not choices:
        return "none on this server"
    names = [str(choice) for choice in choices]
    near = matching.nearest(value, names, most // 2) if value else []
    ordered = near + [name for name in names if name not in near]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(ordered[:most]) + more


COERCERS: Mapping[str, Callable[[Target, InputSpec, Any, bool], Coerced]] = MappingProxyType(
    {
        "INT": _integer,
        "FLOAT": _number,
        "BOOLEAN": _boolean,
        "STRING": _string,
        "COMBO": _choice,
    }
)
