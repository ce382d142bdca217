"""What ``describe`` says must be given is what a run requires."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import call as tool_call
from comfyui_pipeline import describe_command
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.settings import Settings
from tests.workflow.offline_calls import (
    PROJECT,
    StubServer,
    error_of,
    node,
    prepare_call,
    settings_in,
)

TWO_IMAGES: dict[str, Any] = {
    "1": node("LoadImage", "First", image="example.png"),
    "2": node("LoadImage", "Second", image="example.png"),
    "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
    "9": node("SaveImage", images=["3", 0], filename_prefix="x"),
}
TEMPLATE: dict[str, Any] = {
    "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
    "2": node("CLIPTextEncode", "$style.text!", text="plain", clip=["1", 1]),
    "3": node("CLIPTextEncode", text="{{PROMPT}}", clip=["1", 1]),
    "4": node("EmptyLatentImage", width=512, height=256, batch_size=1),
    "5": node(
        "KSampler",
        model=["1", 0],
        positive=["3", 0],
        negative=["2", 0],
        latent_image=["4", 0],
        seed=1,
        steps=2,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
    "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
}


def described(call: Mapping[str, Any], chosen: Settings) -> Mapping[str, Any]:
    read = tool_call.parse(json.dumps({"command": "describe", **call}).encode())
    server: Any = StubServer()
    return describe_command.describe(read, chosen, server, time.monotonic(), CallRecord())


def text_of(result: Mapping[str, Any]) -> str:
    return str(result["content"][0]["text"])


@pytest.mark.parametrize(
    ("workflow", "needs"),
    [
        ("text2img_api", []),
        ("resize_image", ['"image" (node 1 "Input Image" (LoadImage))']),
        (
            "inpaint_api",
            [
                '"image" (node 10 "Input Image" (LoadImage))',
                '"mask" (node 12 "Mask Image" (LoadImageMask))',
            ],
        ),
        (
            TWO_IMAGES,
            ['"images" (a list of 2: nodes 1 "First" (LoadImage), 2 "Second" (LoadImage))'],
        ),
        (TEMPLATE, ['"style"', '"prompt" (for {{PROMPT}})']),
    ],
)
def test_what_must_be_given_is_near_the_top_and_required_by_a_run(
    tmp_path: Path, workflow: Any, needs: list[str]
) -> None:
    if isinstance(workflow, str):
        workflow = json.loads((PROJECT / "workflows" / f"{workflow}.json").read_text("utf-8"))
    chosen = settings_in(tmp_path)
    result = described({"workflow_json": workflow}, chosen)
    assert result["needs"] == needs
    must = [line for line in text_of(result).splitlines()[:2] if line.startswith("Must be given")]
    assert must == ([f"Must be given: {', '.join(needs)}."] if needs else [])
    error = error_of({"workflow_json": workflow}, chosen)
    assert bool(needs) == ("needs" in error or "requires" in error), error


def test_a_placeholder_is_no_present_value(tmp_path: Path) -> None:
    result = described({"workflow_json": TWO_IMAGES}, settings_in(tmp_path))
    assert "- image = (none yet)" in text_of(result)
    assert "example.png" not in text_of(result)


def test_an_optional_second_image_need_not_be_given(tmp_path: Path, image_uri: str) -> None:
    edit = {
        **TEMPLATE,
        "2": node("CLIPTextEncode", text="", clip=["1", 1]),
        "3": node(
            "TextEncodeQwenImageEditPlus",
            prompt="winter",
            clip=["1", 1],
            image1=["8", 0],
            image2=["9", 0],
        ),
        "8": node("LoadImage", "First", image="example.png"),
        "9": node("LoadImage", "Second", image="example.png"),
    }
    chosen = settings_in(tmp_path)
    needs = described({"workflow_json": edit}, chosen)["needs"]
    assert needs == ['"images" (node 8 "First" (LoadImage))']
    ready = prepare_call({"workflow_json": edit, "images": [image_uri], "dry_run": True}, chosen)
    assert "9" not in ready.job.prompt


def test_a_description_uses_the_model_that_a_run_would_use(tmp_path: Path) -> None:
    chosen = settings_in(tmp_path)
    path = PROJECT / "workflows" / "text2img_api.json"
    (chosen.workflows_dir / path.name).write_bytes(path.read_bytes())
    result = described({"workflow": "text2img_api"}, chosen)
    assert "'a.safetensors' is used instead" in text_of(result)
    assert result["problems"] == []


def test_the_size_is_listed_as_width_and_height_only(tmp_path: Path) -> None:
    result = described({"workflow_json": TEMPLATE}, settings_in(tmp_path))
    named = {one["argument"] for one in result["arguments"]}
    assert named >= {"width", "height"}
    assert not named & {"size", "aspect_ratio", "scale"}
