"""Values of settings that are certainly not meant as they are written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings_table import Setting

_QUOTES = "“”„‟‘’‚‛«»‹›「」『』＂＇"
_BRACES = r"\$\{\w+\}"
_VARIABLE = r"%[A-Za-z_][\w()]*%|(?:^|[;:])\s*(\$\w+)(?=[/\\;]|$)"


def value_mistake(row: Setting, value: str) -> str:
    """Return what is wrong with a value, as the rest of a sentence about it; "" if nothing is."""
    if len(value) > 1 and value[0] in _QUOTES and value[-1] in _QUOTES:
        return "is in typographic quotes. Remove them."
    if row.secret:
        return ""
    paths = row.type in ("folder", "list")
    if variable := _variable(value, paths) if paths or row.type == "url" else "":
        return f"contains {variable}, but variables are not replaced. Write what it stands for."
    if row.type == "list" and "；" in value:
        return "contains ；. Separate the parts by ; (half-width)."
    return ""


def _variable(value: str, paths: bool) -> str:
    if "$" not in value and "%" not in value:
        return ""
    found = re.search(_BRACES, value) or (re.search(_VARIABLE, value) if paths else None)
    return (found[found.lastindex or 0]) if found else ""
