"""``{red|blue}`` in a call's prompt: one option is chosen by the seed, as in texts saved by the editor.

Braces without ``|`` stay, as prompts can be JSON; so do ``__name__`` wildcards, whose files are on
the ComfyUI machine, if anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TEXTS = ("prompt", "negative_prompt")
CHOICE = re.compile(r"(?<!\\)\{([^{}|]*\|[^{}]*)\}")
"""The innermost braces with options; options that are chosen are searched again."""
WILDCARD = re.compile(r"(?<!\w)__[A-Za-z0-9][\w/*-]{0,60}?__(?!\w)")
MAX_CHOICES = 200
MAX_LEVELS = 10
MAX_CHARACTERS = 100_000
"""A longer text is left as it is."""
MAX_NAMED = 8


def choose(shortcuts: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], list[str]]:
    """The shortcuts with one option chosen for each ``{a|b}``, and sentences about it."""
    import random  # after the check that there is anything to choose

    chosen: list[str] = []
    wildcards: list[str] = []
    result = dict(shortcuts)
    draw = random.Random(seed)
    for name in TEXTS:
        text = result.get(name)
        if isinstance(text, str):
            result[name] = _chosen(text, draw, chosen)
            wildcards += WILDCARD.findall(text[:MAX_CHARACTERS])
    notes = []
    if chosen:
        notes.append(
            "Chosen by the seed from {a|b} in the prompt: "
            f"{_listed(chosen)}; another seed can choose otherwise."
        )
    if wildcards:
        notes.append(
            f"{_listed(wildcards)} in the prompt was passed on as it is: wildcard files are replaced "
            "only by nodes made for them."
        )
    return result, notes


def has_any(shortcuts: Mapping[str, Any]) -> bool:
    """Whether a text of the call has anything to choose or to mention."""
    texts = [text for name in TEXTS if isinstance(text := shortcuts.get(name), str)]
    return any("|" in text or "__" in text for text in texts)


def _chosen(text: str, draw: Any, chosen: list[str]) -> str:
    def option(match: re.Match[str]) -> str:
        if len(chosen) >= MAX_CHOICES:
            return match[0]
        one: str = draw.choice(match[1].split("|")).strip()
        chosen.append(one)
        return one

    if len(text) > MAX_CHARACTERS:
        return text
    for _ in range(MAX_LEVELS):
        expanded = CHOICE.sub(option, text)
        if expanded == text:
            break
        text = expanded
    return text


def _listed(names: list[str]) -> str:
    shown = [f'"{name[:60]}"' for name in dict.fromkeys(names)]
    return ", ".join(shown[:MAX_NAMED]) + (" …" if len(shown) > MAX_NAMED else "")
