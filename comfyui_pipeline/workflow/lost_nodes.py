"""What cannot run because of the nodes that a call bypasses, mutes or enables.

A muted node takes along what needs it, as in the editor. A bypassed one that others need is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import optional_inputs
from comfyui_pipeline.workflow.graph import Graph
from comfyui_pipeline.workflow.switches import ACTIVE, MUTED, OFF, WORDS, Broken, Chosen
from input_server.light_dataclasses import replace

Prompt = Mapping[str, Mapping[str, Any]]
MAX_LISTED = 30


def without(prompt: Prompt, graph: Graph, chosen: Chosen) -> tuple[Prompt, Chosen]:
    """The prompt without what muted nodes take along. Raises PatchError for what bypassed ones do."""
    for one in chosen.broken:
        if one.mode != MUTED or not one.by_call:
            raise _error(prompt, graph, one, chosen)
    left, gone = optional_inputs.without_all(prompt, graph, [one.node_id for one in chosen.broken])
    if not _has_output(graph, left):
        raise PatchError(f"Nothing is left to run: {', '.join(chosen.said)}.", "Mute fewer nodes.")
    labels = ", ".join(node.label for node in graph.nodes.values() if node.id in gone)
    return left, replace(chosen, said=(*chosen.said, f"left out with what is muted: {labels}"))


def _error(prompt: Prompt, graph: Graph, one: Broken, chosen: Chosen) -> PatchError:
    reader = graph.nodes[one.node_id].label
    if not one.by_call:
        ids = [node_id for node_id, mode in chosen.modes.items() if mode == ACTIVE]
        return PatchError(
            f"Node {reader} was enabled, but its input {one.input_name!r} comes from node "
            f"{one.off_label}, which is {WORDS[one.mode]} in this workflow. Nothing was queued.",
            f'Enable that one too: "enable": {json.dumps([*ids, one.off])}.',
        )
    left, gone = optional_inputs.without_all(prompt, graph, [one.node_id])
    hint = "No output would be left without it: change its inputs with params instead."
    if _has_output(graph, left):
        off = [node_id for node_id, mode in chosen.modes.items() if mode in OFF]
        more = [*off, *(node_id for node_id in prompt if node_id in gone)]
        hint = (
            f'Bypass what needs it as well, "bypass": {json.dumps(more[:MAX_LISTED])}, or change its '
            "inputs with params instead, for example a strength to 0."
        )
    return PatchError(
        f"Node {one.off_label} cannot be bypassed: node {reader} needs its output for "
        f"{one.input_name!r}, and it has no linked input of that type to pass on in its place. Nothing "
        "was queued.",
        hint,
    )


def _has_output(graph: Graph, prompt: Prompt) -> bool:
    return any(graph.nodes[node_id].is_output_node for node_id in prompt)
