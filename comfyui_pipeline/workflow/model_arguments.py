"""How a call chooses the model of an input: an argument that sets just this one, or ``params``."""

from __future__ import annotations

import json
from typing import Any

from comfyui_pipeline.workflow import roles
from comfyui_pipeline.workflow.graph import Graph, Target

ARGUMENTS = ("checkpoint", "vae", "loras", "controlnet", "upscale_model")
"""The arguments that choose models."""


def argument_of(graph: Graph, target: Target) -> str:
    """The argument that sets this input and no other; "" for none."""
    for name in ARGUMENTS:
        found = roles.find_targets(graph, name)
        if [(t.node.id, t.name) for t in found] == [(target.node.id, target.name)]:
            return name
    return ""


def how_to_choose(graph: Graph, target: Target, example: Any) -> str:
    """``pass "checkpoint"``, or ``params`` that set the input to ``example``."""
    argument = argument_of(graph, target)
    if argument:
        return f'pass "{argument}"'
    entry = [{"node_id": target.node.id, "inputs": {target.name: example}}]
    return f'pass "params": {json.dumps(entry, ensure_ascii=False)}'
