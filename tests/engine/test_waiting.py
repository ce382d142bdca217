"""Waiting for a job, with a clock controlled by the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from comfyui_pipeline.engine import waiting
from comfyui_pipeline.engine.http import Gateway, LostReply, Refused
from comfyui_pipeline.engine.protocol import Job
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.engine.waiting import QueuedJob
from comfyui_pipeline.errors import EngineError, JobLost, JobStalled
from tests.engine.clock import Clock
from tests.engine.scripted import PROMPT

RUNNING = {"queue_running": [[1, "my-id"]], "queue_pending": []}
PENDING = {"queue_running": [], "queue_pending": [[1, "my-id"]]}
BEHIND = {"queue_running": [[1, "other"]], "queue_pending": [[2, "my-id"]]}
EMPTY = {"queue_running": [], "queue_pending": []}
GOOD = {"my-id": {"status": {"messages": [["execution_success", {}]]}, "outputs": {}}}
STARTED_MESSAGE = json.dumps({"type": "executing", "data": {"node": "9", "prompt_id": "my-id"}})
ENDED_MESSAGE = json.dumps({"type": "executing", "data": {"node": None, "prompt_id": "my-id"}})
SUCCESS_MESSAGE = json.dumps({"type": "execution_success", "data": {"prompt_id": "my-id"}})
SAVED = {"images": [{"filename": "a.png"}]}
EXECUTED_MESSAGE = json.dumps(
    {"type": "executed", "data": {"node": "9", "output": SAVED, "prompt_id": "my-id"}}
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


class Server:
    """Answers ``/queue`` and ``/history`` with ``respond(seconds since the start, path)``.

    An exception returned by ``respond`` is raised.
    """

    shown = "http://server"

    def __init__(self, clock: Clock, respond: Callable[[float, str], Any]) -> None:
        self.clock, self.respond, self.checks = clock, respond, list[float]()

    def once(self, _method: str, path: str, **_kind: Any) -> str:
        self.checks.append(self.clock.now - 1000)
        return path

    def value(self, reply: str, _path: str, parse: Callable[[Any], Any]) -> Any:
        response = self.respond(self.clock.now - 1000, reply.split("/")[1])
        if isinstance(response, Exception):
            raise response
        return parse(response)


class Socket:
    """Returns its frames immediately, then nothing; ``renew`` records its times."""

    too_large = ""

    def __init__(self, clock: Clock, *frames: str) -> None:
        self.clock, self.frames, self.renewed = clock, list(frames), list[float]()
        self.is_open, self.opened_at = True, clock.now

    def next(self, until: float) -> str | None:
        if self.frames:
            return self.frames.pop(0)
        self.clock.sleep(until - self.clock.now)
        return None

    def renew(self) -> None:
        self.renewed.append(self.clock.now - 1000)
        self.opened_at = self.clock.now

    def close(self) -> None:
        return


def wait(
    clock: Clock, respond: Any, *frames: str, seconds: float = 4000, socket: Any = None
) -> tuple[Any, Server]:
    """Wait for a job; return the result or error, and the server. Without frames there is no socket."""
    server = Server(clock, respond)
    socket = socket or (Socket(clock, *frames) if frames else None)
    run = QueuedJob(server, Job(PROMPT, "my-id"), socket, {}, Timeouts(stall_timeout=300))  # type: ignore[arg-type]
    try:
        return run.wait(clock.now + seconds, lambda progress: None), server
    except EngineError as error:
        return error, server


def test_a_job_missing_from_queue_and_history_is_lost_at_the_second_check(
    clock: Clock,
) -> None:
    error, server = wait(clock, lambda at, path: EMPTY if path == "queue" else {})
    assert isinstance(error, JobLost)
    assert not error.not_started
    assert server.checks == [0.5, 0.5, 1.0, 1.0]


def test_a_job_missing_at_single_checks_is_not_lost(clock: Clock) -> None:
    def respond(at: float, path: str) -> Any:
        if path == "history":
            return {} if at < 5 else GOOD
        return EMPTY if at >= 5 or int(at * 2) % 2 else RUNNING

    result, _ = wait(clock, respond)
    assert result.complete


def test_the_history_is_requested_only_when_the_job_is_not_in_the_queue(clock: Clock) -> None:
    asked: list[str] = []

    def respond(at: float, path: str) -> Any:
        asked.append(path)
        return RUNNING

    result, _ = wait(clock, respond, seconds=3)
    assert set(asked) == {"queue"}
    assert not result.complete
    assert result.started


@pytest.mark.parametrize(("frames", "after"), [((STARTED_MESSAGE,), 8.0), ((), 60.0)])
def test_refused_connections_are_tolerated_8_s_for_a_running_job_and_60_s_for_a_queued_one(
    clock: Clock, frames: tuple[str, ...], after: float
) -> None:
    socket = Socket(clock, *frames)

    def closing(until: float) -> str | None:
        socket.is_open = bool(socket.frames)
        return Socket.next(socket, until)

    socket.next = closing  # type: ignore[method-assign]
    error, server = wait(clock, lambda at, path: Refused("no"), socket=socket)
    assert isinstance(error, JobLost)
    assert "went down" in str(error)
    assert server.checks[-1] - server.checks[0] == pytest.approx(after, abs=0.01)
    assert not error.not_started


@pytest.mark.parametrize("started", [False, True])
def test_a_job_lost_by_a_restart_counts_as_not_started_only_if_it_was_pending(
    clock: Clock, started: bool
) -> None:
    def respond(at: float, path: str) -> Any:
        if at < 2:
            return RUNNING if started else PENDING
        return Refused("no") if at < 4 else (EMPTY if path == "queue" else {})

    error, _ = wait(clock, respond)
    assert isinstance(error, JobLost)
    assert "restarted" in str(error)
    assert error.not_started is not started


def test_a_successful_response_resets_the_down_timeout(clock: Clock) -> None:
    """7 s of refused connections alternate with 1 s of responses: never 8 s in a row."""

    def respond(at: float, path: str) -> Any:
        return RUNNING if at % 8 < 1 else Refused("no")

    result, _ = wait(clock, respond, seconds=100)
    assert not result.complete


@pytest.mark.parametrize("error", [LostReply("slow"), Gateway("502")])
def test_unanswered_requests_count_as_stalled_after_300_s(clock: Clock, error: EngineError) -> None:
    stalled, server = wait(clock, lambda at, path: error, STARTED_MESSAGE)
    assert isinstance(stalled, JobStalled)
    assert "my-id" in str(stalled)
    assert server.checks[-1] == pytest.approx(300.0, abs=0.01)


def test_any_other_error_is_raised_with_the_job_id_after_8_s(clock: Clock) -> None:
    def respond(at: float, path: str) -> Any:
        return RUNNING if at < 1 else EngineError("odd", "hint")

    error, server = wait(clock, respond)
    assert type(error) is EngineError
    assert "my-id" in str(error)
    assert server.checks[-1] == 9.0


def test_a_server_that_runs_nothing_for_15_s_while_jobs_wait_is_stalled(clock: Clock) -> None:
    error, server = wait(clock, lambda at, path: PENDING)
    assert isinstance(error, JobStalled)
    assert "15 s although jobs are queued" in str(error)
    assert server.checks[-1] == 15.0


def test_a_job_behind_a_running_one_waits_until_the_deadline(clock: Clock) -> None:
    result, _ = wait(clock, lambda at, path: BEHIND)
    assert not result.complete
    assert not result.started


def test_the_idle_timeout_starts_after_the_server_is_reachable_again(clock: Clock) -> None:
    def respond(at: float, path: str) -> Any:
        return BEHIND if at < 1 else Gateway("502") if at < 40 else PENDING

    _, server = wait(clock, respond, seconds=50)
    assert server.checks[-1] > 49


def test_a_silent_socket_is_reconnected_every_30_s(clock: Clock) -> None:
    socket = Socket(clock, STARTED_MESSAGE)
    _, server = wait(clock, lambda at, path: RUNNING, socket=socket, seconds=300)
    assert socket.renewed == [30.0 * number for number in range(1, 10)]
    assert server.checks[:2] == [5.0, 10.0]


@pytest.mark.parametrize(("seconds", "silent"), [(299, 0.0), (301, 301.0), (480, 480.0)])
def test_a_silent_job_that_the_queue_lists_as_running_is_awaited_and_its_silence_mentioned(
    clock: Clock, seconds: float, silent: float
) -> None:
    result, _ = wait(clock, lambda at, path: RUNNING, STARTED_MESSAGE, seconds=seconds)
    assert (result.complete, result.started, result.silent) == (False, True, silent)


def test_a_job_that_ends_after_a_long_silence_succeeds_without_mention(clock: Clock) -> None:
    def respond(at: float, path: str) -> Any:
        if path == "history":
            return GOOD
        return RUNNING if at < 480 else EMPTY

    result, _ = wait(clock, respond, STARTED_MESSAGE)
    assert (result.complete, result.silent) == (True, 0.0)


def test_without_a_socket_a_long_job_is_not_stalled(clock: Clock) -> None:
    result, server = wait(clock, lambda at, path: RUNNING)
    assert not result.complete
    assert server.checks[1] - server.checks[0] == 0.5


@pytest.mark.parametrize(("after", "checks"), [(0, 1), (3, 4), (6, 7)])
def test_a_late_history_entry_is_requested_up_to_seven_times(
    clock: Clock, after: int, checks: int
) -> None:
    seen: list[str] = []

    def respond(at: float, path: str) -> Any:
        seen.append(path)
        return GOOD if len(seen) > after else {}

    result, server = wait(clock, respond, ENDED_MESSAGE)
    assert result.complete
    assert len(server.checks) == checks


def test_an_ended_job_without_history_entry_needs_an_execution_success_message(
    clock: Clock,
) -> None:
    result, server = wait(
        clock, lambda at, path: {}, EXECUTED_MESSAGE, SUCCESS_MESSAGE, ENDED_MESSAGE
    )
    assert result.complete
    assert [output.filename for output in result.outputs] == ["a.png"]
    assert server.checks == pytest.approx([0, 0.05, 0.15, 0.35, 0.75, 1.55, 3.05])
    error, _ = wait(clock, lambda at, path: {}, EXECUTED_MESSAGE, ENDED_MESSAGE)
    assert isinstance(error, JobLost)


def test_an_ended_job_whose_history_cannot_be_read_is_incomplete(clock: Clock) -> None:
    result, _ = wait(clock, lambda at, path: LostReply("slow"), EXECUTED_MESSAGE, ENDED_MESSAGE)
    assert not result.complete
    assert result.prompt_id == "my-id"
    result, server = wait(clock, lambda at, path: {}, EXECUTED_MESSAGE, ENDED_MESSAGE, seconds=0.2)
    assert not result.complete
    assert len(server.checks) == 3
