"""Numbers in a server's JSON, in metadata of files and in calls, as finite floats."""

from __future__ import annotations

import math

MAX_DIGITS = 400
"""Characters of a number in text: more than any float needs, few enough to parse at once."""


def finite(value: object) -> float | None:
    """Return a JSON number as a float; None for NaN, infinities, other types and too large integers.

    Booleans are not numbers here.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def parse_number(text: str) -> float | None:
    """Return a number that a caller wrote (``"0.5"``, ``"1e3"``); None for anything else."""
    if len(text) > MAX_DIGITS or not text.isascii() or "_" in text:
        return None
    try:
        return finite(float(text))
    except ValueError:
        return None
