"""Prompts, schemas and patching for the tests of this folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.workflow import graph, patch
from tests.workflow import offline_calls

SCHEMAS = offline_calls.schemas()
node = offline_calls.node


def build_graph(nodes: dict[str, Any], schemas: Any = None) -> graph.Graph:
    return graph.build(nodes, schemas or SCHEMAS)


def ids_and_inputs(targets: list[graph.Target]) -> list[tuple[str, str]]:
    return [(target.node.id, target.name) for target in targets]


def patch_default(nodes: dict[str, Any], call: ToolCall, **more: Any) -> dict[str, Any]:
    plan = patch.plan(build_graph(nodes), call, call.shortcuts, random_seed=99, **more)
    return patch.apply(nodes, plan.changes)


def base() -> dict[str, Any]:
    nodes = copy.deepcopy(offline_calls.PROMPT)
    nodes["2"]["inputs"]["text"] = "good"
    nodes["10"]["_meta"]["title"] = nodes["11"]["_meta"]["title"] = ""
    return nodes


WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
Schemas = Mapping[str, Any]


def prompt_with_swapped_titles() -> dict[str, Any]:
    """The titles are swapped: the node titled "Positive Prompt" feeds the negative input."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "2": node("CLIPTextEncode", "Positive Prompt", text="bad", clip=["1", 1]),
        "3": node("CLIPTextEncode", "Negative Prompt", text="good", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "5": node(
            "KSampler",
            seed=7,
            steps=20,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["1", 0],
            positive=["3", 0],
            negative=["2", 0],
            latent_image=["4", 0],
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="ComfyUI"),
    }


def patch_prompt(
    nodes: Mapping[str, Any], schemas: Schemas, call: ToolCall, prefix: str = ""
) -> Any:
    found = graph.build(nodes, schemas)
    plan = patch.plan(found, call, call.shortcuts, random_seed=99, prefix=prefix)
    return patch.apply(nodes, plan.changes)
