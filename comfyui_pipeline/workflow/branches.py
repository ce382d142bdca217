"""Switches: nodes that pass on one of several inputs, by the value of another one.

A switch is recognised by its inputs, not by its class: several alternatives of one kind and one
selector. ``on_true``/``on_false`` or ``a``/``b`` go with a boolean, numbered names with an integer,
and names that are choices with a combo. A switch without a selector passes on the first that is
linked, as rgthree's "Any Switch" does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from comfyui_pipeline.workflow.links import is_link
from comfyui_pipeline.workflow.schema import WILDCARDS

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.graph import Graph, Node

SIDES: Mapping[str, bool] = {
    "true": True,
    "tt": True,
    "a": True,
    "false": False,
    "ff": False,
    "b": False,
}
"""The word in the name of an alternative -> the boolean that chooses it."""
SELECTORS = frozenset(
    {
        "switch",
        "select",
        "selector",
        "index",
        "input",
        "boolean",
        "bool",
        "condition",
        "cond",
        "state",
    }
)
_WORDS = re.compile(r"[a-z0-9]+")


def unused_inputs(graph: Graph, node: Node) -> frozenset[str]:
    """What ``_unused_inputs`` finds, kept by the graph."""
    found = graph.unused.get(node.id)
    if found is None:
        found = graph.unused[node.id] = _unused_inputs(graph, node)
    return found


def _unused_inputs(graph: Graph, node: Node) -> frozenset[str]:
    """The linked inputs of a switch that are not passed on; none if it is no switch, or if what it
    chooses is not known before it runs.
    """
    linked = [name for name, value in node.inputs.items() if is_link(value)]
    if not linked:
        return frozenset()
    selector = _selector(node)
    if selector is None:
        return frozenset(_after_first(node, linked))
    kind = node.specs[selector].type
    value = graph.value_at(node, selector, (kind,))
    if isinstance(value, str):
        return frozenset(_not_of_choice(node, linked, value))
    if isinstance(value, bool):
        return frozenset(_not_of_side(linked, value))
    if isinstance(value, int):
        return frozenset(_not_of_number(linked, value))
    return frozenset()


def _selector(node: Node) -> str | None:
    """The input whose value chooses; None if there is none."""
    found = [
        spec.name
        for spec in node.specs.values()
        if spec.type in ("BOOLEAN", "INT", "COMBO")
        and spec.name.lower() in SELECTORS
        and spec.name in node.inputs
    ]
    return found[0] if found else None


def _not_of_side(linked: list[str], value: bool) -> list[str]:
    sides = {name: _side(name) for name in linked}
    return [name for name, side in sides.items() if side is not None and side != value]


def _side(name: str) -> bool | None:
    words = _WORDS.findall(name.lower())
    found = {SIDES[word] for word in words if word in SIDES}
    return found.pop() if len(found) == 1 else None


def _not_of_number(linked: list[str], value: int) -> list[str]:
    """Numbered alternatives of the same name that have another number than ``value``."""
    numbers = {name: _number(name) for name in linked}
    if value not in numbers.values():
        return []
    return [name for name, number in numbers.items() if number not in (None, value)]


def _number(name: str) -> int | None:
    """``images2_opt`` -> 2; None for a name without a number at its end."""
    name = name.removesuffix("_opt")
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits) if 0 < len(digits) < 6 else None


def _not_of_choice(node: Node, linked: list[str], value: str) -> list[str]:
    """Inputs that are named as the other choices of the selector."""
    choices = {
        str(choice)
        for spec in node.specs.values()
        if value in spec.choices
        for choice in spec.choices
    }
    return [name for name in linked if value in linked and name in choices - {value}]


def _after_first(node: Node, linked: list[str]) -> list[str]:
    """The links after the first of a node that has nothing but optional inputs of any type."""
    if any(spec.required for spec in node.specs.values()) or len(linked) < 2:
        return []
    plain = [name for name in node.inputs if name not in linked]
    untyped = all(
        (spec := node.specs.get(name)) is None or spec.type in WILDCARDS for name in linked
    )
    numbers = {name: _number(name) for name in linked}
    if plain or None in numbers.values() or not (untyped and node.outputs):
        return []
    return sorted(linked, key=lambda name: numbers[name] or 0)[1:]
