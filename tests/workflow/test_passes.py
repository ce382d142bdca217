"""Steps and denoise: those of the main pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.workflow import patch
from comfyui_pipeline.workflow.graph import build
from tests.workflow.prompts import SCHEMAS, node

OWN = {
    "Sampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "positive": ["CONDITIONING"],
                "latent": ["LATENT"],
                "seed": ["INT", {}],
                "desired_steps": ["INT", {"min": 4, "max": 40}],
            }
        },
        "output": ["MODEL", "CONDITIONING", "LATENT"],
    }
}


def changed(nodes: Mapping[str, Any], **call: Any) -> dict[str, Any]:
    read = parse(json.dumps({"workflow_json": nodes, **call}).encode())
    planned = patch.plan(build(nodes, {**SCHEMAS, **OWN}), read, read.shortcuts, random_seed=9)
    return {
        f"{c.target.node.id}.{c.target.name}": c.value for c in planned.changes if not c.is_seed
    }


def passes(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two samplers, of which the second one takes the latent of the first."""
    common = {"positive": ["t", 0], "negative": ["t", 0]}
    return {
        "m": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "t": node("CLIPTextEncode", text="x", clip=["m", 1]),
        "l": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "1": node("KSampler", **common, model=["m", 0], latent_image=["l", 0], **first),
        "u": node("LatentUpscaleBy", samples=["1", 0], scale_by=2.0, upscale_method="area"),
        "2": node("KSampler", **common, model=["m", 0], latent_image=["u", 0], **second),
        "d": node("VAEDecode", samples=["2", 0], vae=["m", 2]),
        "o": node("SaveImage", images=["d", 0], filename_prefix="x"),
    }


def test_a_pass_that_refines_keeps_its_steps_and_denoise() -> None:
    nodes = passes({"steps": 20, "denoise": 1.0}, {"steps": 20, "denoise": 0.4})
    assert changed(nodes, steps=30, denoise=0.9) == {"1.steps": 30, "1.denoise": 0.9}


def test_a_helper_of_one_step_is_not_the_main_pass() -> None:
    nodes = passes({"steps": 1, "denoise": 1.0}, {"steps": 20, "denoise": 0.4})
    assert changed(nodes, steps=30) == {"2.steps": 30}


def test_parts_of_a_film_with_as_many_steps_each_belong_together() -> None:
    nodes = passes({"steps": 6, "denoise": 1.0}, {"steps": 6, "denoise": 1.0})
    assert changed(nodes, num_inference_steps=8) == {"1.steps": 8, "2.steps": 8}


def divided(**second: Any) -> dict[str, Any]:
    nodes = passes({}, {})
    for name, more in (("1", {"start_at_step": 0, "end_at_step": 10}), ("2", second)):
        nodes[name]["class_type"] = "KSamplerAdvanced"
        nodes[name]["inputs"] |= {"steps": 20, **more}
    nodes["2"]["inputs"]["latent_image"] = ["1", 0]
    return nodes


def test_samplers_that_divide_a_schedule_keep_their_shares() -> None:
    assert changed(divided(start_at_step=10, end_at_step=10000), steps=8) == {
        "1.steps": 8,
        "2.steps": 8,
        "1.end_at_step": 4,
        "2.start_at_step": 4,
    }
    nodes = divided(start_at_step=10, end_at_step=10000)
    nodes["2"]["inputs"]["steps"] = 30  # another schedule
    assert "2.steps" not in changed(nodes, steps=8)


def test_a_schedule_that_is_split_keeps_its_shares() -> None:
    nodes = passes({"steps": 20, "denoise": 1.0}, {})
    nodes |= {
        "b": node("BasicScheduler", model=["m", 0], scheduler="normal", steps=20, denoise=1.0),
        "sp": node("SplitSigmas", sigmas=["b", 0], step=5),
        "g": node("BasicGuider", model=["m", 0], conditioning=["t", 0]),
        "k": node(
            "SamplerCustomAdvanced", guider=["g", 0], sigmas=["sp", 0], latent_image=["l", 0]
        ),
    }
    nodes["d"]["inputs"]["samples"] = ["k", 0]
    assert changed(nodes, steps=8) == {"b.steps": 8, "sp.step": 2}


@pytest.mark.parametrize("steps", [3, 41])
def test_steps_beyond_the_limits_of_an_input_are_an_error(steps: int) -> None:
    nodes = passes({"steps": 20, "denoise": 1.0}, {})
    nodes["s"] = node(
        "Sampler", model=["m", 0], positive=["t", 0], latent=["l", 0], seed=1, desired_steps=9
    )
    nodes["d"]["inputs"]["samples"] = ["s", 2]
    assert changed(nodes, steps=20) == {"s.desired_steps": 20}
    with pytest.raises(Exception, match="from 4 to 40"):
        changed(nodes, steps=steps)
