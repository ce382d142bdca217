"""Which names a mount may have."""

from __future__ import annotations

import re

ALIAS = re.compile(r"[\w-]{1,64}")
RESERVED = frozenset({"gallery", "_cache"})
"""Aliases that would be ambiguous in a URL or behind a reverse proxy."""


def is_alias(text: str) -> bool:
    """Whether a mount may have this name."""
    return ALIAS.fullmatch(text) is not None and text not in RESERVED
