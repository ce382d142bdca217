"""Shorten texts: to a number of characters for a reader, or to bytes of JSON for a response.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import json
from typing import Any

from comfyui_pipeline.bounded.encoded_files import without_encoded_files

MAX_RESPONSE_BYTES = 20_000
"""JSON of a response without its images, in UTF-8."""
MAX_TEXT_BYTES = 12_000
"""Its text; the fields have the rest."""
MAX_ERROR_BYTES = 6_000
MAX_VALUE_CHARACTERS = 80
"""Characters of a caller's value that an error repeats."""


def shorten(text: str, limit: int) -> str:
    """Return the first ``limit`` characters of a text, and ``…`` if there were more."""
    return text if len(text) <= limit else text[:limit] + "…"


def show_value(value: Any, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """Return a value as an error repeats it: its ``repr``, shortened."""
    return shorten(repr(value[: limit + 1] if isinstance(value, str) else value), limit)


def json_size(value: Any) -> int:
    """Return the bytes of a value in the response."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def truncate(text: str, max_bytes: int, end: str = "…") -> str:
    """Return the beginning of a text within ``max_bytes`` of JSON, and ``end`` if it was longer."""
    if len(text) <= max_bytes // 6 or json_size(text) - 2 <= max_bytes:
        return text
    room = max_bytes - (json_size(end) - 2)
    low, high = 0, min(len(text), max_bytes)
    while low < high:  # binary search for the longest beginning that fits
        middle = (low + high + 1) // 2
        fits = json_size(text[:middle]) - 2 <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + end


def bounded_error(text: str, summary: str = "") -> str:
    """Return an error for the response: its beginning and its end, without encoded files.

    ``summary``: what the call has queued and stored, which is added in full as far as possible.
    """
    return f"{_without_middle(text)} {truncate(summary, MAX_TEXT_BYTES)}".strip()


def _without_middle(text: str) -> str:
    text = without_encoded_files(text[: 64 * MAX_RESPONSE_BYTES])
    if json_size(text) <= MAX_ERROR_BYTES:
        return text
    beginning = truncate(text, MAX_ERROR_BYTES * 2 // 3, "")
    end = truncate(text[: -MAX_ERROR_BYTES // 2 - 1 : -1], MAX_ERROR_BYTES // 4, "")[::-1]
    return f"{beginning} … ({len(text)} characters in all) … {end}"
