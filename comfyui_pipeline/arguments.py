"""The table of arguments: everything that is known about each key of a call, one row per key.

Parsing (``call.py``), roles, placeholders, patching, ``describe`` and the manifest's descriptions
(``python -m devtools.settings_files`` writes them) derive from ``ARGUMENTS``. To add an argument,
add a row to ``value_arguments`` or ``control_arguments``: a new numeric argument that sets an input
of the same name needs nothing else but the documents.
"""

from __future__ import annotations

from collections.abc import Mapping

from comfyui_pipeline import control_arguments, value_arguments
from comfyui_pipeline.argument_row import (
    ALL,
    CHOICE,
    COMMAND,
    EVERY,
    FILE,
    FILES,
    IF_EQUAL,
    INTEGER,
    JOB,
    JSON,
    LIST,
    MAX_SEED,
    MAX_SIDE,
    NODES,
    NUMBER,
    ONE,
    OUTPUTS,
    PARAMS,
    QUESTION,
    RATIO,
    RUN,
    SECONDS,
    SEED,
    SIZE,
    SWITCH,
    TEXT,
    TEXT_LIST,
    WAIT,
    WORKFLOW,
    Argument,
)

__all__ = [
    "ALL",
    "ARGUMENTS",
    "BY_NAME",
    "CHOICE",
    "COMMAND",
    "EVERY",
    "FILE",
    "FILES",
    "IF_EQUAL",
    "INTEGER",
    "JOB",
    "JSON",
    "LIST",
    "MAX_SEED",
    "MAX_SIDE",
    "NODES",
    "NUMBER",
    "ONE",
    "OUTPUTS",
    "PARAMS",
    "QUESTION",
    "RATIO",
    "RUN",
    "SECONDS",
    "SEED",
    "SHORTCUTS",
    "SIZE",
    "SWITCH",
    "TEXT",
    "TEXT_LIST",
    "WAIT",
    "WORKFLOW",
    "Argument",
    "role_of",
]

ARGUMENTS: tuple[Argument, ...] = (
    *control_arguments.WHAT,
    *value_arguments.ROWS,
    *control_arguments.HOW,
)
"""In the order in which changes are planned and described. Of two rows with the same field, the
later one counts."""

BY_NAME: Mapping[str, Argument] = {argument.name: argument for argument in ARGUMENTS}
SHORTCUTS: tuple[Argument, ...] = tuple(
    argument for argument in ARGUMENTS if argument.is_shortcut and not argument.excludes
)
"""The arguments that a role places, without the second spelling of one (``images``)."""


def role_of(name: str) -> str:
    """The role of a shortcut argument; "" for any other key."""
    argument = BY_NAME.get(name)
    return argument.role if argument else ""
