"""Each threshold and each branch of waiting, asking again and remembering, by a clock of the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import stdio
from comfyui_pipeline.engine import (
    comfyui,
    error_text,
    http,
    job_end,
    responses,
    schema_cache,
    server_url,
    subscription,
    waiting,
)
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.http import Gateway, LostReply, Refused
from comfyui_pipeline.engine.protocol import Job, Output, Progress
from comfyui_pipeline.engine.responses import ExecutionError, HistoryEntry
from comfyui_pipeline.engine.schema_cache import SchemaCache
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.engine.waiting import QueuedJob
from comfyui_pipeline.engine.websocket import HandshakeRefused, WebSocketError
from comfyui_pipeline.errors import EngineError, JobFailed, JobLost, JobStalled
from comfyui_pipeline.process import time_limit

PROMPT = {"9": {"class_type": "SaveImage", "inputs": {}}}
RUNNING = {"queue_running": [[1, "my-id"]], "queue_pending": []}
PENDING = {"queue_running": [], "queue_pending": [[1, "my-id"]]}
BEHIND = {"queue_running": [[1, "other"]], "queue_pending": [[2, "my-id"]]}
EMPTY = {"queue_running": [], "queue_pending": []}
GOOD = {"my-id": {"status": {"messages": [["execution_success", {}]]}, "outputs": {}}}
BEGUN = json.dumps({"type": "executing", "data": {"node": "9", "prompt_id": "my-id"}})
ENDED = json.dumps({"type": "executing", "data": {"node": None, "prompt_id": "my-id"}})
SUCCESS = json.dumps({"type": "execution_success", "data": {"prompt_id": "my-id"}})
SAVED = {"images": [{"filename": "a.png"}]}
EXECUTED = json.dumps(
    {"type": "executed", "data": {"node": "9", "output": SAVED, "prompt_id": "my-id"}}
)


class Clock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


class Server:
    """Answers ``/queue`` and ``/history`` with what ``says`` gives for the seconds since the start;
    an exception is raised.
    """

    shown = "http://there"

    def __init__(self, clock: Clock, says: Callable[[float, str], Any]) -> None:
        self.clock, self.says, self.looks = clock, says, list[float]()

    def once(self, _method: str, path: str, **_kind: Any) -> str:
        self.looks.append(self.clock.now - 1000)
        return path

    def value(self, reply: str, _path: str, parse: Callable[[Any], Any]) -> Any:
        response = self.says(self.clock.now - 1000, reply.split("/")[1])
        if isinstance(response, Exception):
            raise response
        return parse(response)


class Socket:
    """Gives its frames at once and is silent then; ``renew`` only counts."""

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


def waited(
    clock: Clock, says: Any, *frames: str, seconds: float = 4000, socket: Any = None
) -> tuple[Any, Server]:
    """The result or the error, and the server that was asked. Without frames: without a socket."""
    server = Server(clock, says)
    socket = socket or (Socket(clock, *frames) if frames else None)
    run = QueuedJob(server, Job(PROMPT, "my-id"), socket, {}, Timeouts())  # type: ignore[arg-type]
    try:
        return run.wait(clock.now + seconds, lambda progress: None), server
    except EngineError as error:
        return error, server


def test_the_limits_are_those_that_were_chosen() -> None:
    assert Timeouts() == Timeouts(
        ask_after=5.0,
        poll_interval=0.5,
        reconnect_after=30.0,
        stall_timeout=300.0,
        idle_timeout=15.0,
        down_timeout_running=8.0,
        down_timeout_queued=60.0,
    )
    assert waiting.HISTORY_PAUSES == (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
    assert (http.TRIES, http.FIRST_WAIT, http.MAX_PARALLEL) == (3, 0.25, 8)
    assert {502, 503, 504} == http.BUSY
    assert {502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530} == http.GATEWAY
    assert time_limit.FETCH_GRACE_SECONDS == 12.0 < stdio.GRACE
    assert (stdio.GRACE, time_limit.HOST_MARGIN, stdio.READING_MARGIN) == (15, 2, 2)
    assert (waiting.QUEUE_SECONDS, comfyui.SOCKET_SECONDS, comfyui.CANCEL_SECONDS) == (5, 5, 5)
    assert {500, 502, 503, 504} == subscription.TEMPORARY
    assert (subscription.FIRST_PAUSE, subscription.LONGEST_PAUSE) == (0.5, 8.0)
    assert (schema_cache.MAX_AGE_SECONDS, schema_cache.MAX_BYTES) == (120.0, 32 * 2**20)
    assert (error_text.LISTED, error_text.SHOWN) == (10, 300)


def test_a_run_that_is_nowhere_is_lost_at_the_second_look_and_not_at_the_first(
    clock: Clock,
) -> None:
    error, server = waited(clock, lambda at, path: EMPTY if path == "queue" else {})
    assert isinstance(error, JobLost)
    assert not error.not_started
    assert server.looks == [0.5, 0.5, 1.0, 1.0]


def test_a_run_that_is_nowhere_for_one_look_at_a_time_is_not_lost(clock: Clock) -> None:
    def says(at: float, path: str) -> Any:
        if path == "history":
            return {} if at < 5 else GOOD
        return EMPTY if at >= 5 or int(at * 2) % 2 else RUNNING

    result, _ = waited(clock, says)
    assert result.complete


def test_the_history_is_asked_only_when_the_queue_lacks_the_run(clock: Clock) -> None:
    asked: list[str] = []

    def says(at: float, path: str) -> Any:
        asked.append(path)
        return RUNNING

    result, _ = waited(clock, says, seconds=3)
    assert set(asked) == {"queue"}
    assert not result.complete
    assert result.started


@pytest.mark.parametrize(("frames", "after"), [((BEGUN,), 8.0), ((), 60.0)])
def test_a_server_that_refuses_is_given_a_restart_or_8_s_in_a_running_job(
    clock: Clock, frames: tuple[str, ...], after: float
) -> None:
    socket = Socket(clock, *frames)

    def closing(until: float) -> str | None:
        socket.is_open = bool(socket.frames)
        return Socket.next(socket, until)

    socket.next = closing  # type: ignore[method-assign]
    error, server = waited(clock, lambda at, path: Refused("no"), socket=socket)
    assert isinstance(error, JobLost)
    assert "went down" in str(error)
    assert server.looks[-1] - server.looks[0] == pytest.approx(after, abs=0.01)
    assert not error.not_started


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_a_restart_lost_may_be_queued_again_unless_it_had_begun(
    clock: Clock, begun: bool
) -> None:
    def says(at: float, path: str) -> Any:
        if at < 2:
            return RUNNING if begun else PENDING
        return Refused("no") if at < 4 else (EMPTY if path == "queue" else {})

    error, _ = waited(clock, says)
    assert isinstance(error, JobLost)
    assert "restarted" in str(error)
    assert error.not_started is not begun


def test_trouble_that_ends_is_forgotten(clock: Clock) -> None:
    """7 s of it, then an answer, then 7 s again: never 8 s in a row."""

    def says(at: float, path: str) -> Any:
        return RUNNING if at % 8 < 1 else Refused("no")

    result, _ = waited(clock, says, seconds=100)
    assert not result.complete


@pytest.mark.parametrize("error", [LostReply("slow"), Gateway("502")])
def test_no_answers_end_a_run_only_after_five_minutes_of_silence(
    clock: Clock, error: EngineError
) -> None:
    stalled, server = waited(clock, lambda at, path: error, BEGUN)
    assert isinstance(stalled, JobStalled)
    assert "my-id" in str(stalled)
    assert server.looks[-1] == pytest.approx(300.0, abs=0.01)


def test_another_fault_of_a_run_is_raised_after_8_s_with_its_id(clock: Clock) -> None:
    def says(at: float, path: str) -> Any:
        return RUNNING if at < 1 else EngineError("odd", "hint")

    error, server = waited(clock, says)
    assert type(error) is EngineError
    assert "my-id" in str(error)
    assert server.looks[-1] == 9.0


def test_a_server_that_runs_nothing_for_15_s_while_runs_wait_is_dead(clock: Clock) -> None:
    error, server = waited(clock, lambda at, path: PENDING)
    assert isinstance(error, JobStalled)
    assert "15 s although jobs wait" in str(error)
    assert server.looks[-1] == 15.0


def test_a_run_behind_another_waits_as_long_as_it_takes(clock: Clock) -> None:
    result, _ = waited(clock, lambda at, path: BEHIND)
    assert not result.complete
    assert not result.started


def test_a_server_that_was_away_is_not_dead_at_its_first_answer(clock: Clock) -> None:
    def says(at: float, path: str) -> Any:
        return BEHIND if at < 1 else Gateway("502") if at < 40 else PENDING

    _, server = waited(clock, says, seconds=50)
    assert server.looks[-1] > 49


def test_an_open_socket_is_renewed_after_30_s_and_the_run_is_stuck_after_300(
    clock: Clock,
) -> None:
    socket = Socket(clock, BEGUN)
    error, server = waited(clock, lambda at, path: RUNNING, socket=socket)
    assert socket.renewed == [30.0 * number for number in range(1, 10)]
    assert isinstance(error, JobStalled)
    assert server.looks[-1] == 300.0
    assert server.looks[:2] == [5.0, 10.0]


def test_without_a_socket_a_long_run_is_no_silence(clock: Clock) -> None:
    result, server = waited(clock, lambda at, path: RUNNING)
    assert not result.complete
    assert server.looks[1] - server.looks[0] == 0.5


@pytest.mark.parametrize(("after", "looks"), [(0, 1), (3, 4), (6, 7)])
def test_a_history_that_lags_is_looked_at_seven_times(clock: Clock, after: int, looks: int) -> None:
    seen: list[str] = []

    def says(at: float, path: str) -> Any:
        seen.append(path)
        return GOOD if len(seen) > after else {}

    result, server = waited(clock, says, ENDED)
    assert result.complete
    assert len(server.looks) == looks


def test_an_end_without_a_record_is_a_success_only_if_it_was_said(clock: Clock) -> None:
    result, server = waited(clock, lambda at, path: {}, EXECUTED, SUCCESS, ENDED)
    assert result.complete
    assert [output.filename for output in result.outputs] == ["a.png"]
    assert server.looks == pytest.approx([0, 0.05, 0.15, 0.35, 0.75, 1.55, 3.05])
    error, _ = waited(clock, lambda at, path: {}, EXECUTED, ENDED)
    assert isinstance(error, JobLost)


def test_an_end_whose_record_cannot_be_read_can_be_asked_for_later(clock: Clock) -> None:
    result, _ = waited(clock, lambda at, path: LostReply("slow"), EXECUTED, ENDED)
    assert not result.complete
    assert result.prompt_id == "my-id"
    result, server = waited(clock, lambda at, path: {}, EXECUTED, ENDED, seconds=0.2)
    assert not result.complete
    assert len(server.looks) == 3


# -- what the history says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (HistoryEntry(events=frozenset({"execution_success"})), None),
        (HistoryEntry(status="success"), None),
        (HistoryEntry(status="error"), "as error without"),
        (HistoryEntry(), "as unknown without"),
        (
            HistoryEntry(status="success", events=frozenset({"execution_start"})),
            "as success without",
        ),
        (
            HistoryEntry(events=frozenset({"execution_interrupted", "execution_error"})),
            "interrupted",
        ),
        (
            HistoryEntry(
                events=frozenset({"execution_error"}), error=ExecutionError(message="bad")
            ),
            "failed: bad",
        ),
    ],
)
def test_a_run_went_well_only_if_the_history_says_so(entry: HistoryEntry, said: str | None) -> None:
    if said is None:
        job_end.check_end(PROMPT, entry)
    else:
        with pytest.raises(JobFailed, match=said):
            job_end.check_end(PROMPT, entry)


def test_outputs_come_in_the_order_of_the_prompt_and_empty_texts_are_none() -> None:
    by_node = {"x": {"text": [" ", "b"]}, "9": {"images": [{"filename": "a"}]}}
    found = job_end.ordered(
        PROMPT, {node: responses.node_outputs(node, ui) for node, ui in by_node.items()}
    )
    assert [(one.node_id, one.filename or one.text) for one in found] == [("9", "a"), ("x", "b")]
    assert found[0].folder_type == "output"
    assert found[0].subfolder == ""


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, " and 1 more")])
def test_ten_choices_are_listed_and_the_others_counted(count: int, more: str) -> None:
    error = {
        "type": "value_not_in_list",
        "message": "m",
        "extra_info": {"input_name": "n", "input_config": [[str(i) for i in range(count)]]},
    }
    text = error_text.node_errors(
        responses.node_errors({"node_errors": {"1": {"errors": [error]}}})
    )["1"]
    assert text.endswith("it accepts 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" + more)


@pytest.mark.parametrize(("length", "shown"), [(300, 300), (301, 301)])
def test_a_long_text_is_cut_after_300_letters(length: int, shown: int) -> None:
    errors = {"1": {"errors": [{"message": "x" * length}]}}
    found = responses.node_errors({"node_errors": errors})
    text = error_text.node_errors(found)["1"]
    assert len(text) == shown
    assert text.endswith("…") is (length > 300)


# -- the socket ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "again"),
    [(500, True), (502, True), (503, True), (504, True), (403, False), (404, False)],
)
def test_a_refused_handshake_is_tried_again_only_where_that_may_help(
    monkeypatch: pytest.MonkeyPatch, status: int, again: bool
) -> None:
    clock, tries = Clock(), list[float]()
    monkeypatch.setattr(subscription, "time", clock)

    def connect() -> Any:
        tries.append(clock.now - 1000)
        raise HandshakeRefused(status)

    subscribed = subscription.Subscription(connect, lambda text: None)
    while clock.now < 1060:
        assert subscribed.next(clock.now + 100 if again else 1060) is None
    assert tries[:6] == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5] if again else [0])


# -- HTTP ------------------------------------------------------------------------------------------


@pytest.fixture
def engine(new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComfyUI]:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.001)
    engine = new_engine(fake.url, timeout=20, log=lambda text: None)
    yield engine
    engine.close()


@pytest.mark.parametrize(("status", "tries"), [(502, 3), (503, 3), (504, 3), (500, 1), (404, 1)])
def test_only_a_busy_server_is_asked_again(
    engine: ComfyUI, fake: Any, status: int, tries: int
) -> None:
    fake.script.broken = {"/queue": (status, b"")}
    with pytest.raises(EngineError, match=str(status)):
        engine.queue_state()
    assert fake.script.requested_paths.count("/queue") == tries


@pytest.mark.parametrize(("flaky", "good"), [(2, True), (3, False)])
def test_the_third_try_is_the_last(engine: ComfyUI, fake: Any, flaky: int, good: bool) -> None:
    fake.script.flaky = {"/queue": flaky}
    if good:
        assert engine.queue_state().running == ()
    else:
        with pytest.raises(Gateway):
            engine.queue_state()


@pytest.mark.parametrize("header", [{"Authorization": "Bearer right"}, None])
def test_a_netrc_is_not_used_together_with_our_login(
    fake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, header: dict[str, str] | None
) -> None:
    """Seen from a server that is not on this machine: for loopback no environment counts."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n", "utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(server_url, "is_loopback", lambda host: False)
    engine = ComfyUI(fake.url, headers=header, log=lambda text: None)
    engine.queue_state()
    engine.close()
    sent = fake.script.authorizations[0]
    assert sent == "Bearer right" if header else sent.startswith("Basic ")


