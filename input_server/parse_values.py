"""Integers and booleans that clients, servers and settings send as text."""

from __future__ import annotations

MAX_DIGITS = 4000
MAX_COUNT = 2**63 - 1
TRUE_WORDS = ("true", "1", "yes", "on")
FALSE_WORDS = ("false", "0", "no", "off")


def parse_count(text: str, *, at_most: int = MAX_COUNT, clamp: bool = False) -> int | None:
    """Return a non-negative integer of ASCII digits (RFC 9110, 8.6); None for anything else.

    A larger number than ``at_most`` (below 10^20) gives None, or ``at_most`` with ``clamp``. ``int``
    alone accepts signs, spaces, underscores and digits of other scripts, and is slow for thousands of
    digits.
    """
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        return None
    digits = text.lstrip("0")
    if len(digits) <= 20 and (number := int(digits or "0")) <= at_most:
        return number
    return at_most if clamp else None


def parse_boolean(text: str) -> bool | None:
    """Return the boolean that a word means, in any case; None for any other word."""
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    return False if word in FALSE_WORDS else None
