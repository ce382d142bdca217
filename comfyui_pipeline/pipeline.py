"""The pipeline: what is prepared is queued, waited for, fetched and reported. One direction."""

from __future__ import annotations

import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from comfyui_pipeline import report
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import ENDED, NOT_AVAILABLE, QUEUED, CallRecord
from comfyui_pipeline.engine.http import LostReply
from comfyui_pipeline.engine.protocol import Engine, Job, JobHandle, JobResult
from comfyui_pipeline.errors import EngineError, JobFailed, JobLost, JobTimeout
from comfyui_pipeline.media import previews as preview
from comfyui_pipeline.media.image_memory import ImageMemory
from comfyui_pipeline.outputs import FetchedOutputs, OutputFetcher
from comfyui_pipeline.prepare import PreparedJob, Stopwatch, prepare
from comfyui_pipeline.progress import show_on_stderr
from comfyui_pipeline.report import Report, ResultOutput
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import roles
from input_server.light_dataclasses import dataclass, replace

FETCH_SECONDS = 8.0
"""How long results may still come once the call's own limit is over; the watchdog waits longer."""
SURE_SECONDS = 4.0
"""How long a run that is cancelled for being late is watched until it has stopped."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call at work: who runs it, how it is set, until when (``time.monotonic()``), and what it has
    queued and stored so far.
    """

    call: ToolCall
    settings: Settings
    engine: Engine
    started: float
    deadline: float
    watch: Stopwatch
    record: CallRecord

    @property
    def last(self) -> float:
        """When the call has to have everything that its answer holds."""
        return self.started + self.settings.timeout + self.settings.after


def run(
    call: ToolCall, settings: Settings, engine: Engine, started: float, record: CallRecord
) -> Mapping[str, Any]:
    """Run one workflow and give the host's ``result``. Raises ToolError's children.

    ``started``: when the process began, ``time.monotonic()``.
    """
    deadline = started + settings.timeout
    going = CallContext(call, settings, engine, started, deadline, Stopwatch(), record)
    ready = prepare(call, settings, engine, deadline, going.watch)
    result, collected = _run_surely(going, ready)
    stopped = False
    if not result.complete and call.cancel_on_timeout:
        record.cancel()
        with suppress(EngineError):  # what has come out matters more than how the run ended
            stopped = stops(engine, result.prompt_id, SURE_SECONDS)
    return tell(going, ready, result, collected, stopped=stopped)


def tell(
    going: CallContext,
    ready: PreparedJob,
    result: JobResult,
    collected: FetchedOutputs,
    *,
    stopped: bool = False,
) -> Mapping[str, Any]:
    """The host's ``result`` for a run. Raises RunFailed and RunTimeout when it gave nothing.

    ``stopped``: it was late and is cancelled.
    """
    told = {_label(ready.graph, i): why for i, why in result.node_errors.items()}
    result = replace(result, node_errors={**told, **ready.skipped_outputs})
    _check_worth(result, collected, going.call, stopped=stopped)
    with going.watch.time("preview"):
        how = going.call.return_image or going.settings.return_image
        shown = _shown(collected.outputs, how, going.settings.memory)
    try:
        return report.tell(_report(going, ready, result, collected, shown, stopped=stopped))
    except Exception as error:  # the results matter more than their wording
        traceback.print_exc(file=sys.stderr)
        why = f"The answer could not be worded ({type(error).__name__}); please report this."
        return report.plain(result.prompt_id, collected.outputs, why)


def _report(
    going: CallContext,
    ready: PreparedJob,
    result: JobResult,
    collected: FetchedOutputs,
    shown: preview.Previews,
    *,
    stopped: bool,
) -> Report:
    total = round((time.monotonic() - going.started) * 1000)
    settings = going.settings
    own = any(Path(o.path or "").is_relative_to(settings.output_dir) for o in collected.outputs)
    alias, _ = (settings.output_alias, "") if own else settings.server_output_mount or ("", "")
    folder = settings.output_dir if own or not alias else settings.server_output_dir
    return Report(
        workflow=ready.name,
        prompt_id=result.prompt_id,
        complete=result.complete,
        stopped=stopped,
        outputs=collected.outputs,
        changes=ready.changes,
        guesses=ready.guesses,
        seeds=ready.seeds,
        node_errors=result.node_errors,
        failed={name: str(error) for name, error in (collected.failed or {}).items()},
        notes=(*ready.notes, *_left_out(collected, shown)),
        pictures=shown.pictures,
        cached=bool(result.cached) and all(o.node_id in result.cached for o in result.outputs),
        timings_ms={**going.watch.stages, "total": total},
        gallery=settings.links.gallery(alias or settings.output_alias),
        folder=str(folder),
    )


