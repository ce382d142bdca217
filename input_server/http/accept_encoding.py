"""The Accept-Encoding header (RFC 9110, 12.5.3)."""

from __future__ import annotations

import re

MAX_CHARACTERS = 4096
"""With a longer header nothing is compressed."""
WEIGHT = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)
GZIP = frozenset({"gzip", "x-gzip"})
"""Two names of the same coding (8.4.1.3)."""


def accepts_gzip(field: str) -> bool:
    """Return whether gzip is acceptable and weighs at least as much as ``identity``.

    Entries with an invalid weight are ignored. If a coding is listed twice, the higher weight counts.
    """
    if not field:
        return False
    weights = _weights(field) if len(field) <= MAX_CHARACTERS else {}
    listed = [weights[name] for name in GZIP if name in weights]
    weight = max(listed) if listed else weights.get("*", 0.0)
    return weight > 0 and weight >= weights.get("identity", 0.0)


def _weights(field: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in field.split(","):
        name, *parameters = entry.split(";")
        coding = name.strip(" \t").lower()
        weight = _weight(parameters)
        if coding and weight is not None:
            found[coding] = max(weight, found.get(coding, 0.0))
    return found


def _weight(parameters: list[str]) -> float | None:
    """Return the weight of an entry, 1 by default; None if invalid."""
    if not parameters:
        return 1.0
    found = WEIGHT.fullmatch(parameters[0]) if len(parameters) == 1 else None
    return float(found[1]) if found else None
