"""Runs that outlive their call: submit now; look, get or cancel later."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from comfyui_pipeline import execute, pipeline
from comfyui_pipeline.arguments import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import ENDED, NOT_AVAILABLE, QUEUED, CallRecord
from comfyui_pipeline.engine.http import LostReply
from comfyui_pipeline.engine.protocol import Engine, JobState
from comfyui_pipeline.errors import EngineError, JobFailed, JobLost
from comfyui_pipeline.prepare import PreparedJob, prepare
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result
from comfyui_pipeline.workflow import graph as graphs

CANCEL_SECONDS = 15.0
"""How long a cancelled run may take to stop: it heeds the wish between two steps only."""


def submit(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Queue a workflow and give its id at once. Raises what preparing and queueing raise."""
    context = CallContext(call, settings, engine, record, started, started + settings.timeout)
    ready = prepare(context)
    sent = record.add_job(ready.job.prompt_id, lambda: engine.cancel(sent.prompt_id))
    try:
        with engine.queue(ready.job) as queued:
            prompt_id = sent.prompt_id = queued.prompt_id
            sent.state = QUEUED
    except EngineError as error:
        if not isinstance(error, LostReply):
            sent.state = NOT_AVAILABLE
        raise
    state = _state_if_known(engine, prompt_id)
    lines = [
        f"Queued: the workflow {ready.name} as prompt id {prompt_id}. {_told(state)}",
        f'Ask with {{"command": "status", "prompt_id": "{prompt_id}"}}, get it with "result", stop '
        'it with "cancel".',
        *(f"Will not run: {label}: {why}" for label, why in ready.skipped_outputs.items()),
        *(f"Guessed: {guess}" for guess in ready.guesses),
        *(f"Warning: {note}" for note in ready.notes),
    ]
    if ready.seeds:
        lines.append(
            f"Seed: {', '.join(str(seed) for seed in dict.fromkeys(ready.seeds.values()))}."
        )
    return text_result(
        "\n".join(lines),
        prompt_id=prompt_id,
        state=state.stage,
        position=state.position,
        seeds=ready.seeds,
        guesses=list(ready.guesses),
        timings_ms=dict(context.watch.stages),
    )


def _state_if_known(engine: Engine, prompt_id: str) -> JobState:
    """Where a run is; just queued, when the server does not say: its id must not be lost for that."""
    try:
        return engine.state(prompt_id)
    except Exception as error:
        print(f"the queue could not be asked: {error}", file=sys.stderr)
        return JobState("queued")


def status(
    call: ToolCall, _settings: Settings, engine: Engine, _started: float, _record: CallRecord
) -> Mapping[str, Any]:
    """Where a run is now. Raises RunLost for an id that the server does not know."""
    state = _known(call.prompt_id, engine)
    return text_result(
        _told(state), prompt_id=call.prompt_id, state=state.stage, position=state.position
    )


def result(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """What a run gave, once it has ended; waits for that as long as the call asks, within its limit.

    Raises RunLost for an unknown id, RunFailed for a run that failed.
    """
    state = _known(call.prompt_id, engine)
    job = engine.job(call.prompt_id)
    if job is None or (state.stage != "ended" and not call.wait):
        return text_result(
            f'{_told(state)} Ask again later, or give "wait": seconds.',
            prompt_id=call.prompt_id,
            state=state.stage,
            position=state.position,
            complete=False,
        )
    deadline = min(started + settings.timeout, time.monotonic() + max(call.wait, 5.0))
    graph = graphs.build(job.prompt, {})
    context = CallContext(call, settings, engine, record, started, deadline)
    known = record.add_job(call.prompt_id, lambda: False)
    known.state = QUEUED
    try:
        ended, fetched = execute.wait_and_fetch(context, engine.follow(job), graph)
    except (JobFailed, JobLost):
        known.state = NOT_AVAILABLE
        raise
    known.state = ENDED if ended.complete else QUEUED
    ready = PreparedJob(f"of prompt id {job.prompt_id}", job, graph)
    return pipeline.finish(context, ready, ended, fetched)


def cancel(
    call: ToolCall, _settings: Settings, engine: Engine, _started: float, _record: CallRecord
) -> Mapping[str, Any]:
    """Stop one run, waiting or running, and no other; and see that it has stopped."""
    before = _known(call.prompt_id, engine)
    if before.stage == "ended":
        told = "That run has ended already, so there is nothing to cancel."
        return text_result(told, prompt_id=call.prompt_id, state="ended", cancelled=False)
    engine.cancel(call.prompt_id)
    if execute.wait_until_stopped(engine, call.prompt_id, CANCEL_SECONDS):
        told = f"Cancelled: prompt id {call.prompt_id}, which was {before.stage}."
        return text_result(told, prompt_id=call.prompt_id, state="cancelled", cancelled=True)
    raise EngineError(
        f"ComfyUI was asked to stop prompt id {call.prompt_id}, which is still running.",
        "It stops between two steps only; ask with the command status in a while.",
    )


def _known(prompt_id: str, engine: Engine) -> JobState:
    state = engine.state(prompt_id)
    if state.stage == "unknown":
        raise JobLost(
            f"ComfyUI knows no run with the prompt id {prompt_id!r}.",
            "It was removed, ComfyUI was restarted, or the id is wrong; queue the workflow again.",
        )
    return state


def _told(state: JobState) -> str:
    if state.stage == "queued":
        ahead = "it is next" if not state.position else f"{state.position} before it"
        return f"It waits in the queue ({ahead})."
    return {"running": "It is running.", "ended": "It has ended."}.get(
        state.stage, "It is unknown."
    )


LaterCommand = Callable[[ToolCall, Settings, Engine, float, CallRecord], Mapping[str, Any]]
COMMANDS: Mapping[str, LaterCommand] = MappingProxyType(
    {"submit": submit, "status": status, "result": result, "cancel": cancel}
)
