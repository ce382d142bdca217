"""Faults of a ComfyUI server, and what the engine returns or raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfyui_pipeline.engine import http
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.protocol import Job, Progress
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.errors import (
    EngineError,
    JobFailed,
    JobLost,
    JobStalled,
    PromptRejected,
    ServerUnreachable,
)
from tests.engine.scripted import END, ERROR, EXECUTED, GOOD, PROMPT, SUCCESS, history
from tests.waiting import TIMEOUT, with_more_time


@pytest.fixture
def engine(new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComfyUI]:
    """An engine that polls only when the socket is closed or silent for TIMEOUT."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    timeouts = Timeouts(
        ask_after=TIMEOUT, poll_interval=0.05, down_timeout_running=0.3, down_timeout_queued=0.5
    )
    engine = new_engine(fake.url, timeout=TIMEOUT, timeouts=timeouts, log=lambda text: None)
    yield engine
    engine.close()


@pytest.fixture
def polling_engine(
    new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ComfyUI]:
    """An engine that polls after 0.2 s of silence."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    timeouts = Timeouts(
        ask_after=0.2, poll_interval=0.05, down_timeout_running=0.3, down_timeout_queued=0.5
    )
    engine = new_engine(fake.url, timeout=TIMEOUT, timeouts=timeouts, log=lambda text: None)
    yield engine
    engine.close()


def run(
    engine: ComfyUI,
    seconds: float = TIMEOUT,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Any:
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        return queued.wait(time.monotonic() + seconds, progress)


def test_a_prompt_response_after_the_last_message_is_handled(engine: ComfyUI, fake: Any) -> None:
    fake.script.frames, fake.script.history = [EXECUTED, SUCCESS, END], GOOD
    fake.script.post_delay = 0.1
    assert run(engine).outputs[0].filename == "a.png"


def test_a_late_history_entry_is_waited_for(engine: ComfyUI, fake: Any) -> None:
    fake.script.frames, fake.script.history = [SUCCESS, END], GOOD
    fake.script.history_empty_for = 3
    assert run(engine).outputs[0].filename == "a.png"


def test_malformed_foreign_and_binary_messages_are_ignored(engine: ComfyUI, fake: Any) -> None:
    foreign = {"type": "execution_error", "data": {**ERROR, "prompt_id": "other"}}
    end_of_other = {"type": "executing", "data": {"node": None, "prompt_id": "other"}}
    odd: list[Any] = ["not json", "[1]", "{}", {"type": "x", "data": 5}, b"\0\0\0\1\0\0\0\1jpeg"]
    fake.script.frames = [foreign, end_of_other, *odd, EXECUTED, SUCCESS, END]
    fake.script.history = GOOD
    result = run(engine)
    assert result.complete
    assert not result.node_errors


def test_a_failing_node_is_named_without_its_secrets(engine: ComfyUI, fake: Any) -> None:
    fake.script.frames = [{"type": "execution_error", "data": ERROR}, END]
    fake.script.history = history("execution_error", status="error")
    with pytest.raises(JobFailed) as caught:
        run(engine)
    text = str(caught.value)
    assert '1 "Canvas" (EmptyImage)' in text
    assert "no memory left (OutOfMemoryError)" in text
    assert "secret" not in text
    assert "s3cret" not in text


def test_a_failed_branch_is_reported_and_the_other_outputs_are_returned(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.frames = [{"type": "execution_error", "data": ERROR}, EXECUTED, SUCCESS, END]
    fake.script.history = GOOD
    result = run(engine)
    assert result.outputs
    assert "no memory left" in result.node_errors["1"]


def test_status_success_without_execution_success_is_a_failure(engine: ComfyUI, fake: Any) -> None:
    fake.script.frames = [END]
    fake.script.history = history("execution_error", status="success")
    with pytest.raises(JobFailed):
        run(engine)


def test_an_interruption_by_another_client_is_reported(engine: ComfyUI, fake: Any) -> None:
    fake.script.frames = [END]
    fake.script.history = history("execution_interrupted", status="error")
    with pytest.raises(JobFailed, match="cancelled before its end"):
        run(engine)


def test_a_job_removed_from_the_queue_is_lost(polling_engine: ComfyUI, fake: Any) -> None:
    with pytest.raises(JobLost, match="missing"):
        run(polling_engine)
    first_queue = fake.script.requested_paths.index("/queue")
    assert "/history/my-id" not in fake.script.requested_paths[:first_queue]


def test_a_refused_socket_falls_back_to_polling(engine: ComfyUI, fake: Any) -> None:
    fake.script.socket_refused, fake.script.history = True, GOOD
    assert run(engine).outputs


def test_a_socket_closed_while_the_job_runs_falls_back_to_polling(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.close_socket, fake.script.history = True, GOOD
    fake.script.frames = [{"type": "executing", "data": {"node": "1", "prompt_id": "ID"}}]
    assert run(engine).outputs


def test_a_silent_socket_falls_back_to_polling(polling_engine: ComfyUI, fake: Any) -> None:
    fake.script.history = GOOD
    assert run(polling_engine).outputs


def test_a_server_that_stops_while_the_job_runs_is_an_error(engine: ComfyUI, fake: Any) -> None:
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        fake.stop()
        with pytest.raises(JobLost, match="went down"):
            queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


def test_at_the_deadline_the_outputs_so_far_are_returned(engine: ComfyUI, fake: Any) -> None:
    fake.script.never_ends = True
    fake.script.frames = [EXECUTED]

    def check(seconds: float) -> None:
        result = run(engine, seconds)
        assert not result.complete
        assert [output.filename for output in result.outputs] == ["a.png"]

    with_more_time(check, 0.6, 6, 60)


class Enough(Exception):
    """Ends a wait as soon as the expected event has arrived."""


def test_the_queue_position_is_computed_from_the_numbers_not_the_heap_order(
    polling_engine: ComfyUI, fake: Any
) -> None:
    pending = [[9, "ID", {}, {}, []], [3, "other", {}, {}, []], [12, "late", {}, {}, []]]
    fake.script.queue = {"queue_running": [[1, "running", {}, {}, []]], "queue_pending": pending}

    def progress(reported: Progress) -> None:
        assert reported == Progress("queued", position=2)
        raise Enough

    with pytest.raises(Enough):
        run(polling_engine, progress=progress)


def test_node_errors_in_a_200_response_are_reported(engine: ComfyUI, fake: Any) -> None:
    reason = {
        "type": "value_bigger_than_max",
        "message": "Value 99 bigger than max of 8",
        "details": "width",
        "extra_info": {
            "input_name": "width",
            "input_config": ["INT", {"max": 8}],
            "received_value": 99,
        },
    }
    errors = {"1": {"errors": [reason], "dependent_outputs": ["9"], "class_type": "EmptyImage"}}
    fake.script.post = lambda _n, body: (
        200,
        {"prompt_id": body["prompt_id"], "number": 0, "node_errors": errors},
    )
    fake.script.frames, fake.script.history = [SUCCESS, END], GOOD
    reason = run(engine).node_errors["1"]
    assert "'width' is 99" in reason
    assert "node 9 returned nothing" in reason


def test_a_prompt_whose_response_was_lost_is_looked_up_before_a_retry(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.post = lambda count, body: None
    fake.script.frames, fake.script.history = [EXECUTED, SUCCESS, END], GOOD
    assert run(engine).outputs
    assert len(fake.script.posted) == 1


def test_a_prompt_answered_503_is_retried_with_the_same_id(engine: ComfyUI, fake: Any) -> None:
    def post(count: int, body: dict[str, Any]) -> tuple[int, Any] | None:
        return (503, b"busy") if count < 3 else (200, {"prompt_id": body["prompt_id"]})

    fake.script.post = post
    fake.script.frames = [SUCCESS, END]
    fake.script.history_empty_for, fake.script.history = 4, GOOD
    assert run(engine).outputs
    assert [body["prompt_id"] for body in fake.script.posted] == ["my-id"] * len(fake.script.posted)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {
                "error": {
                    "type": "invalid_prompt",
                    "message": "Cannot execute because node Foo does not exist.",
                    "details": "Node ID '#3'",
                },
                "node_errors": {},
            },
            "node Foo does not exist. Node ID '#3'",
        ),
        (
            {
                "error": {
                    "type": "prompt_outputs_failed_validation",
                    "message": "x",
                    "details": "",
                },
                "node_errors": {
                    "1": {
                        "class_type": "EmptyImage",
                        "dependent_outputs": ["9"],
                        "errors": [
                            {
                                "type": "value_not_in_list",
                                "message": "Value not in list",
                                "details": "w: 'a' not in []",
                                "extra_info": {
                                    "input_name": "w",
                                    "received_value": "a",
                                    "input_config": [[str(n) for n in range(15)], {}],
                                },
                            }
                        ],
                    }
                },
            },
            "it accepts 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 5 more",
        ),
    ],
)
def test_a_rejection_names_node_input_value_and_choices(
    engine: ComfyUI, fake: Any, body: Any, expected: str
) -> None:
    fake.script.post = lambda _n, _b: (400, body)
    with pytest.raises(PromptRejected) as caught:
        run(engine)
    assert expected in str(caught.value)
    assert len(fake.script.posted) == 1


def test_each_job_has_its_own_client_id_and_every_node_an_inputs_key(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.frames = fake.script.later_frames = [SUCCESS, END]
    fake.script.history = GOOD
    prompt = {"1": {"class_type": "EmptyImage"}}
    for _ in range(2):
        with engine.queue(Job(prompt, "my-id")) as queued:  # type: ignore[arg-type]
            queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)
    first, second = fake.script.posted
    assert first["client_id"] != second["client_id"]
    assert first["client_id"].startswith("tests-")
    assert first["prompt"]["1"]["inputs"] == {}
    assert fake.script.requested_paths[0] == "/ws"


def test_a_server_that_is_not_comfyui_is_recognized(engine: ComfyUI, fake: Any) -> None:
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.system()


def test_a_proxy_in_the_environment_is_not_used_for_loopback(
    new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    engine = new_engine(fake.url, log=lambda text: None)
    fake.script.frames, fake.script.history = [EXECUTED, SUCCESS, END], GOOD
    assert run(engine).outputs
    engine.close()
    assert "/ws" in fake.script.requested_paths


def test_the_password_of_a_url_is_not_in_errors(
    new_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    engine = new_engine("http://me:s3cret@127.0.0.1:9", log=lambda text: None)
    with pytest.raises(ServerUnreachable) as caught:
        engine.queue_state()
    engine.close()
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


@pytest.fixture
def queued_with(new_engine: Any, fake: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that queues a job at the fake server with the given timeouts."""
    engines: list[ComfyUI] = []

    def queued_with(**timeouts: float) -> Any:
        engines.append(
            new_engine(
                fake.url, timeout=TIMEOUT, timeouts=Timeouts(**timeouts), log=lambda text: None
            )
        )
        return engines[-1].queue(Job(PROMPT, "my-id"))

    yield queued_with
    for engine in engines:
        engine.close()


