"""The order of the stages: prepare, execute, report."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfyui_pipeline import report
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Engine, JobResult
from comfyui_pipeline.execute import cancel_late_job, execute
from comfyui_pipeline.media import previews
from comfyui_pipeline.media.previews import Previews
from comfyui_pipeline.outcome import Outcome
from comfyui_pipeline.outputs import FetchedOutputs
from comfyui_pipeline.prepare import PreparedJob, prepare
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.graph import Graph


def run(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Run one workflow and return the host's ``result``. Raises ToolError's children.

    ``started``: when the process started, ``time.monotonic()``.
    """
    context = CallContext(call, settings, engine, record, started, started + settings.timeout)
    ready = prepare(context)
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
    outcome = _outcome(context, ready, result, fetched, cancelled=cancelled)
    if not outcome.outputs:
        raise report.no_output_error(outcome)
    with context.watch.time("preview"):
        images = _previews(outcome, context)
    timings = {**context.watch.stages, "total": context.elapsed_ms}
    try:
        return report.build_result(outcome, images, timings)
    except Exception as error:  # the outputs matter more than the words around them
        traceback.print_exc(file=sys.stderr)
        return report.minimal_result(outcome, error)


def _outcome(
    context: CallContext,
    ready: PreparedJob,
    result: JobResult,
    fetched: FetchedOutputs,
    *,
    cancelled: bool,
) -> Outcome:
    settings = context.settings
    errors = {_label(ready.graph, node_id): why for node_id, why in result.node_errors.items()}
    folder, alias = _results_folder(fetched, settings)
    return Outcome(
        workflow=ready.name,
        prompt_id=result.prompt_id,
        finished=result.complete,
        started=result.started,
        cancel_requested=context.call.cancel_on_timeout,
        cancelled=cancelled,
        outputs=fetched.outputs,
        failed=fetched.failed,
        node_errors={**errors, **ready.skipped_outputs},
        skipped_previews=fetched.skipped_previews,
        from_cache=bool(result.cached) and all(o.node_id in result.cached for o in result.outputs),
        changes=ready.changes,
        guesses=ready.guesses,
        seeds=ready.seeds,
        notes=ready.notes,
        gallery=settings.links.gallery(alias),
        folder=str(folder),
    )


def _results_folder(fetched: FetchedOutputs, settings: Settings) -> tuple[Path | None, str]:
    """The folder that holds the results, and the mount alias under which it is served.

    It is our own output folder, unless all results are in the server's output folder on this machine.
    """
    own = any(Path(o.path or "").is_relative_to(settings.output_dir) for o in fetched.outputs)
    if own or not settings.server_output_mount:
        return settings.output_dir, settings.output_alias
    return settings.server_output_dir, settings.server_output_mount[0] or settings.output_alias


def _previews(outcome: Outcome, context: CallContext) -> Previews:
    """The images that the response contains, as the call or the settings request."""
    mode = context.call.return_image or context.settings.return_image
    files = outcome.images_to_show
    if mode == "none" or not files:
        return Previews(())
    try:
        return previews.build_previews(files, full=mode == "full", memory=context.settings.memory)
    except Exception as error:  # the outputs matter more than their previews
        traceback.print_exc(file=sys.stderr)
        return Previews((), 0, len(files), {"all images": previews.failure_reason(error)})


def _label(graph: Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    return node.label if node else node_id
