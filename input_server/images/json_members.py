"""Take some members out of a JSON object without parsing the rest, in linear time and little memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice

MAX_NESTING = 200
"""Brackets inside each other; real documents have a tenth of it."""
MAX_TOKENS = 500_000
"""Strings and brackets that are looked at; a workflow of a megabyte has a tenth of it."""
_TOKEN = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*"?)(\s*:)?|[][{}]', re.DOTALL)
"""A string, with the colon behind it, or a bracket."""


def members(text: str, names: Sequence[str]) -> dict[str, str]:
    """Return the values of members called ``names`` as JSON, those that are strings as their content.

    A text that is broken or too long is read as far as it goes.
    """
    found: dict[str, str] = {}
    for name, written in _pairs(text):
        if name in names and name not in found:
            value = written.strip().rstrip(",").rstrip()
            found[name] = _content(value) if value.startswith('"') else value
            if len(found) == len(names):
                break
    return found


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The names and values of the outermost object; a comma may follow a value."""
    depth = start = 0
    name = ""
    for token in islice(_TOKEN.finditer(text), MAX_TOKENS):
        symbol = token[0]
        is_name = symbol[0] == '"' and depth == 1 and token[2]
        depth += (symbol in "{[") - (symbol in "}]")
        if start and (is_name or depth <= 0):
            yield name, text[start : token.start()]
        if is_name:
            name, start = _content(token[1]), token.end()
        elif depth <= 0 or depth > MAX_NESTING:
            return


def _content(written: str) -> str:
    """The content of a JSON string; "" for a broken one."""
    try:
        content = json.loads(written, strict=False)
    except ValueError:
        return ""
    return content if isinstance(content, str) else ""
