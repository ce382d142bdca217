"""The pipeline: load, download, patch, validate, queue, wait, fetch, report. One direction."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from comfyui_pipeline import report
from comfyui_pipeline.engine.base import Engine, Job, Output, Progress, RunResult
from comfyui_pipeline.errors import MediaError, OutputGone, RunFailed, RunTimeout
from comfyui_pipeline.media import kinds, place, store
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.source import Places
from comfyui_pipeline.report import Delivered, Report
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.tool_call import ToolCall
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import library, patch, roles, validate

HIGHEST_DRAWN_SEED = 2**53 - 1
"""A drawn seed stays exact in JavaScript, where hosts and clients read it."""


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Milliseconds per stage, in the order of the stages."""

    stages: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = round((time.perf_counter() - begun) * 1000)
            self.stages[stage] = self.stages.get(stage, 0) + spent


def run(call: ToolCall, settings: Settings, engine: Engine, started: float) -> Mapping[str, Any]:
    """Run one workflow and give the host's ``result``. Raises ToolError's children.

    ``started``: when the process began, ``time.monotonic()``.
    """
    watch = Stopwatch()
    deadline = started + settings.timeout
    with watch.time("load"):
        workflow = library.load(settings.workflows_dir, call.workflow)
    with watch.time("schema"):
        schemas = engine.schemas({node["class_type"] for node in workflow.nodes.values()})
    graph = graphs.build(workflow.nodes, schemas)
    validate.check_classes(graph, schemas)
    prefix = store.prefix_from_words((call.prompt or "").replace("%", " "))
    changes = patch.plan(
        graph, call, drawn_seed=random.randint(0, HIGHEST_DRAWN_SEED), prefix=prefix
    )
    with watch.time("download"):
        changes = _bring_files(changes, settings, engine, deadline)
    with watch.time("patch"):
        prompt = patch.apply(workflow.nodes, changes)
        graph = graphs.build(prompt, schemas)
    with watch.time("validate"):
        validate.check_prompt(graph)
    result, delivered = _run_and_fetch(engine, prompt, graph, settings, deadline, watch)
    _check_worth(result, delivered)
    return report.tell(
        Report(
            workflow=workflow.name,
            prompt_id=result.prompt_id,
            complete=result.complete,
            outputs=tuple(delivered),
            changes=tuple(changes),
            seeds={t.node.id: t.node.inputs[t.name] for t in roles.seeds(graph)},
            node_errors={_label(graph, i): why for i, why in result.node_errors.items()},
            doubts=call.doubts,
            cached=bool(result.cached) and all(o.node_id in result.cached for o in result.outputs),
            timings_ms={**watch.stages, "total": round((time.monotonic() - started) * 1000)},
        ),
        settings,
    )


def _bring_files(
    changes: Sequence[patch.Change], settings: Settings, engine: Engine, deadline: float
) -> list[patch.Change]:
    """Each file that a change names, brought to the server; the change then holds its name there."""
    places = Places(settings.attachments_dir, settings.allowed_dirs)
    policy = DownloadPolicy(allow=settings.download_allow)
    brought: dict[str, str] = {}
    for change in changes:
        if change.needs_file and change.value not in brought:
            brought[change.value] = place.place(
                change.value,
                engine,
                places,
                policy,
                input_dir=settings.server_input_dir,
                deadline=deadline,
            ).value
    return [patch.with_value(c, brought[c.value]) if c.needs_file else c for c in changes]


def _run_and_fetch(
    engine: Engine,
    prompt: Mapping[str, Any],
    graph: graphs.Graph,
    settings: Settings,
    deadline: float,
    watch: Stopwatch,
) -> tuple[RunResult, list[Delivered]]:
    """Queue, wait and fetch; once more when the server's cache named files that are gone."""
    result = _run(engine, prompt, deadline, watch)
    try:
        return result, _fetch_all(engine, result, graph, settings, watch)
    except OutputGone:
        savers = roles.prefixes(graph)
        if not savers:
            raise
    fresh = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in prompt.items()}
    for target in savers:
        old = target.node.inputs.get(target.name)
        if isinstance(old, str):
            fresh[target.node.id]["inputs"][target.name] = f"{old}_{uuid.uuid4().hex[:6]}"
    result = _run(engine, fresh, deadline, watch)
    return result, _fetch_all(engine, result, graph, settings, watch)


def _run(engine: Engine, prompt: Mapping[str, Any], deadline: float, watch: Stopwatch) -> RunResult:
    job = Job(prompt, str(uuid.uuid4()))
    try:
        with watch.time("queue"):
            queued = engine.queue(job)
        with queued, watch.time("wait"):
            return queued.wait(deadline, _tell_progress)
    except BaseException as error:
        if not isinstance(error, Exception):  # the caller's process is being stopped
            engine.cancel(job.prompt_id)
        raise


def _tell_progress(progress: Progress) -> None:
    if progress.stage == "queued" and progress.position:
        print(f"waiting in the queue behind {progress.position}", file=sys.stderr)


def _fetch_all(
    engine: Engine,
    result: RunResult,
    graph: graphs.Graph,
    settings: Settings,
    watch: Stopwatch,
) -> list[Delivered]:
    """Every output of every node; what was saved comes before mere previews."""
    ordered = sorted(result.outputs, key=lambda output: output.folder_type == "temp")
    with watch.time("fetch"):
        return [_deliver(engine, output, graph, settings) for output in ordered]


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


def _check_worth(result: RunResult, delivered: Sequence[Delivered]) -> None:
    """A run without any result is an error, whatever the server calls it."""
    if delivered:
        return
    if not result.complete:
        raise RunTimeout(
            f"The run is still going on at ComfyUI after this call's time limit (prompt id "
            f"{result.prompt_id}); nothing has come out yet.",
            "Its pictures will appear in ComfyUI's output folder. Ask for a smaller or simpler "
            'picture, or look with {"info": "queue"}.',
        )
    if result.node_errors:
        reasons = "; ".join(f"node {node}: {why}" for node, why in result.node_errors.items())
        raise RunFailed(f"Nothing came out of the run: {reasons}.", "Correct it and call again.")
    raise RunFailed(
        "The run ended well but gave no output.",
        "The node that saves may be muted or get an empty batch; look at the workflow in ComfyUI.",
    )


def _label(graph: graphs.Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    return node.label if node else node_id
