"""A call whose ``job_id`` was used before: its answer is about the first job, and nothing is queued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import controls, jobs, queued_jobs
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.errors import JobFailed
from comfyui_pipeline.settings import Settings
from input_server.light_dataclasses import replace


def answer(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any] | None:
    """The state of the first job for ``submit``, its result for ``run``; None where there is none.

    Raises JobFailed for a first job that failed.
    """
    prompt_id = queued_jobs.first_job(call, settings, engine)
    if prompt_id is None:
        return None
    return about_first(call, settings, engine, started, record, prompt_id)


def about_first(
    call: ToolCall,
    settings: Settings,
    engine: Engine,
    started: float,
    record: CallRecord,
    prompt_id: str,
) -> Mapping[str, Any]:
    """The answer about the first job, whose id is ``prompt_id``. Raises as ``answer``."""
    about = replace(call, prompt_id=prompt_id)
    try:
        if call.command == "submit":
            found = jobs.status(about, settings, engine, started, record)
        else:
            wait = controls.wait_seconds(call)
            about = replace(about, wait=settings.timeout if wait is None else wait, timeout=None)
            found = jobs.result(about, settings, engine, started, record)
    except JobFailed as error:
        hint = f'{error.hint} To run it again, use another "job_id".'
        raise JobFailed(f"The first job of this job_id failed: {error.message}", hint) from error
    key = call.spelled.get("job_id", "job_id")
    sentence = (
        f'"{key}" {call.job_id[:80]!r} was used before, so nothing was queued; this is about that '
        f"first job (prompt id {prompt_id}). Use another one to run it again."
    )
    first, *others = found["content"]
    text = {**first, "text": f"{sentence}\n{first['text']}"}
    return {**found, "content": [text, *others], "repeated": True}
