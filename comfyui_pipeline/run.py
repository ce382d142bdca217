"""The pipeline: load, download, patch, validate, queue, wait, fetch, report. One direction."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from comfyui_pipeline import opening, report
from comfyui_pipeline.engine.base import Engine, Job, Output, Progress, RunResult
from comfyui_pipeline.errors import MediaError, OutputGone, PatchError, RunFailed, RunTimeout
from comfyui_pipeline.media import kinds, place, preview, store
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.opening import Opened
from comfyui_pipeline.report import Delivered, Report
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.tool_call import ToolCall
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow import loras, patch, roles, templates, validate

SIDE_BY_SIDE = 10
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
    drawn = random.randint(0, HIGHEST_DRAWN_SEED)
    with watch.time("load"):
        found = opening.find(call, settings, deadline)
    with watch.time("convert"):
        opened = opening.read(
            found, settings, engine, seed=drawn if call.seed is None else call.seed
        )
    opened, plan = _planned(call, settings, engine, opened, drawn)
    with watch.time("download"):
        changes, done = _bring_files(plan.changes, settings, engine, deadline, call.max_side)
    with watch.time("patch"):
        prompt = patch.apply(opened.prompt, changes)
    with watch.time("validate"):
        opened, checked = _checked(replace(opened, prompt=prompt), settings, engine)
    graph = opened.graph
    job = Job(checked.prompt, str(uuid.uuid4()), _extra_data(opened))
    result, delivered = _run_and_fetch(engine, job, graph, settings, deadline, watch)
    result = replace(
        result,
        node_errors={_label(graph, i): why for i, why in result.node_errors.items()}
        | dict(checked.refused),
    )
    _check_worth(result, delivered)
    with watch.time("preview"):
        shown = _shown(delivered, call.return_image or settings.return_image)
    running = {t.node.id: t.node.inputs[t.name] for t in roles.seeds(graph)}
    return report.tell(
        Report(
            workflow=opened.name,
            prompt_id=result.prompt_id,
            complete=result.complete,
            outputs=tuple(delivered),
            changes=tuple(changes),
            guesses=plan.guesses,
            seeds={i: seed for i, seed in running.items() if i in checked.prompt},
            node_errors=result.node_errors,
            notes=(*opened.notes, *done, *_doubts(call, plan), *_cuts(shown)),
            pictures=shown.pictures,
            cached=bool(result.cached) and all(o.node_id in result.cached for o in result.outputs),
            timings_ms={**watch.stages, "total": round((time.monotonic() - started) * 1000)},
        ),
        settings,
    )


def _planned(
    call: ToolCall, settings: Settings, engine: Engine, opened: Opened, drawn: int
) -> tuple[Opened, patch.Plan]:
    """Fill the template's places, add what LoRAs need, and plan every change.

    What does not fit is looked at once more beside the server's classes as they are now.
    """
    short = dict(call.short)
    tagged: list[loras.Lora] = []
    if "prompt" in short:
        short["prompt"], tagged = loras.from_prompt(short["prompt"])
    words = short.get("prompt", "")
    seed = drawn if call.seed is None else call.seed
    filled = templates.fill(opened.prompt, {**call.extras, **short, "seed": seed})
    opened = replace(opened, prompt=filled.nodes)
    short = {name: value for name, value in short.items() if name not in filled.used}
    wanted = tagged + loras.from_list(short.get("loras", ()))
    if call.add_loras and len(wanted) > len(roles.lora_loaders(opened.graph)):
        opened = _with_loaders(opened, len(wanted), engine)
    prefix = store.prefix_from_words(words.replace("%", " "))

    def plan() -> patch.Plan:
        return patch.plan(
            opened.graph, call, short, wanted_loras=wanted, drawn_seed=drawn, prefix=prefix
        )

    try:
        return opened, plan()
    except PatchError:
        if not opened.remembered:
            raise
    opened = opening.renewed(opened, opened.remembered, settings, engine)
    return opened, plan()


def _with_loaders(opened: Opened, wanted: int, engine: Engine) -> Opened:
    graph = opened.graph
    loaders = roles.lora_loaders(graph)
    known = {t.node.class_type: opened.schemas[t.node.class_type] for t in loaders}
    catalog = known or engine.catalog()
    more = wanted - len(loaders)
    prompt = loras.add_loaders(opened.prompt, graph, more, catalog)
    classes = {node["class_type"] for node in prompt.values()}
    schemas = {**{name: catalog[name] for name in classes & catalog.keys()}, **opened.schemas}
    return replace(opened, prompt=prompt, schemas=schemas)


def _checked(opened: Opened, settings: Settings, engine: Engine) -> tuple[Opened, validate.Checked]:
    """The part of the prompt that can run; a remembered class is not trusted in what it refuses."""
    wrong = validate.problems(opened.graph, opened.schemas, opened.origin)
    doubtful = {p.node.class_type for p in wrong if p.stale} & opened.remembered
    if doubtful:
        opened = opening.renewed(opened, doubtful, settings, engine)
        wrong = validate.problems(opened.graph, opened.schemas, opened.origin)
    return opened, validate.check(opened.graph, opened.prompt, wrong)


def _extra_data(opened: Opened) -> dict[str, Any]:
    """With the editor's document a result can be dragged back into it (SaveImage writes it in)."""
    return {"extra_pnginfo": {"workflow": opened.ui}} if opened.ui is not None else {}


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


