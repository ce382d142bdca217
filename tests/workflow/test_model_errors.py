"""Models that the server lacks: named by the caller, by the settings, or by the workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.settings import DefaultValues
from comfyui_pipeline.workflow import graph, validate
from input_server.light_dataclasses import replace
from tests.workflow.offline_calls import (
    PROJECT,
    error_of,
    node,
    prepare_call,
    schemas,
    settings_in,
)


@pytest.fixture
def chosen(tmp_path: Path) -> Any:
    found = settings_in(tmp_path)
    content = (PROJECT / "workflows" / "text2img_api.json").read_bytes()
    (found.workflows_dir / "text2img_api.json").write_bytes(content)
    (found.workflows_dir / "mine.json").write_bytes(content)
    return found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"checkpoint": "nowhere"}, "\"checkpoint\" cannot be 'nowhere' (input 'ckpt_name' of"),
        ({"model": "nowhere"}, "\"model\" cannot be 'nowhere' (input 'ckpt_name' of"),
        ({"采样器": "zzzz"}, "\"采样器\" cannot be 'zzzz' (input 'sampler_name' of"),
        ({"loras": "nowhere"}, "\"loras\" cannot be 'nowhere' (input 'lora_name' of"),
        ({"prompt": "a <lora:nowhere:1>"}, "\"<lora:…>\" cannot be 'nowhere'"),
    ],
)
def test_an_error_about_a_value_names_the_key_of_the_caller(
    chosen: Any, given: dict[str, str], said: str
) -> None:
    assert said in error_of({"workflow": "text2img_api", "prompt": "a fox", **given}, chosen)


def test_a_match_is_reported_under_the_key_of_the_caller(chosen: Any) -> None:
    ready = prepare_call({"workflow": "text2img_api", "prompt": "x", "model": "c.ckpt"}, chosen)
    assert "model 'c.ckpt' → 'b/c.ckpt'" in ready.guesses


def test_mistakes_in_loras_are_reported_with_the_others(chosen: Any) -> None:
    call = {"workflow": "text2img_api", "prompt": "a fox", "sampler": "zzzz"}
    for given, said in (
        ({"loras": "nowhere"}, "'nowhere'"),
        ({"prompt": "a <lora:ink:x>"}, "is not a number"),
        ({"loras": "ink, l", "lora_nodes": "keep"}, "0 LoRA loaders"),
    ):
        error = error_of({**call, **given}, chosen)
        assert said in error
        assert "'zzzz'" in error
    plain = {"1": node("LoadImage", image="photo.png"), "2": node("SaveImage", images=["1", 0])}
    error = error_of({"workflow_json": plain, "loras": "ink", "steps": "5"}, chosen)
    assert "loads no model" in error
    assert '"steps"' in error


def test_a_missing_model_without_an_argument_is_set_by_params() -> None:
    prompt = {
        "7": node("CLIPLoader", clip_name="gone.safetensors", type="wan"),
        "8": node("CLIPTextEncode", clip=["7", 0], text="x"),
    }
    known = {
        name: json.loads(json.dumps(schemas()[name])) for name in ("CLIPLoader", "CLIPTextEncode")
    }
    known["CLIPLoader"]["input"]["required"]["clip_name"][0] = ["umt5.safetensors"]
    (problem,) = validate.problems(graph.build(prompt, known), known)
    example = str(problem).partition('pass "params": ')[2].partition(" to use")[0]
    assert json.loads(example) == [{"node_id": "7", "inputs": {"clip_name": "umt5.safetensors"}}]


# -- settings --------------------------------------------------------------------------------------


def run(chosen: Any, defaults: DefaultValues, **call: Any) -> Any:
    chosen = replace(chosen, defaults=defaults)
    return prepare_call({"workflow": "text2img_api", "prompt": "a fox", **call}, chosen)


def test_a_stale_checkpoint_of_the_settings_does_not_stop_the_call(chosen: Any) -> None:
    ready = run(chosen, DefaultValues(checkpoint="gone.safetensors"))
    assert ready.job.prompt["4"]["inputs"]["ckpt_name"] == "a.safetensors"
    assert "COMFYUI_DEFAULT_CHECKPOINT names 'gone.safetensors'" in " ".join(ready.important)
    given = run(chosen, DefaultValues(checkpoint="gone.safetensors"), model="c.ckpt")
    assert "COMFYUI_DEFAULT" not in " ".join(given.important)


def test_stale_loras_of_the_settings_are_left_out(chosen: Any) -> None:
    ready = run(chosen, DefaultValues(loras=("ink:0.5", "gone:1")))
    used = [
        n["inputs"]["lora_name"] for n in ready.job.prompt.values() if "lora_name" in n["inputs"]
    ]
    assert used == ["styles/ink.safetensors"]
    assert "COMFYUI_DEFAULT_LORAS names 'gone'" in " ".join(ready.important)
    none = run(chosen, DefaultValues(loras=("gone",)))
    assert not any("lora_name" in n["inputs"] for n in none.job.prompt.values())


def test_the_error_names_the_stale_setting_where_nothing_else_fits(chosen: Any) -> None:
    chosen = replace(chosen, defaults=DefaultValues(checkpoint="gone.safetensors"))
    with pytest.raises(ToolError) as raised:
        prepare_call({"workflow": "mine", "prompt": "a fox"}, chosen)
    assert "COMFYUI_DEFAULT_CHECKPOINT names 'gone.safetensors'" in str(raised.value)
