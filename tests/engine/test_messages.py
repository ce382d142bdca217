"""Reading WebSocket messages of a job."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from comfyui_pipeline.engine import messages
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.messages import Listener
from comfyui_pipeline.engine.protocol import Job, Progress
from tests.conftest import png
from tests.engine.scripted import END, EXECUTED, GOOD, NODE, PROMPT, SUCCESS, history, run_job


def test_progress_names_the_node_and_drops_numbers_that_are_not_finite() -> None:
    reported: list[Progress] = []
    listener = Listener(Job(PROMPT, "my-id"), reported.append, lambda output: None)
    data = {"node": "9", "value": float("nan"), "max": float("inf"), "prompt_id": "my-id"}
    assert listener.read(json.dumps({"type": "progress", "data": data}))
    assert reported == [Progress("running", "9", 0.0, None)]


@pytest.mark.parametrize(("owner", "taken"), [("ID", 1), ("another", 0), (None, 0)])
def test_images_of_other_jobs_are_ignored(
    engine: ComfyUI, fake: Any, owner: str | None, taken: int
) -> None:
    def image(ident: str) -> bytes:
        named = ident if owner == "ID" else owner
        metadata = json.dumps({"prompt_id": named, "node_id": "9"}).encode()
        return (4).to_bytes(4, "big") + len(metadata).to_bytes(4, "big") + metadata + png(8, 8)

    fake.script.history = {
        "ID": {"status": {"messages": [["execution_success", {}]]}, "outputs": {}}
    }
    fake.script.frames = [NODE, image, SUCCESS, END]
    assert len(run_job(engine).outputs) == taken


def test_outputs_that_only_the_messages_named_are_included(engine: ComfyUI, fake: Any) -> None:
    saved = {"images": [{"filename": "a.png"}]}
    fake.script.history = {
        "ID": {"status": {"messages": [["execution_success", {}]]}, "outputs": {}}
    }
    executed = {"type": "executed", "data": {"node": "9", "output": saved, "prompt_id": "ID"}}
    fake.script.frames = [NODE, executed, SUCCESS, END]
    assert [output.filename for output in run_job(engine).outputs] == ["a.png"]


def test_images_beyond_the_size_limit_are_left_out_and_reported(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = png(8, 8)
    monkeypatch.setattr(messages, "MAX_IMAGES_BYTES", 2 * len(one))
    image = b"\0\0\0\1\0\0\0\2" + one
    fake.script.history = history("execution_success", outputs={})
    node = {"type": "executing", "data": {"node": "9", "prompt_id": "ID"}}
    fake.script.frames = [node, image, image, SUCCESS, END]
    assert not run_job(engine).node_errors
    fake.script.frames = [node, image, image, image, SUCCESS, END]
    fake.script.sockets = 0
    result = run_job(engine)
    assert len(result.outputs) == 2
    assert "left out" in result.node_errors["9"]


def picture(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
@pytest.mark.parametrize(
    ("ui", "count"),
    [
        ({}, 1),
        ({"images": [{"source": "websocket", "content-type": "image/png", "type": "output"}]}, 1),
        ({"text": ["words"]}, 2),
        ({"images": [{"filename": "a.png"}]}, 1),  # what it sent were previews
    ],
)
def test_images_over_the_socket_are_results_unless_the_node_saves_files(
    engine: ComfyUI, fake: Any, form: str, extension: str, ui: Any, count: int
) -> None:
    fake.script.history = history("execution_success", outputs={"9": ui})
    fake.script.frames = [NODE, b"\0\0\0\1\0\0\0\2" + picture(form), SUCCESS, END]
    outputs = run_job(engine).outputs
    assert len(outputs) == count
    sent = [output.filename for output in outputs if output.content]
    assert sent == ([] if "a.png" in str(ui) else [f"websocket_9_00001_.{extension}"])


def test_a_jpeg_with_metadata_is_a_preview(engine: ComfyUI, fake: Any) -> None:
    def frame(ident: str) -> bytes:
        metadata = json.dumps({"prompt_id": ident, "node_id": "9"}).encode()
        head = (4).to_bytes(4, "big") + len(metadata).to_bytes(4, "big")
        return head + metadata + picture("JPEG")

    fake.script.history = history("execution_success", outputs={})
    fake.script.frames = [NODE, frame, SUCCESS, END]
    assert run_job(engine).outputs == ()


DEEP = json.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize(
    "message",
    [
        "[" * 100_000,
        {"type": "execution_cached", "data": {"nodes": 5, "prompt_id": "ID"}},
        {"type": "progress", "data": {"value": float("nan"), "max": 10**400, "prompt_id": "ID"}},
        {"type": "progress", "data": {"node": {}, "value": "x", "max": [], "prompt_id": "ID"}},
        {"type": "executed", "data": {"node": "9", "output": {"images": DEEP}, "prompt_id": "ID"}},
        {"type": ["x"], "data": {"prompt_id": "ID"}},
        {"type": "executed", "data": {"node": None, "output": [[1]], "prompt_id": "ID"}},
        b"\0\0\0\4\xff\xff\xff\xff" + b"[" * 100_000,
    ],
    ids=lambda message: str(message)[:50],
)
def test_messages_of_unexpected_content_are_ignored(
    engine: ComfyUI, fake: Any, message: Any
) -> None:
    fake.script.frames, fake.script.history = [message, EXECUTED, SUCCESS, END], GOOD
    assert run_job(engine).complete
