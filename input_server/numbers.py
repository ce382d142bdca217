"""Numbers in what clients send."""

from __future__ import annotations

MAX_DIGITS = 4000
LARGEST = 2**63 - 1


def parse_count(text: str, most: int = LARGEST) -> int | None:
    """A non-negative number of ASCII digits; None for anything else. Larger ones become ``most``.

    ``int`` alone takes signs, spaces, underscores and other scripts' digits, and refuses or is slow
    with thousands of them.
    """
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        return None
    digits = text.lstrip("0")
    return min(int(digits[:20] or "0") if len(digits) <= 20 else most, most)
