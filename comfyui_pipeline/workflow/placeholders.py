"""``{{POSITIVE_PROMPT}}`` and its like in a workflow file, filled with the call's arguments.

The placeholders of the hosts' template tool. A text that is nothing but a placeholder becomes the
value itself, numbers as numbers; inside a longer text it becomes that text's part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.errors import PatchError
from input_server.light_dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{\{\s*([A-Z][A-Z0-9_]*)\s*\}\}")
ARGUMENTS: Mapping[str, str] = MappingProxyType(
    {
        "POSITIVE_PROMPT": "prompt",
        "PROMPT_INPUT": "prompt",
        "USER_PROMPT": "prompt",
        "PROMPT": "prompt",
        "NEGATIVE_PROMPT": "negative_prompt",
        "MODEL": "checkpoint",
        "CHECKPOINT": "checkpoint",
        "VAE": "vae",
        "WIDTH": "width",
        "HEIGHT": "height",
        "STEPS": "steps",
        "CFG": "cfg",
        "SAMPLER": "sampler",
        "SCHEDULER": "scheduler",
        "SEED": "seed",
        "DENOISE": "denoise",
        "BATCH_SIZE": "batch_size",
        "IMAGE": "image",
        "MASK": "mask",
        "STRENGTH": "strength",
        "LORAS": "loras",
    }
)
MAX_FILLED = 32 * 2**20
"""Characters of all filled texts: a placeholder that is repeated multiplies what is put into it."""
TOLD = 20
MAY_BE_EMPTY = frozenset({"QUALITY_TAGS", "LORAS", "NEGATIVE_PROMPT"})


@dataclass(frozen=True, slots=True)
class Filled:
    """The nodes with every placeholder filled, and the arguments that went into them."""

    nodes: Mapping[str, Mapping[str, Any]]
    used: frozenset[str]


def fill(nodes: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Filled:
    """Fill the placeholders of a prompt. ``given``: the call's arguments by name, also unknown ones.

    Raises PatchError naming every placeholder that nothing was given for.
    """
    used: set[str] = set()
    missing: dict[str, str] = {}
    length = 0

    def value_of(name: str) -> Any:
        argument = ARGUMENTS.get(name.upper(), name.lower())
        if argument in given:
            used.add(argument)
            value = given[argument]
            return ", ".join(value) if isinstance(value, tuple) else value
        if name.upper() not in MAY_BE_EMPTY:
            missing[name] = argument
        return ""

    def put(match: re.Match[str]) -> str:
        nonlocal length
        text = str(value_of(match.group(1)))
        length += len(text)
        if length > MAX_FILLED:
            raise PatchError(
                f"The texts of this template would have more than {MAX_FILLED} characters.",
                "Give a shorter text.",
            )
        return text

    def filled(value: Any) -> Any:
        if not isinstance(value, str) or "{{" not in value:
            return value
        whole = PLACEHOLDER.fullmatch(value.strip())
        if whole:
            return value_of(whole.group(1))
        return PLACEHOLDER.sub(put, value)

    made = {
        node_id: {**node, "inputs": {name: filled(v) for name, v in node["inputs"].items()}}
        for node_id, node in nodes.items()
    }
    if missing:
        some = list(missing.items())[:TOLD]
        told = ", ".join(f'"{argument[:80]}" (for {{{{{name[:80]}}}}})' for name, argument in some)
        raise PatchError(f"This workflow is a template and needs {told}.", "Add it to the call.")
    return Filled(made, frozenset(used))