def follow(
    going: CallContext, queued: JobHandle, graph: graphs.Graph
) -> tuple[JobResult, FetchedOutputs]:
    """Wait for a run and bring its results as they come. Raises what waiting raises."""
    files = going.engine.files
    with (
        OutputFetcher(files, graph, going.settings, going.record) as collector,
        show_on_stderr() as progress,
    ):
        try:
            with queued, going.watch.time("wait"):
                result = queued.wait(going.deadline, _harmless(progress), _harmless(collector.take))
        except JobFailed as error:
            here = collector.here(min(FETCH_SECONDS, going.last - time.monotonic()))
            raise _with_results(error, here) from error
        with going.watch.time("fetch"):
            until = min(max(going.deadline, time.monotonic()) + FETCH_SECONDS, going.last)
            previews = going.call.previews
            return result, collector.collect(result.outputs, until, previews=previews)


Heard = TypeVar("Heard")


def _harmless(heard: Callable[[Heard], None]) -> Callable[[Heard], None]:
    """What is told of a run on the way must not end the waiting for it."""

    def hear(news: Heard) -> None:
        try:
            heard(news)
        except Exception:
            traceback.print_exc(file=sys.stderr)

    return hear


def cancelled(engine: Engine, prompt_id: str, seconds: float) -> bool:
    """Stop one run and no other; whether it had stopped within so many seconds."""
    engine.cancel(prompt_id)
    return stops(engine, prompt_id, seconds)


def stops(engine: Engine, prompt_id: str, seconds: float) -> bool:
    """Whether a run that was asked to stop has done so within so many seconds."""
    end = time.monotonic() + seconds
    while engine.state(prompt_id).stage in ("queued", "running"):
        if time.monotonic() >= end:
            return False
        time.sleep(0.2)
    return True


def _run_surely(going: CallContext, ready: PreparedJob) -> tuple[JobResult, FetchedOutputs]:
    """Run it; queue it once more when that is sure to do nothing twice.

    That is so when the server was restarted before anything of it had begun, and when the server's
    cache named files that are gone: then, under other file names, only the saving runs again.
    """
    try:
        result, collected = _run(going, ready, ready.job)
    except JobLost as lost:
        if not lost.not_started:
            raise
        print("the server was restarted before the run began; queueing it anew", file=sys.stderr)
        return _run(going, ready, replace(ready.job, prompt_id=str(uuid.uuid4())))
    again = _with_fresh_names(ready) if collected.missing is not None else None
    if again is None:
        return result, collected
    print("files of an earlier, cached run are gone; running the saving anew", file=sys.stderr)
    return _run(going, ready, again)


def _run(going: CallContext, ready: PreparedJob, job: Job) -> tuple[JobResult, FetchedOutputs]:
    """Queue, wait and fetch.

    A run is cancelled when the call is stopped, or where it asked for that; otherwise it goes on, and
    the answer names its id, whatever has gone wrong here.
    """
    engine, persistent = going.engine, not going.settings.embedded
    sent = going.record.add_job(
        job.prompt_id, lambda: engine.cancel(sent.prompt_id), persistent=persistent
    )
    try:
        with going.watch.time("queue"):
            queued = engine.queue(job)
        sent.prompt_id, sent.state = queued.prompt_id, QUEUED
        result, collected = follow(going, queued, ready.graph)
    except (JobFailed, JobLost):
        sent.state = NOT_AVAILABLE
        raise
    except EngineError as error:
        if sent.state == QUEUED:
            _cancel_if_asked(going)
        elif not isinstance(error, LostReply):
            sent.state = NOT_AVAILABLE  # refused, or never sent
        raise
    except Exception:
        _cancel_if_asked(going)
        raise
    except BaseException:  # the call was stopped
        going.record.stop()
        raise
    if result.complete:
        sent.state = ENDED
    return result, collected


