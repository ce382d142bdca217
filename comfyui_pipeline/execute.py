"""Run a prepared job: queue it, fetch its outputs while it runs, requeue or cancel it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

from comfyui_pipeline import prompt_ids, queued_jobs
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import ENDED, NOT_AVAILABLE, QUEUED
from comfyui_pipeline.engine.http import LostReply
from comfyui_pipeline.engine.protocol import Engine, Job, JobHandle, JobResult, JobState
from comfyui_pipeline.errors import EngineError, JobFailed, JobLost
from comfyui_pipeline.outputs import FetchedOutputs, OutputFetcher, ResultOutput
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.progress import show_on_stderr
from comfyui_pipeline.workflow import roles
from input_server.light_dataclasses import replace

FETCH_SECONDS = 8.0
"""Time left for fetching outputs after the call's time limit; the watchdog fires later than this."""
LATE_CANCEL_SECONDS = 4.0
"""How long a job that is cancelled at the time limit is watched until it has stopped."""
POLL_SECONDS = 0.2

Message = TypeVar("Message")


def execute(context: CallContext, ready: PreparedJob) -> tuple[JobResult, FetchedOutputs]:
    """Run the job; requeue it once where nothing can be done twice by that.

    Two cases: the server was restarted before the job started, or its cache names files that have
    been deleted. In the second the job runs under new file names, so that only the saving nodes run.
    Raises what queueing and waiting raise.
    """
    try:
        result, fetched = _queue_and_fetch(context, ready, ready.job)
    except JobLost as lost:
        if not lost.not_started:
            raise
        print("The server was restarted before the job started; queueing again.", file=sys.stderr)
        return _queue_and_fetch(context, ready, replace(ready.job, prompt_id=prompt_ids.new()))
    renamed = _with_new_file_names(ready) if fetched.missing is not None else None
    if renamed is None:
        return result, fetched
    print("Files of an earlier, cached job were deleted; saving them again.", file=sys.stderr)
    return _queue_and_fetch(context, ready, renamed)


def wait_and_fetch(
    context: CallContext, handle: JobHandle, ready: PreparedJob
) -> tuple[JobResult, FetchedOutputs]:
    """Wait for a queued job and fetch outputs as they are produced. Raises what waiting raises."""
    with (
        OutputFetcher(context, ready.graph, ready.delivery) as fetcher,
        show_on_stderr() as progress,
    ):
        try:
            with handle, context.watch.time("wait"):
                result = handle.wait(context.deadline, _guarded(progress), _guarded(fetcher.add))
        except JobFailed as error:
            left = context.response_deadline - time.monotonic()
            stored = fetcher.finished(min(FETCH_SECONDS, left))
            raise _naming_outputs(error, stored) from error
        with context.watch.time("fetch"):
            until = max(context.deadline, time.monotonic()) + FETCH_SECONDS
            return result, fetcher.fetch(result.outputs, min(until, context.response_deadline))


def cancel_if_requested(context: CallContext) -> None:
    """Cancel the call's jobs where its ``on_timeout`` says so."""
    if context.call.cancel_on_timeout:
        context.record.cancel()


def cancel_late_job(context: CallContext, result: JobResult) -> bool:
    """Cancel a job that has not ended in time, if the call requests that; True once it has stopped."""
    if result.complete or not context.call.cancel_on_timeout:
        return False
    context.record.cancel()
    with suppress(EngineError):  # the outputs so far matter more than whether it stopped
        state = wait_until_stopped(context.engine, result.prompt_id, LATE_CANCEL_SECONDS)
        return state is not None and state.ending != "success"
    return False


def wait_until_stopped(engine: Engine, prompt_id: str, seconds: float) -> JobState | None:
    """Wait until a job that was to be cancelled has left the queue; None if it still has not after
    ``seconds``.
    """
    end = time.monotonic() + seconds
    while (state := engine.state(prompt_id)).stage in ("queued", "running"):
        if time.monotonic() >= end:
            return None
        time.sleep(POLL_SECONDS)
    return state


def _queue_and_fetch(
    context: CallContext, ready: PreparedJob, job: Job
) -> tuple[JobResult, FetchedOutputs]:
    """Queue a job, wait for it, fetch its outputs, and keep its state on record.

    It is cancelled when the call is stopped, or on an error where the call requests that; otherwise
    it continues after an error, and the response names its prompt id.
    """
    engine = context.engine
    with ExitStack() as queueing:
        queueing.enter_context(queued_jobs.one_at_a_time(context, job))
        sent = context.record.add_job(
            job.prompt_id,
            lambda: engine.cancel(sent.prompt_id),
            persistent=not context.settings.embedded,
        )
        try:
            with context.watch.time("queue"):
                handle = engine.queue(job)
            sent.prompt_id, sent.state = handle.prompt_id, QUEUED
            queued_jobs.remember(context, ready, handle.prompt_id)
            queueing.close()
            result, fetched = wait_and_fetch(context, handle, ready)
        except (JobFailed, JobLost):
            sent.state = NOT_AVAILABLE
            raise
        except EngineError as error:
            if sent.state == QUEUED:
                cancel_if_requested(context)
            elif not isinstance(error, LostReply):
                sent.state = NOT_AVAILABLE  # rejected, or never sent
            raise
        except Exception:
            cancel_if_requested(context)
            raise
        except BaseException:  # the call was stopped
            context.record.stop()
            raise
    if result.complete:
        sent.state = ENDED
    return result, fetched


def _with_new_file_names(ready: PreparedJob) -> Job | None:
    """The same job with other file name prefixes; None when no node has one."""
    savers = [t for t in roles.filename_prefixes(ready.graph) if t.node.id in ready.job.prompt]
    prompt = {i: {**node, "inputs": dict(node["inputs"])} for i, node in ready.job.prompt.items()}
    for target in savers:
        prefix = target.node.inputs.get(target.name)
        if isinstance(prefix, str):
            prompt[target.node.id]["inputs"][target.name] = f"{prefix}_{os.urandom(3).hex()}"
    return Job(prompt, prompt_ids.new(), ready.job.extra_data) if savers else None


def _guarded(callback: Callable[[Message], None]) -> Callable[[Message], None]:
    """The callback with exceptions logged: a failure there must not end the waiting."""

    def call(message: Message) -> None:
        try:
            callback(message)
        except Exception:
            traceback.print_exc(file=sys.stderr)

    return call


def _naming_outputs(error: JobFailed, outputs: Sequence[ResultOutput]) -> JobFailed:
    """The same error with the files that were stored before it."""
    files = [output.url or output.path or "" for output in outputs if output.file]
    if not files:
        return error
    return JobFailed(error.message, f"{error.hint} Saved before that: {', '.join(files)}")
