"""``batch_size`` in workflows that start from an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfyui_pipeline.call import parse
from comfyui_pipeline.workflow import patch, repeating
from tests.workflow.offline_calls import node
from tests.workflow.prompts import SCHEMAS, build_graph, prompt_with_swapped_titles

IMG2IMG = Path(__file__).resolve().parents[2] / "workflows" / "img2img_api.json"
REPEAT = {
    "input": {"required": {"samples": ["LATENT"], "amount": ["INT", {"min": 1, "max": 64}]}},
    "output": ["LATENT"],
}
WITH_REPEAT = {**SCHEMAS, "RepeatLatentBatch": REPEAT}


def img2img() -> Any:
    return json.loads(IMG2IMG.read_text("utf-8"))


def test_the_latent_of_an_image_is_repeated() -> None:
    nodes = img2img()
    latent = repeating.place_in(build_graph(nodes))
    assert latent is not None
    added = repeating.add(nodes, latent, lambda: WITH_REPEAT)
    assert added is not None
    read = parse(json.dumps({"workflow_json": nodes, "n": "3"}).encode())
    planned = patch.plan(build_graph(added[0], WITH_REPEAT), read, read.shortcuts, random_seed=1)
    prompt = patch.apply(added[0], planned.changes)
    (new,) = (i for i, n in prompt.items() if n["class_type"] == "RepeatLatentBatch")
    assert prompt[new]["inputs"] == {
        "samples": nodes[latent.node.id]["inputs"][latent.name],
        "amount": 3,
    }
    assert prompt[latent.node.id]["inputs"][latent.name] == [new, 0]


def test_a_server_without_such_a_node_adds_none() -> None:
    nodes = img2img()
    latent = repeating.place_in(build_graph(nodes))
    assert latent is not None
    assert repeating.add(nodes, latent, lambda: {"KSampler": SCHEMAS["KSampler"]}) is None


def test_a_workflow_with_a_batch_size_needs_none() -> None:
    assert repeating.place_in(build_graph(prompt_with_swapped_titles())) is None


def test_only_the_first_of_two_samplers_gets_a_repeated_latent() -> None:
    nodes = img2img()
    (sampler,) = (i for i, n in nodes.items() if n["class_type"] == "KSampler")
    second = {**nodes[sampler]["inputs"], "latent_image": [sampler, 0]}
    nodes["90"] = node("KSampler", **second)
    nodes["91"] = node("VAEDecode", samples=["90", 0], vae=["4", 2])
    nodes["92"] = node("PreviewImage", images=["91", 0])
    latent = repeating.place_in(build_graph(nodes))
    assert latent is not None
    assert latent.node.id == sampler


def test_a_workflow_without_a_sampler_has_no_latent_to_repeat() -> None:
    nodes = {"1": node("LoadImage", image="a.png"), "2": node("PreviewImage", images=["1", 0])}
    assert repeating.place_in(build_graph(nodes)) is None
