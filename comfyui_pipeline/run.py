"""The pipeline: what is prepared is queued, waited for, fetched and reported. One direction."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comfyui_pipeline import report
from comfyui_pipeline.engine.base import Engine, Job, Output, Progress, RunResult
from comfyui_pipeline.errors import MediaError, OutputGone, RunFailed, RunLost, RunTimeout
from comfyui_pipeline.media import kinds, preview, store
from comfyui_pipeline.prepare import Ready, Stopwatch, prepare
from comfyui_pipeline.report import Delivered, Report
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.tool_call import ToolCall
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import roles

SIDE_BY_SIDE = 6
"""Results fetched at once."""


def run(call: ToolCall, settings: Settings, engine: Engine, started: float) -> Mapping[str, Any]:
    """Run one workflow and give the host's ``result``. Raises ToolError's children.

    ``started``: when the process began, ``time.monotonic()``.
    """
    watch = Stopwatch()
    deadline = started + settings.timeout
    ready = prepare(call, settings, engine, deadline, watch)
    result, delivered = _run_and_fetch(engine, ready, settings, deadline, watch)
    if not result.complete and call.cancel_late:
        engine.cancel(result.prompt_id)
    return tell(call, settings, ready, result, delivered, started, watch)


def tell(
    call: ToolCall,
    settings: Settings,
    ready: Ready,
    result: RunResult,
    delivered: Sequence[Delivered],
    started: float,
    watch: Stopwatch,
) -> Mapping[str, Any]:
    """The host's ``result`` for a run. Raises RunFailed and RunTimeout when it gave nothing."""
    told = {_label(ready.graph, i): why for i, why in result.node_errors.items()}
    result = replace(result, node_errors={**told, **ready.refused})
    _check_worth(result, delivered, cancelled=call.cancel_late)
    with watch.time("preview"):
        shown = _shown(delivered, call.return_image or settings.return_image)
    return report.tell(
        Report(
            workflow=ready.name,
            prompt_id=result.prompt_id,
            complete=result.complete,
            outputs=tuple(delivered),
            changes=ready.changes,
            guesses=ready.guesses,
            seeds=ready.seeds,
            node_errors=result.node_errors,
            notes=(*ready.notes, *_cuts(shown)),
            pictures=shown.pictures,
            cached=bool(result.cached) and all(o.node_id in result.cached for o in result.outputs),
            timings_ms={**watch.stages, "total": round((time.monotonic() - started) * 1000)},
        ),
        settings,
    )


def _shown(delivered: Sequence[Delivered], how: str) -> preview.Shown:
    """The pictures that go along in the answer: the saved ones, or previews where nothing was saved."""
    pictures = [one for one in delivered if one.kind == "image" and one.path]
    chosen = [one for one in pictures if not one.preview] or pictures
    if how == "none" or not chosen:
        return preview.Shown(())
    return preview.show([Path(one.path or "") for one in chosen], full=how == "full")


def _cuts(shown: preview.Shown) -> Iterator[str]:
    if shown.reduced:
        yield f"{shown.reduced} pictures in this answer are small copies, or it would be too long."
    if shown.left_out:
        yield f"{shown.left_out} pictures are not in this answer itself; their links show them."


def _run_and_fetch(
    engine: Engine, ready: Ready, settings: Settings, deadline: float, watch: Stopwatch
) -> tuple[RunResult, list[Delivered]]:
    """Queue, wait and fetch; once more when the server's cache named files that are gone."""
    result = _run_surely(engine, ready.job, deadline, watch)
    try:
        return result, fetch_all(engine, result, ready.graph, settings, watch)
    except OutputGone:
        again = _with_fresh_names(ready)
        if again is None:
            raise
    result = _run(engine, again, deadline, watch)
    return result, fetch_all(engine, result, ready.graph, settings, watch)


def _with_fresh_names(ready: Ready) -> Job | None:
    """The same job under other file names, so that only the saving runs again."""
    savers = [t for t in roles.prefixes(ready.graph) if t.node.id in ready.job.prompt]
    fresh = {i: {**node, "inputs": dict(node["inputs"])} for i, node in ready.job.prompt.items()}
    for target in savers:
        old = target.node.inputs.get(target.name)
        if isinstance(old, str):
            fresh[target.node.id]["inputs"][target.name] = f"{old}_{uuid.uuid4().hex[:6]}"
    return Job(fresh, str(uuid.uuid4()), ready.job.extra_data) if savers else None


