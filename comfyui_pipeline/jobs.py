"""Commands for jobs that outlive their call: submit, status, result, cancel."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import (
    change_texts,
    controls,
    delivery,
    execute,
    job_facts,
    pipeline,
    prompt_ids,
    queued_jobs,
)
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import ENDED, NOT_AVAILABLE, QUEUED, CallRecord
from comfyui_pipeline.call_record import Job as RecordedJob
from comfyui_pipeline.engine.http import LostReply
from comfyui_pipeline.engine.protocol import Engine, JobState
from comfyui_pipeline.errors import EngineError, JobFailed, JobLost
from comfyui_pipeline.prepare import prepare
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow.node_label import node_label
from input_server.light_dataclasses import replace

CANCEL_COMMAND_SECONDS = 60.0
"""How long to wait for a cancelled job: ComfyUI checks for interruption only between steps."""
ENDINGS = {
    "": "It has ended.",
    "success": 'It has ended. Get its outputs with "result".',
    "cancelled": "It was cancelled before its end.",
    "failed": 'It has failed; "result" says why.',
}
PROGRESS_SECONDS = 2.0
"""How long ``status`` listens for how far a running job is."""
MAX_AGE = 30 * 86_400.0
"""Seconds; an older job is one of a server whose clock differs."""
MIN_RESULT_SECONDS = 5.0
"""Time for fetching the outputs of a job that has ended, even without ``wait``."""


def submit(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Queue a workflow and return its prompt id. Raises what preparing and queueing raise."""
    context = CallContext(call, settings, engine, record, started, started + settings.timeout)
    ready = prepare(context)
    if call.dry_run:
        from comfyui_pipeline import dry_run

        return dry_run.report(context, ready)
    ready = queued_jobs.with_running_twin(context, ready)
    with queued_jobs.one_at_a_time(context, ready.job):
        sent = record.add_job(ready.job.prompt_id, lambda: engine.cancel(sent.prompt_id))
        try:
            with engine.queue(ready.job) as queued:
                sent.prompt_id, sent.state = queued.prompt_id, QUEUED
                queued_jobs.remember(context, ready, queued.prompt_id)
        except EngineError as error:
            if not isinstance(error, LostReply):
                sent.state = NOT_AVAILABLE
            raise
    state = _state_or_queued(engine, sent.prompt_id)
    return text_result(
        "\n".join(_submit_lines(ready, sent.prompt_id, state)),
        prompt_id=sent.prompt_id,
        state=state.stage,
        position=state.position,
        seeds=ready.seeds,
        changes=[change_texts.fields(change) for change in ready.changes],
        guesses=list(ready.guesses),
        warnings=[*ready.important, *_skipped(ready), *ready.notes],
        notes=[*ready.important, *ready.notes],
        timings_ms=dict(context.watch.stages),
    )


def _submit_lines(ready: PreparedJob, prompt_id: str, state: JobState) -> list[str]:
    lines = [
        _first_line(ready, prompt_id, state),
        _next_step(prompt_id, state),
        *(f"Note: {text}" for text in ready.important),
        *(f"- Warning: {text}" for text in _skipped(ready)),
    ]
    if ready.changed:
        lines.append(f"- Changed: {'; '.join(ready.changed)}.")
    if ready.guesses:
        lines.append(f"- Understood as: {'; '.join(ready.guesses)}.")
    if ready.seeds:
        sentence = change_texts.seed_sentence(ready.seeds, ready.seed_origin, ready.batch)
        lines.append(f"- {sentence}")
    return [*lines, *(f"- Note: {note}" for note in ready.notes)]


def _first_line(ready: PreparedJob, prompt_id: str, state: JobState) -> str:
    """Where the job is: queued, running or finished, one of them."""
    if state.stage == "ended":
        return f"Workflow {ready.name} has ended already (prompt id {prompt_id})."
    if state.stage == "running":
        return f"Workflow {ready.name} is running (prompt id {prompt_id})."
    place = f": {_place(state.position)}" if state.stage == "queued" else ""
    return f"Queued workflow {ready.name} (prompt id {prompt_id}){place}."


