"""Who may: the key, compared so that the time taken tells nothing of it."""

from __future__ import annotations

import hmac
import re

from input_server.mounts import Refused, decode


def fits(raw: str, key: str) -> bool:
    """Whether the key as it stands in a URL is the right one. Never raises."""
    try:
        given = decode(raw)
    except Refused:
        return False
    return same(given, key)


def same(given: str, key: str) -> bool:
    """Compare decoded keys, as bytes: strings with other letters than ASCII cannot be compared so."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), key.encode("utf-8", "replace"))


def without_key(target: str) -> str:
    """A request's target for a log: the key is blotted out."""
    return re.sub(r"(?i)pw(=|%3d)[^/?]*", "pw=…", target)
