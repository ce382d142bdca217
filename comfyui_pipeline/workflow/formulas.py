"""Formulas of nodes that compute a number: sums, products, ``round``, ``min`` and so on."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

MAX_TEXT = 200
"""Characters of an expression that is evaluated."""
OPERATORS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.truediv,  # a factor, before it is rounded
}


def names_in(text: str) -> set[str]:
    """The variables of a formula."""
    try:
        tree = ast.parse(text[:MAX_TEXT].strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def evaluate(text: str, names: Mapping[str, float | None]) -> float | None:
    """The value of an expression of sums, products, ``round``, ``min`` and so on; None for others."""
    if len(text) > MAX_TEXT:
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, names)
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError, TypeError):
        return None


def _value(node: ast.AST, names: Mapping[str, Any]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.Name) and names.get(node.id) is not None:
        return float(names[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, names)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        values = [_value(one, names) for one in node.args]
        calls: Mapping[str, Any] = {
            "round": lambda *v: v[0],
            "int": lambda *v: v[0],
            "float": lambda *v: v[0],
            "floor": lambda *v: math.floor(v[0]),
            "ceil": lambda *v: math.ceil(v[0]),
            "min": min,
            "max": max,
        }
        if node.func.id in calls:
            return float(calls[node.func.id](*values))
    raise ValueError(ast.dump(node)[:80])
