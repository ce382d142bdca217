"""Origins of web pages, as browsers send them. Imports little."""

from __future__ import annotations

import re

ANY = "*"
"""Stands for every origin."""
_ORIGIN = re.compile(r"https?://([a-z0-9_.-]{1,255}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?|null")
"""Scheme, host, and port unless it is the usual one (RFC 6454, 6.1); ``null``: a page from a file."""


def parse_origin(text: str) -> str | None:
    """Return an origin as browsers send it, also of an address with a slash at its end; None for
    other texts.
    """
    origin = text.strip().lower().removesuffix("/")
    if origin == ANY:
        return ANY
    usual = ":443" if origin.startswith("https:") else ":80"
    return origin.removesuffix(usual) if _ORIGIN.fullmatch(origin) else None
