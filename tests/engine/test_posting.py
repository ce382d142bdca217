"""Queueing a prompt: whose id it gets, and what happens when the reply is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.http import LostReply
from comfyui_pipeline.engine.protocol import Job
from comfyui_pipeline.errors import EngineError
from tests.engine.scripted import END, EXECUTED, GOOD, PROMPT, SUCCESS, run_job

Post = Callable[[int, dict[str, Any]], Any]


def with_id_of_the_server(_count: int, body: dict[str, Any]) -> tuple[int, Any]:
    body["prompt_id"] = "server-1"  # what the fake server knows the job by from now on
    return 200, {"prompt_id": "server-1", "number": 0, "node_errors": {}}


def test_the_id_that_an_older_server_chooses_is_the_one_of_the_job(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.post = with_id_of_the_server
    fake.script.frames, fake.script.history = [EXECUTED, SUCCESS, END], GOOD
    result = run_job(engine)
    assert result.prompt_id == "server-1"
    assert result.outputs[0].filename == "a.png"
    assert "/history/server-1" in fake.script.requested_paths


def dropped_but_queued(fake: Any, *, running: bool) -> Post:
    """The server queues the prompt under its own id, but the reply is lost."""

    def post(_count: int, body: dict[str, Any]) -> None:
        body["prompt_id"] = "server-1"
        item = [1, "server-1", PROMPT, {"client_id": body["client_id"]}, []]
        if running:
            fake.script.queue = {"queue_running": [item], "queue_pending": []}
        else:
            fake.script.history = {"server-1": {**GOOD["ID"], "prompt": item}}

    return post


@pytest.mark.parametrize("running", [True, False])
def test_a_job_under_another_id_is_recognised_by_its_client_after_a_lost_reply(
    engine: ComfyUI, fake: Any, running: bool
) -> None:
    fake.script.post = dropped_but_queued(fake, running=running)
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        assert queued.prompt_id == "server-1"
    assert len(fake.script.posted) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 522])
def test_a_prompt_is_looked_up_before_it_is_sent_again(
    engine: ComfyUI, fake: Any, status: int
) -> None:
    fake.script.post = lambda count, body: (
        (status, b"<html>") if count == 1 else (200, {"prompt_id": "my-id"})
    )
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        assert queued.prompt_id == "my-id"
    asked = fake.script.requested_paths
    assert asked.index("/queue") < len(asked) - asked[::-1].index("/prompt") - 1
    assert len(fake.script.posted) == 2


@pytest.mark.parametrize("status", [429, 500])
def test_a_server_that_does_not_have_the_job_is_believed(
    engine: ComfyUI, fake: Any, status: int
) -> None:
    fake.script.post = lambda count, body: (status, b"<html>")
    with pytest.raises(EngineError, match=str(status)) as raised:
        engine.queue(Job(PROMPT, "my-id"))
    assert "unknown whether" not in str(raised.value)
    assert "not ComfyUI" not in str(raised.value)
    assert len(fake.script.posted) == 3


def test_a_prompt_without_response_is_not_resent_while_the_queue_cannot_be_read(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.post = lambda count, body: None
    fake.script.broken = {"/queue": (500, b"")}
    with pytest.raises(LostReply, match=r"unknown whether .*prompt id my-id"):
        engine.queue(Job(PROMPT, "my-id"))
    assert len(fake.script.posted) == 1


def test_a_server_that_limits_requests_is_named_as_such(engine: ComfyUI, fake: Any) -> None:
    fake.script.broken = {"/queue": (429, b"")}
    with pytest.raises(EngineError, match="accepts no more requests for now"):
        engine.queue_state()
    fake.script.broken = {}
    assert engine.queue_state().running == ()