def _cancel_if_asked(going: CallContext) -> None:
    if going.call.cancel_on_timeout:
        going.record.cancel()


def _with_fresh_names(ready: PreparedJob) -> Job | None:
    """The same job under other file names."""
    savers = [t for t in roles.filename_prefixes(ready.graph) if t.node.id in ready.job.prompt]
    fresh = {i: {**node, "inputs": dict(node["inputs"])} for i, node in ready.job.prompt.items()}
    for target in savers:
        old = target.node.inputs.get(target.name)
        if isinstance(old, str):
            fresh[target.node.id]["inputs"][target.name] = f"{old}_{uuid.uuid4().hex[:6]}"
    return Job(fresh, str(uuid.uuid4()), ready.job.extra_data) if savers else None


def _shown(delivered: Sequence[ResultOutput], how: str, memory: ImageMemory) -> preview.Previews:
    """The pictures that go along in the answer: the saved ones, or previews where nothing was saved."""
    pictures = [one for one in delivered if one.kind == "image" and one.path]
    chosen = [one for one in pictures if not one.preview] or pictures
    if how == "none" or not chosen:
        return preview.Previews(())
    try:
        files = [Path(one.path or "") for one in chosen]
        return preview.show(files, full=how == "full", memory=memory)
    except Exception as error:  # the results matter more than their copies
        traceback.print_exc(file=sys.stderr)
        return preview.Previews((), 0, len(chosen), {"any picture": preview.reason(error)})


def _left_out(collected: FetchedOutputs, shown: preview.Previews) -> Iterator[str]:
    if collected.unwanted:
        yield f'{collected.unwanted} previews were left out; "previews": "true" brings them.'
    if shown.reduced:
        yield f"{shown.reduced} pictures in this answer are reduced copies, or it would be too long."
    for name, why in shown.failed.items():
        yield f"no preview of {name}: {why}."
    if (left := shown.left_out - len(shown.failed)) > 0:
        yield f"{left} pictures are not in this answer itself; their links show them."


def _with_results(error: JobFailed, delivered: Sequence[ResultOutput]) -> JobFailed:
    """The same error, naming what had been saved before it."""
    named = [one.url or one.path or "" for one in delivered if one.file]
    if not named:
        return error
    return JobFailed(error.message, f"{error.hint} Saved before that: {', '.join(named)}")


def _check_worth(
    result: JobResult, collected: FetchedOutputs, call: ToolCall, *, stopped: bool
) -> None:
    """A run without any result is an error, whatever the server calls it."""
    if collected.outputs:
        return
    if collected.failed:
        raise next(iter(collected.failed.values()))
    if not result.complete:
        raise _late(result, call, stopped=stopped)
    if result.node_errors:
        reasons = "; ".join(f"{node}: {why}" for node, why in result.node_errors.items())
        raise JobFailed(f"Nothing came out of the run: {reasons}.", "Correct it and call again.")
    raise JobFailed(
        "The run ended well but gave no output.",
        "The node that saves may be muted or get an empty batch; look at the workflow in ComfyUI.",
    )


def _late(result: JobResult, call: ToolCall, *, stopped: bool) -> JobTimeout:
    ident = f"(prompt id {result.prompt_id})"
    later = f'{{"command": "result", "prompt_id": "{result.prompt_id}"}}'
    where = "is still going on" if result.started else "is still waiting in the queue"
    if stopped:
        return JobTimeout(
            f"The run had not ended within this call's time limit and was cancelled, as asked {ident}.",
            "Ask for a smaller or simpler picture.",
        )
    if call.cancel_on_timeout:
        return JobTimeout(
            f"The run had not ended within this call's time limit. It was asked to stop, and {where} "
            f"{ident}.",
            f"It stops between two steps; see with {later.replace('result', 'status', 1)}.",
        )
    return JobTimeout(
        f"The run {where} at ComfyUI after this call's time limit {ident}; nothing has come out yet.",
        f'Get it later with {later}, or stop it with "cancel" in its place.',
    )


def _label(graph: graphs.Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    return node.label if node else node_id
