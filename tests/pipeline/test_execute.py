"""Executing a job: when it is cancelled, what is retried, how long is waited."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import delivery, execute, pipeline, report
from comfyui_pipeline import outputs as collect
from comfyui_pipeline import settings as pipeline_settings
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.http import LostReply, Refused
from comfyui_pipeline.engine.protocol import FileStream, Job, JobResult, JobState, Output
from comfyui_pipeline.errors import (
    CallStopped,
    EngineError,
    JobFailed,
    JobLost,
    JobStalled,
    JobTimeout,
    MediaError,
    OutputMissing,
    PromptRejected,
    ServerUnreachable,
)
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.process import time_limit
from comfyui_pipeline.workflow import graph as graphs
from input_server.light_dataclasses import replace
from tests.conftest import png
from tests.pipeline.test_fault_matrix import WORKFLOW

FILE = Output("9", "images", filename="a.png")


class Engine:
    """Runs nothing. ``ends``: what waiting for each job raises or returns."""

    def __init__(self, *ends: Any, refuses: BaseException | None = None) -> None:
        self.ends = list(ends)
        self.refuses = refuses
        self.queued: list[Job] = []
        self.cancelled: list[str] = []
        self.stages = ["ended"]
        self.files: Any = self
        self.fetches: list[Any] = [png(8, 8)]

    def queue(self, job: Job) -> Any:
        if self.refuses is not None:
            raise self.refuses
        self.queued.append(job)
        end = self.ends.pop(0)

        def wait(*_: Any) -> JobResult:
            if isinstance(end, BaseException):
                raise end
            return JobResult(job.prompt_id, **end)

        return _Run(job.prompt_id, wait)

    def cancel(self, prompt_id: str) -> str:
        self.cancelled.append(prompt_id)
        return "stopped"

    def state(self, _prompt_id: str) -> JobState:
        stage: Any = self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]
        return JobState(stage)

    @contextlib.contextmanager
    def fetch(self, _output: Output) -> Iterator[FileStream]:
        given = self.fetches.pop(0) if len(self.fetches) > 1 else self.fetches[0]
        if isinstance(given, BaseException):
            raise given
        if isinstance(given, threading.Event):
            given.wait(30)
            raise MediaError("late")
        yield FileStream(iter([given]), len(given))

    def size(self, _output: Output) -> int | None:
        return None


class _Run:
    def __init__(self, prompt_id: str, wait: Any) -> None:
        self.prompt_id, self.wait = prompt_id, wait

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture
def performed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    graph = graphs.build(WORKFLOW, {})
    ready = PreparedJob("it", Job(WORKFLOW, "the-id"), graph)

    def prepare(context: Any) -> PreparedJob:
        return replace(ready, delivery=delivery.of_call(context.call))

    monkeypatch.setattr(pipeline, "prepare", prepare)

    def perform(engine: Engine, record: CallRecord | None = None, **call: Any) -> Any:
        chosen = pipeline_settings.load(tmp_path, {"FILE_SERVER_ACCESS_KEY": "k"})
        return pipeline.run(
            ToolCall(**{"command": "run", "workflow": "it", **call}),
            chosen,
            engine,  # type: ignore[arg-type]
            time.monotonic(),
            record or CallRecord(),
        )

    return perform


LEFT = [ServerUnreachable("x"), JobStalled("x"), EngineError("x"), MediaError("x"), KeyError("x")]


@pytest.mark.parametrize("error", LEFT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("asked", [False, True])
def test_a_job_continues_when_waiting_fails_unless_cancelling_is_requested(
    performed: Any, error: Exception, asked: bool
) -> None:
    engine, record = Engine(error), CallRecord()
    with pytest.raises(type(error)):
        performed(engine, record, cancel_on_timeout=asked)
    assert engine.cancelled == (["the-id"] if asked else [])
    assert '"prompt_id": "the-id"' in record.summary() or (
        asked and "cancelled" in record.summary()
    )


@pytest.mark.parametrize("error", [JobFailed("x"), JobLost("x")])
def test_a_job_that_has_ended_is_not_cancelled(performed: Any, error: Any) -> None:
    engine, record = Engine(error), CallRecord()
    with pytest.raises(type(error)):
        performed(engine, record, cancel_on_timeout=True)
    assert engine.cancelled == []
    assert record.summary() == ""


class Signal(BaseException):
    """What the entry point raises for SIGTERM."""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Signal()])
def test_a_stopped_call_cancels_its_job(performed: Any, error: BaseException) -> None:
    for engine, remains in (
        (Engine(error), "The job was cancelled (prompt id the-id)."),
        (Engine(refuses=error), "The job may have been queued at ComfyUI"),
    ):
        record = CallRecord()
        with pytest.raises(type(error)):
            performed(engine, record)
        assert engine.cancelled == ["the-id"]
        assert record.summary().startswith(remains)
        with pytest.raises(CallStopped):
            record.add_job("another", lambda: "stopped")


@pytest.mark.parametrize(
    ("error", "named"),
    [(PromptRejected("x"), False), (Refused("x"), False), (LostReply("x"), True)],
)
def test_only_a_prompt_that_may_be_queued_is_named(
    performed: Any, error: Exception, named: bool
) -> None:
    record = CallRecord()
    with pytest.raises(type(error)):
        performed(Engine(refuses=error), record)
    assert ("may have been queued" in record.summary()) is named


def test_a_job_lost_before_it_started_is_requeued_once(performed: Any) -> None:
    engine = Engine(JobLost("x", not_started=True), {"outputs": (FILE,)})
    assert performed(engine)["outputs"][0]["file"] == "a.png"
    first, second = engine.queued
    assert first.prompt_id != second.prompt_id
    with pytest.raises(JobLost):
        performed(Engine(JobLost("x", not_started=True), JobLost("y", not_started=True)))


@pytest.mark.parametrize(
    ("asked", "stages", "message"),
    [
        (False, ["running"], "is still running"),
        (True, ["running", "ended"], "was cancelled as requested"),
        (True, ["running"], "was asked to cancel it, but it is still running"),
    ],
)
def test_a_late_job_is_reported_or_cancelled(
    performed: Any, monkeypatch: pytest.MonkeyPatch, asked: bool, stages: list[str], message: str
) -> None:
    monkeypatch.setattr(execute, "LATE_CANCEL_SECONDS", 0.5)
    engine = Engine({"outputs": (), "complete": False})
    engine.stages = stages
    with pytest.raises(JobTimeout, match=message):
        performed(engine, cancel_on_timeout=asked)
    assert engine.cancelled == (["the-id"] if asked else [])


def test_the_waiting_times_end_before_the_watchdog() -> None:
    assert (execute.FETCH_SECONDS, execute.LATE_CANCEL_SECONDS) == (8.0, 4.0)
    total = execute.FETCH_SECONDS + execute.LATE_CANCEL_SECONDS
    assert total <= time_limit.FETCH_GRACE < time_limit.WATCHDOG_GRACE


def test_an_output_that_is_not_fetched_in_time_has_failed(
    performed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "FETCH_SECONDS", -600.0)
    engine, forever = Engine({"outputs": (FILE,)}), threading.Event()
    engine.fetches = [forever]
    with pytest.raises(MediaError, match="not arrive in time"):
        performed(engine)
    forever.set()


@pytest.mark.parametrize(
    ("fetches", "good"),
    [
        ([MediaError("x"), png(8, 8)], True),
        ([EngineError("x"), png(8, 8)], True),
        ([MediaError("x"), MediaError("y"), png(8, 8)], False),
        ([OutputMissing("x"), png(8, 8)], False),
        ([KeyError("x"), png(8, 8)], False),
    ],
)
def test_fetching_is_retried_once_and_not_for_a_missing_output(
    performed: Any, monkeypatch: pytest.MonkeyPatch, fetches: list[Any], good: bool
) -> None:
    monkeypatch.setattr(execute, "_with_new_file_names", lambda _: None)
    engine = Engine({"outputs": (FILE,)})
    engine.fetches = fetches
    if good:
        assert performed(engine)["complete"] is True
    else:
        with pytest.raises((MediaError, EngineError)):
            performed(engine)


def test_previews_are_fetched_when_nothing_was_saved_or_on_request(performed: Any) -> None:
    temp = Output("2", "images", filename="t.png", folder_type="temp")
    for outputs, call, files in (
        ((temp, FILE), {}, ["a.png"]),
        ((temp, FILE), {"previews": True}, ["a.png", "previews/t.png"]),
        ((temp,), {}, ["previews/t.png"]),
    ):
        result = performed(Engine({"outputs": outputs}), **call)
        assert [output["file"] for output in result["outputs"]] == files
        assert ("preview was left out" in str(result)) is (files == ["a.png"])


def test_limits_of_fetching_and_reporting() -> None:
    assert collect.MAX_PARALLEL_FETCHES == 6
    assert collect.LONG_TEXT == 2000
    assert collect.SAVED == "output"
    assert report.MAX_LISTED_OUTPUTS == 20
