"""The engine against the embedded server, over real sockets."""

from __future__ import annotations

import time
from typing import Any

import pytest

from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.protocol import Job, Output
from comfyui_pipeline.engine.responses import Queue
from comfyui_pipeline.errors import OutputMissing, PromptRejected
from tests.waiting import TIMEOUT


@pytest.fixture
def engine(new_engine: Any, comfyui: Any) -> Any:
    engine = new_engine(comfyui.url, log=lambda text: None)
    yield engine
    engine.close()


def run_job(engine: ComfyUI, prompt: dict[str, Any], ident: str) -> Any:
    with engine.queue(Job(prompt, ident)) as queued:
        return queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


def solid(color: int) -> dict[str, Any]:
    size = {"width": 8, "height": 8, "batch_size": 2}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "e/图"}},
    }


def test_a_job_returns_every_image_and_each_can_be_fetched(engine: ComfyUI) -> None:
    result = run_job(engine, solid(7), "e-1")
    assert [o.subfolder for o in result.outputs] == ["e", "e"]
    for output in result.outputs:
        with engine.files.fetch(output) as incoming:
            content = b"".join(incoming.chunks)
        assert content.startswith(b"\x89PNG")
        assert incoming.length == len(content)


def test_a_repeated_job_reports_its_cached_nodes(engine: ComfyUI) -> None:
    run_job(engine, solid(8), "e-2")
    again = run_job(engine, solid(8), "e-3")
    assert again.cached == {"1", "2"}


def test_a_missing_file_is_a_separate_error(engine: ComfyUI) -> None:
    with pytest.raises(OutputMissing), engine.files.fetch(Output("1", "images", "nowhere.png")):
        pass


def test_an_upload_preserves_a_chinese_name_and_can_be_read_back(engine: ComfyUI) -> None:
    value = engine.files.upload(b"bytes", "图 片.png", "in/ner")
    assert value == "in/ner/图 片.png"
    assert engine.files.input_size(value) == 5
    assert engine.files.read_input(value) == b"bytes"
    assert engine.files.input_size("in/ner/absent.png") is None
    assert engine.files.read_input("in/ner/absent.png") is None


def test_schemas_returns_only_installed_node_types(engine: ComfyUI) -> None:
    found = engine.schemas({"SaveImage", "No/Such Node", "KSampler"})
    assert list(found) == ["SaveImage"]
    assert found["SaveImage"]["output_node"]


def test_a_prompt_with_an_unknown_node_type_is_rejected_with_its_name(engine: ComfyUI) -> None:
    with pytest.raises(PromptRejected, match="KSampler"):
        engine.queue(Job({"1": {"class_type": "KSampler", "inputs": {}}}, "e-4"))


def test_cancelling_an_unknown_job_has_no_effect(engine: ComfyUI) -> None:
    engine.cancel("never-was")
    assert engine.queue_state() == Queue((), ())
