"""Words in the names of inputs and nodes."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")


def words(name: str) -> frozenset[str]:
    """``negativePrompt_2`` -> ``negative``, ``prompt``."""
    return frozenset(word.lower() for word in _WORD.findall(name))
