"""``{red|blue}`` in a call's prompt: one option is chosen by the seed and reported.

The rule for every text: choices are made where the editor makes them in saved texts, which is at inputs
marked ``dynamicPrompts`` (``convert/dynamic_text.py``), and in the prompts of a call; never where a node
handles them itself. ``\\{``, ``\\|`` and ``\\}`` are the characters themselves in a text with choices.
Braces without ``|`` stay in a call, as prompts can be JSON. ``__name__`` wildcards stay everywhere: their
files are on the ComfyUI machine, if anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, Node, Target

TEXTS = ("prompt", "negative_prompt", "prompts")
LISTED = "prompts"
CHOICE = re.compile(r"(?<!\\)\{([^{}|]*\|[^{}]*)\}")
"""The innermost braces with options; options that are chosen are searched again."""
WILDCARD = re.compile(r"(?<!\w)__[A-Za-z0-9][\w/*-]{0,60}?__(?!\w)")
MAX_CHOICES = 200
MAX_LEVELS = 10
MAX_CHARACTERS = 100_000
"""A longer text is left as it is."""
MAX_NAMED = 8
MAX_FOLLOWED = 1000
"""Nodes that a text is followed through."""
ESCAPED = re.compile(r"\\([{}|])")
HANDLER = "wildcard"
"""In the name of a node or of one of its inputs: it replaces choices and wildcards itself."""


def choose(
    shortcuts: Mapping[str, Any],
    seed: int,
    handlers: Mapping[str, Node] = MappingProxyType({}),
    again: str = "",
) -> tuple[dict[str, Any], list[str]]:
    """The shortcuts with one option chosen for each ``{a|b}``, and sentences about it.

    ``handlers``: argument -> the node that handles its text itself, which stays as it is. ``again``: how
    to get the same choice, where the answer shows no seed.
    """
    import random  # after the check that there is anything to choose

    chosen: list[str] = []
    wildcards: list[str] = []
    literal: list[str] = []
    handled = ""
    result = dict(shortcuts)
    draw = random.Random(seed)
    for name in TEXTS:
        text = result.get(name)
        if name == LISTED and text:
            result[name] = tuple(_chosen(one, draw, chosen) for one in text)
        if not isinstance(text, str):
            continue
        if node := handlers.get(name):
            handled = handled or f"as node {node.label} replaces choices and wildcards itself"
            literal += [m[0] for m in CHOICE.finditer(text[:MAX_CHARACTERS])]
            literal += WILDCARD.findall(text[:MAX_CHARACTERS])
            continue
        result[name] = _chosen(text, draw, chosen)
        wildcards += WILDCARD.findall(text[:MAX_CHARACTERS])
    notes = []
    if literal:
        notes.append(f"{_listed(literal)} in the prompt was passed on as it is, {handled}.")
    if chosen:
        notes.append(
            "Chosen by the seed from {a|b} in the prompt: "
            f"{_listed(chosen)}; another seed can choose otherwise{again}."
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
    texts += shortcuts.get(LISTED) or ()
    return any("|" in text or "__" in text for text in texts)


def handlers(graph: Graph) -> dict[str, Node]:
    """Argument -> the node that replaces choices and wildcards in its text itself, if there is one."""
    found: dict[str, Node] = {}
    for name in TEXTS:
        for target in roles.find_targets(graph, name):
            if (node := _handler(graph, target)) is not None:
                found.setdefault(name, node)
    return found


def _handler(graph: Graph, target: Target) -> Node | None:
    """The node of an input, if its schema says so, or one that its text goes to, by its name."""
    if target.spec is not None and target.spec.options.get("dynamicPrompts") is False:
        return target.node
    waiting, passed = [target], set[str]()
    while waiting and len(passed) < MAX_FOLLOWED:
        one = waiting.pop()
        node = one.node
        if any(HANDLER in name.lower() for name in (node.class_type, one.name)):
            return node
        if node.id in passed:
            continue
        passed.add(node.id)
        for other, name, slot in graph.consumers(node):
            if slot < len(node.outputs) and node.outputs[slot] == "STRING":
                waiting.append(Target(other, name))
    return None


def _chosen(text: str, draw: Any, chosen: list[str]) -> str:
    def option(match: re.Match[str]) -> str:
        if len(chosen) >= MAX_CHOICES:
            return match[0]
        one: str = draw.choice(match[1].split("|")).strip()
        chosen.append(one)
        return one

    if len(text) > MAX_CHARACTERS or not CHOICE.search(text):
        return text
    for _ in range(MAX_LEVELS):
        expanded = CHOICE.sub(option, text)
        if expanded == text:
            break
        text = expanded
    return ESCAPED.sub(r"\1", text)


def _listed(names: list[str]) -> str:
    shown = [f'"{name[:60]}"' for name in dict.fromkeys(names)]
    return ", ".join(shown[:MAX_NAMED]) + (" …" if len(shown) > MAX_NAMED else "")
