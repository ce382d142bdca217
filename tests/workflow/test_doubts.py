"""What the server takes is not refused: tried on ComfyUI 0.33.0 (execution.py validate_inputs)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import validate
from comfyui_pipeline.workflow.graph import build
from tests.workflow import offline_calls
from tests.workflow.offline_calls import node

FORMATS = [
    {"key": "mp4", "inputs": {"required": {"codec": ["COMFY_DYNAMICCOMBO_V3", {"options": []}]}}},
    {"key": "webm", "inputs": {"required": {"crf": ["INT", {"min": 0}]}}},
]
CLASSES: dict[str, Any] = {
    "Save": {
        "input": {"required": {"format": ["COMFY_DYNAMICCOMBO_V3", {"options": FORMATS}]}},
        "output_node": True,
    },
    "LoadLatent": {"input": {"required": {"latent": [["a.latent"]]}}, "output_node": True},
    "Custom": {"input": {"required": {"choice": ["COMBO", {"options": []}]}}, "output_node": True},
    "Rate": {"input": {"required": {"rate": ["FLOAT,INT", {}]}}, "output_node": True},
    "Text": {"input": {"required": {"text": ["STRING", {}]}}, "output_node": True},
    "Socket": {"input": {"required": {"image": ["IMAGE"]}}, "output_node": True},
    "Count": {"input": {"required": {"count": ["INT", {"max": 2**64 - 1}]}}, "output_node": True},
    "Model": {
        "input": {"required": {"ckpt_name": ["COMBO", {"options": []}]}},
        "output_node": True,
    },
}


class Server(offline_calls.StubServer):
    def schemas(self, names: Any) -> dict[str, Any]:
        return {name: CLASSES[name] for name in names if name in CLASSES}


def notes_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, **inputs: Any
) -> list[str]:
    """The notes of a call that queues one node. Raises WorkflowError where it is refused."""
    monkeypatch.setattr(offline_calls, "StubServer", Server)
    flow = {"1": node(kind, **inputs)}
    chosen = offline_calls.settings_in(tmp_path)
    ready = offline_calls.prepare_call({"workflow_json": flow}, chosen)
    assert ready.job.prompt["1"]["inputs"] == inputs
    return [note for note in ready.notes if "for the server to decide" in note]


@pytest.mark.parametrize(
    ("kind", "inputs", "count"),
    [
        ("Save", {"format": "mp4"}, 0),  # saved before codec was an input of its format
        ("Save", {"format": "mp4", "codec": "h264"}, 0),
        ("Save", {}, 0),
        ("Save", {"format": "mov"}, 1),
        ("LoadLatent", {"latent": "latents/l_00001_.latent [output]"}, 1),
        ("Custom", {"choice": "Gaussian", "option1": "Gaussian"}, 1),
        ("Rate", {"rate": 25}, 0),
        ("Rate", {"rate": 2.5}, 0),
        ("Text", {"text": None}, 1),
        ("Socket", {"image": 5}, 1),
        ("Socket", {"image": None}, 1),
        ("Count", {"count": 2**64 - 1}, 0),
    ],
)
def test_what_the_server_may_take_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, inputs: dict[str, Any], count: int
) -> None:
    assert len(notes_of(tmp_path, monkeypatch, kind, **inputs)) == count


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("Save", {"format": "webm"}),  # a plain input of a chosen option is required
        ("LoadLatent", {"latent": "b.latent"}),
        ("Model", {"ckpt_name": "sd15.safetensors"}),
        ("Count", {"count": 2**64}),
        ("Count", {"count": "5.5"}),
    ],
)
def test_what_the_server_refuses_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, inputs: dict[str, Any]
) -> None:
    with pytest.raises(WorkflowError):
        notes_of(tmp_path, monkeypatch, kind, **inputs)
    prompt = {"1": node(kind, **inputs)}
    assert validate.problems(build(prompt, CLASSES), CLASSES)


@pytest.mark.parametrize("value", ["25", 25, 2.5, "2.5"])
def test_an_argument_sets_an_input_of_several_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr(offline_calls, "StubServer", Server)
    call = {"workflow_json": {"1": node("Rate", rate=1)}, "params": {"1": {"rate": value}}}
    ready = offline_calls.prepare_call(call, offline_calls.settings_in(tmp_path))
    assert ready.job.prompt["1"]["inputs"]["rate"] == float(value)
