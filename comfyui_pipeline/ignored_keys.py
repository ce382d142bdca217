"""Keys of a call without effect, in the first lines of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_REPORTED = 20


def in_first_lines(result: Mapping[str, Any], ignored: Mapping[str, str]) -> Mapping[str, Any]:
    """The ``result`` of a command with a note on each key without effect, after its first line.

    ``ignored``: key -> the sentence about it.
    """
    if not ignored:
        return result
    notes = _first(list(ignored.values()))
    first, *others = result["content"]
    head, newline, rest = first["text"].partition("\n")
    text = "\n".join([head, *(f"Note: {note}" for note in notes)]) + newline + rest
    return {
        **result,
        "content": [{**first, "text": text}, *others],
        "warnings": [*notes, *result.get("warnings", ())],
        "notes": [*notes, *result.get("notes", ())],
    }


def _first(texts: Sequence[str]) -> list[str]:
    left = len(texts) - MAX_REPORTED
    more = [f"{left} more keys have no effect."] if left > 0 else []
    return [*texts[:MAX_REPORTED], *more]