def test_a_server_that_runs_nothing_while_jobs_wait_is_stalled(queued_with: Any, fake: Any) -> None:
    fake.script.never_begins = True
    with (
        queued_with(ask_after=0.1, idle_timeout=0.4) as queued,
        pytest.raises(JobStalled, match="has run nothing"),
    ):
        queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


def test_a_server_that_hangs_while_a_job_runs_is_stalled(
    queued_with: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with queued_with(ask_after=0.1, stall_timeout=0.5) as queued:

        def lost(*_: Any, **__: Any) -> Any:
            raise http.LostReply("It takes connections but does not answer.")

        monkeypatch.setattr(http.Http, "once", lost)
        with pytest.raises(JobStalled, match="does not answer"):
            queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


def test_a_silent_socket_is_reconnected_and_the_new_one_read(queued_with: Any, fake: Any) -> None:
    fake.script.never_ends, fake.script.history = True, GOOD
    fake.script.later_frames = [EXECUTED, SUCCESS, END]
    with queued_with(ask_after=0.1, reconnect_after=0.3) as queued:
        result = queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)
    assert result.outputs[0].filename == "a.png"
    assert fake.script.sockets == 2


def test_a_long_job_without_a_socket_is_not_stalled(queued_with: Any, fake: Any) -> None:
    fake.script.never_ends, fake.script.socket_refused = True, True
    with queued_with(ask_after=0.1, poll_interval=0.05, stall_timeout=0.2) as queued:
        assert not queued.wait(time.monotonic() + 0.8, lambda progress: None).complete


