"""Input files of a call: each value is parsed and decoded once."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import inputs, load_workflow, settings
from comfyui_pipeline.call import parse
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import graph, patch
from tests.conftest import png
from tests.media.input_folder import Server

SCHEMAS: dict[str, Any] = {
    "LoadImage": {
        "input": {"required": {"image": [["a.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    }
}
PROMPT = {
    str(number): {"class_type": "LoadImage", "inputs": {"image": "a.png"}} for number in range(3)
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Characters of each base64 text that is decoded; checks of the first ones do not count."""
    sizes: list[int] = []
    original = base64.b64decode

    def counted(text: Any, *args: Any, **options: Any) -> bytes:
        if len(text) > 64:
            sizes.append(len(text))
        return original(text, *args, **options)

    monkeypatch.setattr(base64, "b64decode", counted)
    return sizes


def encoded(content: bytes, form: str) -> str:
    text = base64.b64encode(content).decode()
    return {"bare": text, "data": f"data:image/png;base64,{text}"}[form]


@pytest.mark.parametrize("form", ["bare", "data"])
def test_an_image_is_decoded_once_however_many_inputs_take_it(
    tmp_path: Path, decoded: list[int], form: str
) -> None:
    value = encoded(png(8, 8), form)
    nodes = graph.build(PROMPT, SCHEMAS)
    changes = [
        patch.Change(graph.Target(node, "image"), value, "images") for node in nodes.nodes.values()
    ]
    server: Any = Server()
    engine: Any = type("Engine", (), {"files": server})()
    call = parse(b'{"workflow": "it"}')
    context = CallContext(call, settings.load(tmp_path, {}), engine, CallRecord(), 0.0, 1e12)
    placed, _ = inputs.place_files(changes, context)
    assert {change.value for change in placed} == set(server.files)
    assert len(server.files) == 1
    assert len(decoded) == 1


JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


@pytest.mark.parametrize(
    "workflow",
    [
        "data:application/json;base64," + base64.b64encode(json.dumps(PROMPT).encode()).decode(),
        encoded(png(8, 8), "data"),
        base64.b64encode(JPEG).decode(),
    ],
    ids=["JSON", "image", "bare JPEG"],
)
def test_a_workflow_is_decoded_once(tmp_path: Path, decoded: list[int], workflow: str) -> None:
    call = parse(json.dumps({"workflow": workflow}).encode())
    with contextlib.suppress(WorkflowError):  # images without a workflow
        load_workflow.find(call, settings.load(tmp_path, {}), 1e12)
    assert len(decoded) == 1
