"""Queueing, cancelling and looking up a job."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.http import LostReply
from comfyui_pipeline.engine.protocol import Job
from tests.engine.scripted import PROMPT


def test_a_prompt_without_response_is_not_resent_while_the_queue_cannot_be_read(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.post = lambda count, body: None
    fake.script.broken = {"/queue": (500, b"")}
    with pytest.raises(LostReply, match=r"unknown whether .*prompt id my-id"):
        engine.queue(Job(PROMPT, "my-id"))
    assert len(fake.script.posted) == 1
    assert "my-id" in fake.script.cancelled


def test_cancel_falls_back_to_queue_and_interrupt_unless_the_job_api_confirms(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.broken = {"/api/jobs": (200, {"cancelled": True})}
    engine.cancel("x")
    assert fake.script.requested_paths == ["/api/jobs/x/cancel"]
    for status, body in [(200, {"cancelled": False}), (200, b"<html>"), (404, b""), (502, b"")]:
        fake.script.requested_paths.clear()
        fake.script.broken = {"/api/jobs": (status, body)}
        engine.cancel("x")
        assert fake.script.requested_paths == ["/api/jobs/x/cancel", "/queue", "/interrupt"]


def test_the_stage_of_a_job_is_unknown_ended_or_queued(engine: ComfyUI, fake: Any) -> None:
    assert engine.state("my-id").stage == "unknown"
    fake.script.history = {"my-id": {"status": {}, "outputs": {}}}
    assert engine.state("my-id").stage == "ended"
    fake.script.queue = {"queue_running": [], "queue_pending": [[1, "my-id", {}, {}, []]]}
    assert engine.state("my-id").stage == "queued"