@pytest.mark.parametrize("status", [502, 503, 504, 522])
def test_a_gateway_error_does_not_end_a_running_job(
    queued_with: Any, fake: Any, status: int
) -> None:
    with queued_with(
        ask_after=0.1, down_timeout_queued=0.2, down_timeout_running=0.2, stall_timeout=60
    ) as queued:
        fake.script.broken = {"/queue": (status, b"bad gateway"), "/history": (status, b"")}
        result = queued.wait(time.monotonic() + 1.5, lambda progress: None)
    assert not result.complete
    assert result.prompt_id == "my-id"
    assert not fake.script.cancelled


def test_a_gateway_error_is_raised_after_the_stall_timeout(queued_with: Any, fake: Any) -> None:
    with queued_with(
        ask_after=0.1, down_timeout_queued=60, down_timeout_running=60, stall_timeout=0.4
    ) as queued:
        fake.script.broken = {"/queue": (502, b"bad gateway")}
        with pytest.raises(JobStalled, match=r"502.*my-id"):
            queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


def test_another_error_is_raised_with_the_job_id_after_the_down_timeout(
    queued_with: Any, fake: Any
) -> None:
    with queued_with(ask_after=0.1, down_timeout_queued=0.4, stall_timeout=60) as queued:
        fake.script.broken = {"/queue": (500, b"oops")}
        with pytest.raises(EngineError, match=r"500.*my-id"):
            queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


def test_outputs_are_reported_as_they_arrive(queued_with: Any, fake: Any) -> None:
    fake.script.never_ends = True
    fake.script.frames = [EXECUTED]

    def arrived(output: Any) -> None:
        assert output.filename == "a.png"
        raise Enough

    with queued_with(ask_after=TIMEOUT) as queued, pytest.raises(Enough):
        queued.wait(time.monotonic() + TIMEOUT, lambda progress: None, arrived)


def test_a_prompt_whose_response_never_comes_is_cancelled(
    queued_with: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    fake.script.post = lambda count, body: None
    with pytest.raises(ServerUnreachable):
        queued_with()
    assert "my-id" in fake.script.cancelled
