"""Prompts converted from the synthetic workflows of tests/data/conversion, and their schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.workflow import graph, patch
from comfyui_pipeline.workflow.convert.prompt import convert

DATA = Path(__file__).resolve().parents[1] / "data" / "conversion"
Prompt = dict[str, dict[str, Any]]


@cache
def data(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


EDITOR_SCHEMAS: Mapping[str, Any] = data("classes-0.8.0.json")
SMALL = [name for name in data("digests.json")["synthetic-0.8.0"] if not name.startswith("nodes-")]


def prompt_of(name: str) -> Prompt:
    small = data("small_workflows.json")
    document = copy.deepcopy(small.get(f"{name}@0.8.0", small[name]))
    return json.loads(json.dumps(convert(document, EDITOR_SCHEMAS).prompt))


def editor_prompt() -> Prompt:
    """Loader 1, texts 2 and 3, latent 4, sampler 5, decoder 6, saver 7."""
    return prompt_of("syn-base")


def plan_editor(nodes: Prompt, call: ToolCall, schemas: Any = None, **more: Any) -> patch.Plan:
    found = graph.build(nodes, schemas or EDITOR_SCHEMAS)
    return patch.plan(found, call, call.shortcuts, random_seed=99, **more)


def patch_editor(nodes: Prompt, call: ToolCall, schemas: Any = None, **more: Any) -> Prompt:
    return patch.apply(nodes, plan_editor(nodes, call, schemas, **more).changes)


def with_choices(node: str, name: str, choices: list[str]) -> dict[str, Any]:
    """The schemas with these choices of an input."""
    schemas = copy.deepcopy(dict(EDITOR_SCHEMAS))
    schemas[node]["input"]["required"][name] = [choices]
    return schemas


def titled(**titles: str) -> Prompt:
    nodes = editor_prompt()
    for node_id, title in titles.items():
        nodes[node_id.removeprefix("n")]["_meta"]["title"] = title
    return nodes