def _run_surely(engine: Engine, job: Job, deadline: float, watch: Stopwatch) -> RunResult:
    """Run it; queue it once more when the server was restarted before anything of it had begun."""
    try:
        return _run(engine, job, deadline, watch)
    except RunLost as lost:
        if not lost.untouched:
            raise
    print("the server was restarted before the run began; queueing it once more", file=sys.stderr)
    return _run(engine, replace(job, prompt_id=str(uuid.uuid4())), deadline, watch)


def _run(engine: Engine, job: Job, deadline: float, watch: Stopwatch) -> RunResult:
    try:
        with watch.time("queue"):
            queued = engine.queue(job)
        with queued, watch.time("wait"):
            return queued.wait(deadline, Progresses())
    except BaseException as error:
        if not isinstance(error, Exception):  # the caller's process is being stopped
            engine.cancel(job.prompt_id)
        raise


@dataclass(slots=True)
class Progresses:
    """Tells a person at stderr how far the run is: at most a line every few seconds."""

    last: float = 0.0
    every: float = 3.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.last < self.every:
            return
        if progress.stage == "queued" and progress.position:
            print(f"waiting in the queue behind {progress.position}", file=sys.stderr)
        elif progress.node_id and progress.maximum:
            done = f"{progress.value:g} of {progress.maximum:g}"
            print(f"node {progress.node_id}: {done}", file=sys.stderr)
        else:
            return
        self.last = now


def fetch_all(
    engine: Engine,
    result: RunResult,
    graph: graphs.Graph,
    settings: Settings,
    watch: Stopwatch,
) -> list[Delivered]:
    """Every output of every node; what was saved comes before mere previews."""
    ordered = sorted(result.outputs, key=lambda output: output.folder_type == "temp")
    if not ordered:
        return []
    pool = ThreadPoolExecutor(min(SIDE_BY_SIDE, len(ordered)))
    try:
        with watch.time("fetch"):
            jobs = [pool.submit(_deliver, engine, one, graph, settings) for one in ordered]
            return [job.result() for job in jobs]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _deliver(engine: Engine, output: Output, graph: graphs.Graph, settings: Settings) -> Delivered:
    node = graph.nodes.get(output.node_id)
    title = (node.title or node.class_type) if node else ""
    if output.text is not None:
        return Delivered(output.node_id, title, "text", text=output.text)
    preview = output.folder_type != "output"
    folder = f"previews/{output.subfolder}".rstrip("/") if preview else output.subfolder
    try:
        with engine.fetch(output) as incoming:
            stored = store.store(
                incoming.chunks,
                settings.output_dir,
                folder,
                output.filename,
                length=incoming.length,
            )
    except OSError as error:
        raise MediaError(
            f"The result {output.filename!r} cannot be written to {settings.output_dir}: "
            f"{error.strerror}.",
            "Free some space there, or set COMFYUI_OUTPUT_DIR to a folder that can be written.",
        ) from error
    seen = kinds.look(stored.path)
    return replace(
        Delivered(output.node_id, title, seen.kind, preview=preview),
        file=stored.relative,
        path=str(stored.path),
        url=report.url(stored.relative, stored.path.stat().st_mtime, settings),
        bytes=stored.size,
        width=seen.width,
        height=seen.height,
        sha256=stored.sha256,
    )


def _check_worth(result: RunResult, delivered: Sequence[Delivered], *, cancelled: bool) -> None:
    """A run without any result is an error, whatever the server calls it."""
    if delivered:
        return
    if not result.complete:
        if cancelled:
            raise RunTimeout(
                f"The run had not ended within this call's time limit and was cancelled, as asked "
                f"(prompt id {result.prompt_id}).",
                "Ask for a smaller or simpler picture.",
            )
        raise RunTimeout(
            f"The run is still going on at ComfyUI after this call's time limit (prompt id "
            f"{result.prompt_id}); nothing has come out yet.",
            f'Get it later with {{"command": "result", "prompt_id": "{result.prompt_id}"}}, or stop '
            'it with "cancel" in its place.',
        )
    if result.node_errors:
        reasons = "; ".join(f"{node}: {why}" for node, why in result.node_errors.items())
        raise RunFailed(f"Nothing came out of the run: {reasons}.", "Correct it and call again.")
    raise RunFailed(
        "The run ended well but gave no output.",
        "The node that saves may be muted or get an empty batch; look at the workflow in ComfyUI.",
    )


def _label(graph: graphs.Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    return node.label if node else node_id
