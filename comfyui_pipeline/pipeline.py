"""The order of the stages: prepare, execute, report."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Any

from comfyui_pipeline import change_texts, controls, queued_jobs, report
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.delivery import Delivery
from comfyui_pipeline.engine.protocol import Engine, JobResult
from comfyui_pipeline.execute import cancel_late_job, execute
from comfyui_pipeline.media import previews
from comfyui_pipeline.media.previews import Previews
from comfyui_pipeline.outcome import Outcome, describe_outcome
from comfyui_pipeline.outputs import FetchedOutputs
from comfyui_pipeline.prepare import prepare
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result
from input_server.light_dataclasses import replace


def run(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Run one workflow and return the host's ``result``. Raises ToolError's children.

    ``started``: when the process started, ``time.monotonic()``.
    """
    context = CallContext(call, settings, engine, record, started, started + settings.timeout)
    ready = prepare(context)
    if call.dry_run:
        from comfyui_pipeline import dry_run

        return dry_run.report(context, ready)
    ready = queued_jobs.with_running_twin(context, ready)
    context = replace(context, deadline=controls.deadline(call, settings, started))
    result, fetched = execute(context, ready)
    cancelled = cancel_late_job(context, result)
    return finish(context, ready, result, fetched, cancelled=cancelled)


def finish(
    context: CallContext,
    ready: PreparedJob,
    result: JobResult,
    fetched: FetchedOutputs,
    *,
    cancelled: bool = False,
) -> Mapping[str, Any]:
    """Return the host's ``result`` for a job. Raises JobFailed or JobTimeout when it has no output.

    ``cancelled``: the job was late and has been cancelled.
    """
    outcome = describe_outcome(context, ready, result, fetched, cancelled=cancelled)
    queued_jobs.remember_results(context.settings, outcome.prompt_id, outcome.outputs)
    if not outcome.outputs:
        if controls.ends_by_wait(context.call, context.settings, finished=outcome.finished):
            return _still_running(outcome, controls.wait_seconds(context.call) or 0)
        raise report.no_output_error(outcome)
    with context.watch.time("preview"):
        images = _previews(outcome, context, ready.delivery)
    timings = {**context.watch.stages, "total": context.elapsed_ms}
    if outcome.seconds is not None:
        timings["run"] = round(outcome.seconds * 1000)
    try:
        return report.build_result(outcome, images, timings)
    except Exception as error:  # the outputs matter more than the words around them
        traceback.print_exc(file=sys.stderr)
        return report.minimal_result(outcome, error)


def _still_running(outcome: Outcome, seconds: float) -> Mapping[str, Any]:
    """The result of a call that has waited as long as it wants to; the job goes on."""
    state = "running" if outcome.started else "queued"
    said = "is still running" if outcome.started else "is still waiting in the queue"
    notes = [*outcome.important, *outcome.notes]
    lines = [
        f"Not finished yet: workflow {outcome.workflow} {said} after the {seconds:g} s that this call "
        f"waits (prompt id {outcome.prompt_id}). It goes on.",
        f'Get its result with {{"command": "result", "prompt_id": "{outcome.prompt_id}", "wait": '
        '"60"}, or cancel it with "cancel" instead of "result".',
        *(f"Note: {text}" for text in outcome.important),
        *(f"- {line}" for line in report.facts(outcome)),
        *(f"- Note: {text}" for text in outcome.notes),
    ]
    return text_result(
        "\n".join(lines),
        workflow=outcome.workflow,
        prompt_id=outcome.prompt_id,
        state=state,
        complete=False,
        outputs=[],
        seeds=dict(outcome.seeds),
        changes=[change_texts.fields(change) for change in outcome.changes],
        guesses=list(outcome.guesses),
        warnings=notes,
        notes=notes,
    )


def _previews(outcome: Outcome, context: CallContext, delivery: Delivery) -> Previews:
    """The images that the response contains, as the call or the settings request."""
    mode = delivery.return_image or context.settings.return_image
    files = outcome.images_to_show
    if mode == "none" or not files:
        return Previews(())
    try:
        return previews.build_previews(files, full=mode == "full", memory=context.settings.memory)
    except Exception as error:  # the outputs matter more than their previews
        traceback.print_exc(file=sys.stderr)
        return Previews((), 0, len(files), {"all images": previews.failure_reason(error)})
