"""Numbers that somebody else wrote: HTTP headers, JSON of a server, metadata of a file."""

from __future__ import annotations

import math
import re

DIGITS = re.compile(r"[0-9]{1,20}")
"""ASCII digits only (RFC 9110 8.6), and no more of them than any length has: ``str.isdigit`` is true
for ``²``, and ``int`` raises ValueError beyond 4,300 digits."""


def parse_count(text: str | None, *, at_most: int) -> int | None:
    """A length, count or position as text; None unless it is a number from 0 to ``at_most``.

    Spaces around it are allowed, as in a header. Never raises.
    """
    stripped = (text or "")[:64].strip(" \t")
    if not DIGITS.fullmatch(stripped) or len(text or "") > 64:
        return None
    number = int(stripped)
    return number if number <= at_most else None


def finite(value: object) -> float | None:
    """A JSON number as a float; None for what is no number, NaN, infinite or beyond a float.

    ``True`` and ``False`` are no numbers here. Never raises.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


MAX_DIGITS = 400
"""Characters of a written number: more than any float needs, few enough to parse at once."""


def parse_number(text: str) -> float | None:
    """A number as a caller writes it (``"0.5"``, ``"1e3"``); None for anything else. Never raises."""
    if len(text) > MAX_DIGITS or not text.isascii() or "_" in text:
        return None
    try:
        return finite(float(text))
    except ValueError:
        return None
