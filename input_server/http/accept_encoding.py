"""Which codings of a body a client takes (RFC 9110, 12.5.3)."""

from __future__ import annotations

import re

LONGEST = 4096
"""Characters of an Accept-Encoding header; with a longer one nothing is compressed."""
WEIGHT = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)
GZIP = frozenset({"gzip", "x-gzip"})
"""The same coding (8.4.1.3)."""


def accepts_gzip(field: str) -> bool:
    """Whether a text may be sent by gzip: it is accepted, and not less than the text as it is.

    An entry whose weight is none is passed over; the highest of several for the same coding counts.
    """
    weights = _weights(field) if len(field) <= LONGEST else {}
    named = [weights[name] for name in GZIP if name in weights]
    accepted = max(named) if named else weights.get("*", 0.0)
    return accepted > 0 and accepted >= weights.get("identity", 0.0)


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
    """The weight of an entry, 1 without one; None for what is no weight."""
    if not parameters:
        return 1.0
    found = WEIGHT.fullmatch(parameters[0]) if len(parameters) == 1 else None
    return float(found[1]) if found else None
