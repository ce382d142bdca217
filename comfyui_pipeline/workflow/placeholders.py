"""Placeholders in workflow files, such as ``{{POSITIVE_PROMPT}}``, filled with the call's arguments.

The format is that of the hosts' template tool. A text that is only a placeholder becomes the value
itself, so that numbers stay numbers; inside a longer text, the value is inserted as text. Which
placeholder stands for which argument is a column of ``arguments.ARGUMENTS``; any other
``{{NAME}}`` is filled from the key ``name`` of the call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.arguments import ARGUMENTS
from comfyui_pipeline.errors import PatchError
from input_server.light_dataclasses import dataclass, field

PLACEHOLDER = re.compile(r"\{\{\s*([A-Z][A-Z0-9_]*)\s*\}\}")
ARGUMENT_OF: Mapping[str, str] = MappingProxyType(
    {placeholder: row.name for row in ARGUMENTS for placeholder in row.placeholders}
)
OPTIONAL = frozenset(
    {"QUALITY_TAGS"}  # the hosts' template tool fills it from its own settings
    | {
        placeholder
        for row in ARGUMENTS
        if row.optional_placeholder
        for placeholder in row.placeholders
    }
)
"""Placeholders that are empty when the call does not give their argument."""
MAX_FILLED = 32 * 2**20
"""Characters of all filled texts: a repeated placeholder multiplies what it is filled with."""
MAX_LISTED = 20
MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Filled:
    """The nodes with every placeholder filled, and the names of the arguments that were used."""

    nodes: Mapping[str, Mapping[str, Any]]
    used: frozenset[str]


def fill(nodes: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Filled:
    """Fill the placeholders of a prompt. ``given``: all values of the call by key, ours or not.

    Raises PatchError that names every placeholder without a value.
    """
    filling = _Filling(given)
    filled = {
        node_id: {**node, "inputs": {k: filling.value(v) for k, v in node["inputs"].items()}}
        for node_id, node in nodes.items()
    }
    if filling.missing:
        needed = ", ".join(
            f'"{argument[:MAX_SHOWN]}" (for {{{{{name[:MAX_SHOWN]}}}}})'
            for name, argument in list(filling.missing.items())[:MAX_LISTED]
        )
        raise PatchError(f"This workflow is a template and needs {needed}.", "Add it to the call.")
    return Filled(filled, frozenset(filling.used))


@dataclass(slots=True)
class _Filling:
    """The state of filling one prompt; ``missing``: placeholder -> the argument that it needs."""

    given: Mapping[str, Any]
    used: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    length: int = 0

    def value(self, value: Any) -> Any:
        """An input's value with its placeholders filled."""
        if not isinstance(value, str) or "{{" not in value:
            return value
        only = PLACEHOLDER.fullmatch(value.strip())
        return self._argument(only.group(1)) if only else PLACEHOLDER.sub(self._text, value)

    def _argument(self, name: str) -> Any:
        argument = ARGUMENT_OF.get(name, name.lower())
        if argument in self.given:
            self.used.add(argument)
            value = self.given[argument]
            return ", ".join(value) if isinstance(value, tuple) else value
        if name not in OPTIONAL:
            self.missing[name] = argument
        return ""

    def _text(self, match: re.Match[str]) -> str:
        text = str(self._argument(match.group(1)))
        self.length += len(text)
        if self.length > MAX_FILLED:
            raise PatchError(
                f"The texts of this template would exceed {MAX_FILLED} characters.",
                "Give a shorter text.",
            )
        return text