def _next_step(prompt_id: str, state: JobState) -> str:
    call = f'{{"command": "result", "prompt_id": "{prompt_id}"'
    if state.stage == "ended":
        return f"Get its outputs with {call}}}."
    return (
        f'Get its outputs with {call}, "wait": "60"}}, see its state with "status", cancel it with '
        '"cancel".'
    )


def _skipped(ready: PreparedJob) -> list[str]:
    return [f"Will not run: {label}: {why}" for label, why in ready.skipped_outputs.items()]


def _state_or_queued(engine: Engine, prompt_id: str) -> JobState:
    """The state of a job that was just queued; a server that fails now must not hide its id."""
    try:
        return engine.state(prompt_id)
    except Exception as error:
        print(f"the state of the queue is not available: {error}", file=sys.stderr)
        return JobState("queued")


def status(
    call: ToolCall, settings: Settings, engine: Engine, _started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Return the state of a job. Raises JobLost for an id that the server does not know."""
    known, state = _find(call, settings, engine, record)
    prompt_id = known.prompt_id
    return text_result(
        _sentence(engine, prompt_id, state),
        prompt_id=prompt_id,
        state=state.stage,
        position=state.position,
        ending=state.ending or None,
    )


def result(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Return the outputs of a job, after waiting as long as the call says for it to end.

    A job that has not ended is reported with its state. Raises JobLost for an id that the server
    does not know, JobFailed for a job that failed.
    """
    known, state = _find(call, settings, engine, record)
    prompt_id = known.prompt_id
    wait = controls.wait_seconds(call) or 0.0
    job = engine.job(prompt_id)
    if job is None:
        return text_result(
            _sentence(engine, prompt_id, state),
            prompt_id=prompt_id,
            state=state.stage,
            position=state.position,
            complete=False,
        )
    at_least = MIN_RESULT_SECONDS if state.stage == "ended" else 0.0
    deadline = min(started + settings.timeout, time.monotonic() + max(wait, at_least))
    context = CallContext(call, settings, engine, record, started, deadline)
    ready = job_facts.earlier(job)
    ready = replace(
        ready,
        delivery=delivery.over(delivery.of_call(call), ready.delivery),
        notes=delivery.without_copy_notes(ready.notes, call),
    )
    if state.stage != "ended" and not wait:
        return _unfinished(engine, ready, prompt_id, state)
    try:
        ended, fetched = execute.wait_and_fetch(context, engine.follow(job), ready)
    except (JobFailed, JobLost):
        known.state = NOT_AVAILABLE
        raise
    known.state = ENDED if ended.complete else QUEUED
    late = not ended.complete and not fetched.outputs
    if late and controls.ends_by_wait(call, settings, finished=False):
        return _unfinished(engine, ready, prompt_id, engine.state(prompt_id), wait)
    vain = delivery.without_effect(call, ready.delivery, fetched.outputs)
    ready = replace(ready, important=(*vain, *ready.important))
    return pipeline.finish(context, ready, ended, fetched)


def _unfinished(
    engine: Engine, ready: PreparedJob, prompt_id: str, state: JobState, waited: float = 0.0
) -> Mapping[str, Any]:
    """The result of a job that has not ended, the same with and without waiting."""
    name = f"workflow {ready.name}" if ready.named else "the job"
    after = f" after {waited:g} s" if waited else ""
    lines = [
        f"Not finished yet{after}: {name} (prompt id {prompt_id}). {_sentence(engine, prompt_id, state)}",
        _next_step(prompt_id, state),
        *(f"Note: {text}" for text in ready.important),
        *(f"- Note: {note}" for note in ready.notes),
    ]
    notes = [*ready.important, *ready.notes]
    return text_result(
        "\n".join(lines),
        workflow=ready.name,
        prompt_id=prompt_id,
        state=state.stage,
        position=state.position,
        complete=False,
        outputs=[],
        seeds=ready.seeds,
        guesses=list(ready.guesses),
        warnings=notes,
        notes=notes,
    )


def cancel(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Cancel one job, queued or running, and wait until it has stopped.

    Raises JobLost for an id that the server does not know, EngineError for a job that does not stop.
    """
    known, before = _find(call, settings, engine, record)
    prompt_id = known.prompt_id
    if before.stage == "ended":
        return _ended_before(
            prompt_id, before, "The job has ended already; there is nothing to cancel."
        )
    asked = engine.cancel(prompt_id)
    left = started + settings.timeout - time.monotonic()
    after = execute.wait_until_stopped(engine, prompt_id, min(CANCEL_COMMAND_SECONDS, left))
    if after is None and asked == "unknown":
        raise EngineError(
            f"ComfyUI did not accept that the job with prompt id {prompt_id} is cancelled.",
            'Call "cancel" again, or stop it in ComfyUI.',
        )
    if after is None:
        raise EngineError(
            f"The job with prompt id {prompt_id} was asked to stop but is still running.",
            "ComfyUI stops a job only between two sampling steps; check again with the command status.",
        )
    if after.ending in ("success", "failed"):
        return _ended_before(
            prompt_id, after, f"The job ended before it was stopped. {ENDINGS[after.ending]}"
        )
    text = f"Cancelled the job with prompt id {prompt_id}, which was {before.stage}."
    return text_result(text, prompt_id=prompt_id, state="cancelled", cancelled=True)


def _ended_before(prompt_id: str, state: JobState, text: str) -> Mapping[str, Any]:
    return text_result(
        text, prompt_id=prompt_id, state="ended", ending=state.ending, cancelled=False
    )


def _find(
    call: ToolCall, settings: Settings, engine: Engine, record: CallRecord
) -> tuple[RecordedJob, JobState]:
    """The job that a call is about, and its state. Raises JobLost.

    It is on record before the server is asked, so that every error names it.
    """
    records = queued_jobs.records(settings)
    prompt_id = prompt_ids.resolve(call.prompt_id, call.job_id, records)
    known = record.add_job(prompt_id, lambda: "unknown")
    known.state = QUEUED
    state = engine.state(prompt_id)
    if state.stage == "unknown":
        known.state = NOT_AVAILABLE
        raise prompt_ids.unknown(prompt_id, records)
    known.state = ENDED if state.stage == "ended" else QUEUED
    return known, state


def _sentence(engine: Engine, prompt_id: str, state: JobState) -> str:
    if state.stage == "queued":
        return f"It is queued ({_place(state.position)})."
    if state.stage == "running":
        return _progress_sentence(engine, prompt_id)
    return ENDINGS[state.ending] if state.stage == "ended" else "Its state is unknown."


def _progress_sentence(engine: Engine, prompt_id: str) -> str:
    """That a job runs, since when it is queued, and how far its present node is."""
    job = engine.job(prompt_id)
    if job is None:
        return "It is running."
    queued = job.extra_data.get("create_time")  # milliseconds; ComfyUI since 0.3.68
    age = time.time() - queued / 1000 if isinstance(queued, (int, float)) else -1
    since = f"; it was queued {age:.0f} s ago" if 0 <= age <= MAX_AGE else ""
    progress = engine.progress(job, PROGRESS_SECONDS)
    node = job.prompt.get(progress.node_id or "") if progress else None
    if progress is None or node is None:
        return f"It is running{since}."
    title = str((node.get("_meta") or {}).get("title") or "")
    label = node_label(progress.node_id or "", title, str(node.get("class_type")))
    steps = f", step {progress.value or 0:g} of {progress.maximum:g}" if progress.maximum else ""
    return f"It is running{since}. Now: node {label}{steps}."


def _place(position: int | None) -> str:
    if not position:
        return "it is next"
    return f"{position} {'job' if position == 1 else 'jobs'} before it"