def _doubts(call: ToolCall, plan: patch.Plan) -> Iterator[str]:
    yield from (told for key, told in call.doubts.items() if key not in plan.used_keys)


def _bring_files(
    changes: Sequence[patch.Change],
    settings: Settings,
    engine: Engine,
    deadline: float,
    max_side: int | None,
) -> tuple[list[patch.Change], list[str]]:
    """Each file that a change names, brought to the server side by side; and what was done to them.

    The changes then hold the files' names there.
    """
    places = opening.places_of(settings)
    policy = DownloadPolicy(allow=settings.download_allow)

    def bring(wanted: tuple[str, Any]) -> place.Placed:
        return place.place(
            wanted[0],
            engine,
            places,
            replace(policy, max_bytes=kinds.MAX_BYTES[wanted[1]]),
            wanted=wanted[1],
            max_side=max_side,
            input_dir=settings.server_input_dir,
            deadline=deadline,
        )

    wanted = list(dict.fromkeys(_file_of(change) for change in changes if change.needs_file))
    if not wanted:
        return list(changes), []
    pool = ThreadPoolExecutor(min(SIDE_BY_SIDE, len(wanted)))
    try:
        placed = dict(zip(wanted, pool.map(bring, wanted), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    made = [patch.with_value(c, placed[_file_of(c)].value) if c.needs_file else c for c in changes]
    return made, [one.note for one in placed.values() if one.note]


def _file_of(change: patch.Change) -> tuple[str, Any]:
    spec = change.target.spec
    return change.value, (spec.file_kind if spec else None) or "image"


def _run_and_fetch(
    engine: Engine,
    job: Job,
    graph: graphs.Graph,
    settings: Settings,
    deadline: float,
    watch: Stopwatch,
) -> tuple[RunResult, list[Delivered]]:
    """Queue, wait and fetch; once more when the server's cache named files that are gone."""
    result = _run(engine, job, deadline, watch)
    try:
        return result, _fetch_all(engine, result, graph, settings, watch)
    except OutputGone:
        savers = roles.prefixes(graph)
        if not savers:
            raise
    fresh = {i: {**node, "inputs": dict(node["inputs"])} for i, node in job.prompt.items()}
    for target in savers:
        old = target.node.inputs.get(target.name)
        if isinstance(old, str) and target.node.id in fresh:
            fresh[target.node.id]["inputs"][target.name] = f"{old}_{uuid.uuid4().hex[:6]}"
    again = Job(fresh, str(uuid.uuid4()), job.extra_data)
    result = _run(engine, again, deadline, watch)
    return result, _fetch_all(engine, result, graph, settings, watch)


def _run(engine: Engine, job: Job, deadline: float, watch: Stopwatch) -> RunResult:
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
        reasons = "; ".join(f"{node}: {why}" for node, why in result.node_errors.items())
        raise RunFailed(f"Nothing came out of the run: {reasons}.", "Correct it and call again.")
    raise RunFailed(
        "The run ended well but gave no output.",
        "The node that saves may be muted or get an empty batch; look at the workflow in ComfyUI.",
    )


def _label(graph: graphs.Graph, node_id: str) -> str:
    node = graph.nodes.get(node_id)
    return node.label if node else node_id
