"""A call's prompts in the texts of a workflow: in one, in each, or an error that lists them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from comfyui_pipeline.arguments import Argument
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import prompt_texts
from comfyui_pipeline.workflow.changes import Origin, Planner
from comfyui_pipeline.workflow.graph import Graph, Target

MAX_CANDIDATES = 6
"""Texts that an error lists."""


def one(planner: Planner, targets: list[Target]) -> list[Target]:
    """The inputs of one text. Raises PatchError if they hold different ones: none is overwritten."""
    different = prompt_texts.independent(targets)
    if not different:
        return prompt_texts.without_empty(targets)
    listed = "; ".join(
        f"{n}. node {t.node.label}, input {t.name}: {_beginning(t)}"
        for n, t in enumerate(different[:MAX_CANDIDATES], start=1)
    )
    raise PatchError(
        f'"{planner.key("prompt")}" is ambiguous: this workflow has {len(different)} different texts.',
        f'Give "prompts", a list in this order: {listed}. params sets a single one.',
        code="ambiguous",
    )


def each(
    planner: Planner, argument: Argument, found: Sequence[Target], values: Sequence[str]
) -> None:
    """One of ``values`` into each text of the workflow; equal texts are one. ``found``: their inputs."""
    slots = prompt_texts.independent(found) or prompt_texts.without_empty(found)[:1]
    if len(values) > len(slots):
        listed = "; ".join(f"node {t.node.label}: {_beginning(t)}" for t in slots[:MAX_CANDIDATES])
        raise PatchError(
            f"{len(values)} prompts were given, but this workflow has {len(slots)}: {listed}.",
            'Give fewer, or a batch: {"workflow1": "…", "prompt1": "…", "workflow2": "…", "prompt2": "…"}.',
        )
    for number, (slot, value) in enumerate(zip(slots, values, strict=False), start=1):
        same = [t for t in found if _text(t) == _text(slot)]
        for target in planner.unset(same if len(slots) > 1 else prompt_texts.without_empty(found)):
            part = f"prompt {number}" if len(slots) > 1 else ""
            planner.set(target, value, Origin.ARGUMENT, argument.name, part=part)
    if len(values) < len(slots):
        planner.notes.append(
            f"This workflow has {len(slots)} prompts; those after the first {len(values)} stay as they are."
        )


def _text(target: Target) -> str:
    return str(target.node.inputs.get(target.name) or "").strip()


def _beginning(target: Target) -> str:
    text = " ".join(_text(target).split())
    return json.dumps(text[:60] + ("…" if len(text) > 60 else ""), ensure_ascii=False)


def candidates(graph: Graph) -> str:
    """The texts of a workflow that may be the prompt, with the argument that sets the first one."""
    found = [
        (node, spec.name)
        for node in graph.nodes.values()
        for spec in node.specs.values()
        if spec.type == "STRING" and spec.options.get("multiline")
        if isinstance(node.inputs.get(spec.name), str)
    ]
    if not found:
        return ""
    listed = ", ".join(f"{node.label} ({name})" for node, name in found[:MAX_CANDIDATES])
    params = json.dumps(
        {"node_id": found[0][0].id, "input": found[0][1], "value": "…"}, ensure_ascii=False
    )
    return f'Its texts are in {listed}; "params": [{params}] sets one. '