def test_a_lost_reply_is_not_sent_again_while_the_server_does_not_say_whether_it_has_it(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.post = lambda count, body: None
    fake.script.broken = {"/queue": (500, b"")}
    with pytest.raises(LostReply, match=r"not known .prompt id my-id"):
        engine.queue(Job(PROMPT, "my-id"))
    assert len(fake.script.posted) == 1
    assert "my-id" in fake.script.cancelled


def test_a_cancel_by_the_job_api_is_enough_and_anything_else_is_not(
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


def test_a_missing_file_has_no_size_and_an_empty_one_no_bytes(engine: ComfyUI, fake: Any) -> None:
    for status, size in [(404, None), (416, 0), (500, None)]:
        fake.script.broken = {"/view": (status, b"")}
        assert engine.files.size(Output("1", "images", "a.png")) == size


# -- classes that are remembered -------------------------------------------------------------------


@pytest.mark.parametrize(("age", "kept"), [(0, True), (119.9, True), (120, False), (-1, False)])
def test_schemas_are_cached_for_two_minutes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, age: float, kept: bool
) -> None:
    asked: list[set[str]] = []
    now = [10_000.0]
    monkeypatch.setattr(schema_cache.time, "time", lambda: now[0])

    def ask(names: Any) -> dict[str, Any]:
        asked.append(set(names))
        return {name: {"input": {}} for name in names}

    cache = SchemaCache(tmp_path / "classes.json", ask)
    cache.get({"A"})
    now[0] += age
    known = cache.get({"A", "B"})
    assert asked[1] == ({"B"} if kept else {"A", "B"})
    assert known.from_cache == ({"A"} if kept else set())
    cache.refresh({"A"})
    assert asked[2] == {"A"}


def test_a_cache_file_that_is_too_large_or_invalid_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    cache = SchemaCache(file, lambda names: {name: {} for name in names})
    entry = json.dumps({"A": {"at": time.time(), "schema": {"x": 1}}}).encode()
    for text, kept in [
        (entry.ljust(32 * 2**20), True),
        (entry.ljust(32 * 2**20 + 1), False),
        (b"[" * 99_999, False),
        (b'{"A": 1}', False),
    ]:
        file.write_bytes(text)
        assert ("A" in cache.get({"A"}).from_cache) is kept


def test_progress_says_the_node_and_finite_numbers() -> None:
    from comfyui_pipeline.engine.messages import Listener

    heard: list[Progress] = []
    listener = Listener(Job(PROMPT, "my-id"), heard.append, lambda output: None)
    data = {"node": "9", "value": float("nan"), "max": float("inf"), "prompt_id": "my-id"}
    assert listener.read(json.dumps({"type": "progress", "data": data}))
    assert heard == [Progress("running", "9", 0.0, None)]


def test_a_socket_that_breaks_again_and_again_is_opened_after_longer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, opened = Clock(), list[float]()
    monkeypatch.setattr(subscription, "time", clock)

    class Broken:
        def receive(self, until: float) -> str:
            raise WebSocketError

        def hang_up(self) -> None:
            return

    def connect() -> Any:
        opened.append(clock.now - 1000)
        return Broken()

    subscribed = subscription.Subscription(connect, lambda text: None)
    while clock.now < 1040:
        assert subscribed.next(clock.now + 100) is None
    assert opened[:7] == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5])
