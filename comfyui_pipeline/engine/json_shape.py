"""Values of parsed JSON as the types they should have, and limits for JSON from the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_VALUES = 2_000_000
"""Values in one JSON response: each takes about 100 bytes here, so that 64 MB of ``[],[],…`` would
need more than a gigabyte."""
MAX_DEPTH = 200
"""Levels of lists and objects in one JSON response; a history entry with its workflow has about 20."""


def as_object(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one where the server sent something else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A JSON list, or an empty one where the server sent something else."""
    return value if isinstance(value, list) else []


def count_values(text: bytes) -> int:
    """At least the number of values in a JSON text."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def check_depth(document: Any) -> None:
    """Raise RecursionError beyond MAX_DEPTH levels of nesting; does not recurse itself."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = (
            [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, (dict, list))
            ]
            if level and isinstance(level[0], (dict, list))
            else []
        )
        if not level:
            return
    raise RecursionError
