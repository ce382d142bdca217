"""Read JSON of callers and servers within bounds, with one error that has the reason.

Python's parser takes what JSON does not have (``NaN``, ``Infinity``), turns ``1e400`` into infinity,
and raises different errors for deep nesting and for long numbers. Callers get one error, and values
that the rest of the code can walk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from comfyui_pipeline.bounded import numbers

MAX_NESTING = 200
"""Levels of lists and objects in one document. Saved workflows have about ten; Python's own limit for
parsing and writing is near 1,000, less what the stack already holds.
"""
MAX_INT_DIGITS = 1000
"""A longer integer is read as infinity, as JavaScript does from 309 digits on."""


class InvalidJson(ValueError):
    """Invalid JSON. ``str()`` completes a sentence: ``is not JSON: … at line 1, …``."""


def read(text: str) -> Any:
    """Parse ``text``. ``NaN`` and infinities are accepted (see ``non_finite``). Raises InvalidJson."""
    try:
        value = json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidJson(f"is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise InvalidJson(TOO_DEEP) from None
    if is_deeper_than(value, MAX_NESTING):
        raise InvalidJson(TOO_DEEP)
    return value


TOO_DEEP = f"is nested deeper than {MAX_NESTING} levels"


def _integer(digits: str) -> int | float:
    if len(digits) <= MAX_INT_DIGITS:
        return int(digits)
    return -math.inf if digits.startswith("-") else math.inf


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def is_deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in one another more than ``levels`` deep. Linear, no recursion."""
    containers = [value] if isinstance(value, (dict, list, tuple)) else []
    for _ in range(levels):
        containers = [
            item
            for holder in containers
            for item in _inside(holder)
            if isinstance(item, (dict, list, tuple))
        ]
        if not containers:
            return False
    return bool(containers)


def non_finite(value: Any) -> str | None:
    """The first NaN or infinity in a value as JavaScript writes it; None when all are numbers."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return "NaN" if math.isnan(one) else "Infinity" if one > 0 else "-Infinity"
        waiting.extend(_inside(one))
    return None


def nan_to_null(value: Any) -> Any:
    """The value with ``null`` for each NaN and infinity, as JavaScript's ``JSON.stringify`` writes it.

    The value itself where it has none. ``value`` is at most ``MAX_NESTING`` deep.
    """
    return value if non_finite(value) is None else _with_nulls(value)


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and numbers.finite(value) is None else value
