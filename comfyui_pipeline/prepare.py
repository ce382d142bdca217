"""From a call to a job that can be queued: open, plan, download, patch, validate."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from comfyui_pipeline import load
from comfyui_pipeline.bounded import json_text
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.engine.protocol import Engine, Files, Job
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.load import LoadedWorkflow
from comfyui_pipeline.media import file_names, file_types, upload
from comfyui_pipeline.media.file_types import InputKind
from comfyui_pipeline.media.sources import AllowedFolders
from comfyui_pipeline.process import threads
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow import loras, patch, placeholders, roles, validate
from comfyui_pipeline.workflow.changes import Change, Plan
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, field, replace

MAX_PARALLEL = 10
Item = TypeVar("Item")
Made = TypeVar("Made")
MAX_RANDOM_SEED = 2**53 - 1
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


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job, and what is to be told of how it came about.

    ``refused``: label of an output that will not run -> why. ``notes``: what was put right.
    """

    name: str
    job: Job
    graph: Graph
    changes: tuple[Change, ...]
    guesses: tuple[str, ...]
    skipped_outputs: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def seeds(self) -> dict[str, Any]:
        """Node id -> the seed that runs there."""
        running = {t.node.id: t.node.inputs[t.name] for t in roles.seeds(self.graph)}
        return {node_id: seed for node_id, seed in running.items() if node_id in self.job.prompt}


def prepare(
    call: ToolCall, settings: Settings, engine: Engine, deadline: float, watch: Stopwatch
) -> PreparedJob:
    """Everything up to the queue. Raises WorkflowError, MediaError and EngineError's children."""
    drawn = random.randint(0, MAX_RANDOM_SEED)
    seed = drawn if call.seed is None else call.seed
    with watch.time("load"):
        found = load.find(call, settings, deadline)
    with watch.time("convert"):
        opened = load.read(found, settings, engine, seed=seed)
    opened, plan = _planned(call, settings, engine, opened, drawn)
    with watch.time("download"):
        changes, done = _bring_files(plan.changes, settings, engine, deadline, call.max_side)
    with watch.time("patch"):
        prompt = patch.apply(opened.prompt, changes)
    with watch.time("validate"):
        opened, checked = _checked(replace(opened, prompt=prompt), settings, engine)
    return PreparedJob(
        name=opened.name,
        job=Job(checked.prompt, str(uuid.uuid4()), _extra_data(opened, settings)),
        graph=opened.graph,
        changes=tuple(changes),
        guesses=plan.guesses,
        skipped_outputs=checked.skipped_outputs,
        notes=(*opened.notes, *done, *_ignored_keys(call, plan)),
    )


def _planned(
    call: ToolCall, settings: Settings, engine: Engine, opened: LoadedWorkflow, drawn: int
) -> tuple[LoadedWorkflow, Plan]:
    """Fill the template's places, add what LoRAs need, and plan every change.

    What does not fit is looked at once more beside the server's classes as they are now.
    """
    short = dict(call.shortcuts)
    tagged: list[loras.Lora] = []
    if "prompt" in short:
        short["prompt"], tagged = loras.from_prompt(short["prompt"])
    words = short.get("prompt", "")
    seed = drawn if call.seed is None else call.seed
    filled = placeholders.fill(opened.prompt, {**call.extras, **short, "seed": seed})
    opened = replace(opened, prompt=filled.nodes)
    short = {name: value for name, value in short.items() if name not in filled.used}
    wanted = tagged + loras.from_list(short.get("loras", ()))
    loras.check_count(wanted)
    if call.add_loras and len(wanted) > len(roles.lora_loaders(opened.graph)):
        opened = _with_loaders(opened, len(wanted), engine)
    prefix = file_names.prefix_from_words(words.replace("%", " "))

    def plan() -> Plan:
        return patch.plan(
            opened.graph, call, short, requested_loras=wanted, random_seed=drawn, prefix=prefix
        )

    try:
        return opened, plan()
    except PatchError:
        if not opened.from_cache:
            raise
    opened = load.with_fresh_schemas(opened, opened.from_cache, settings, engine)
    return opened, plan()


def _with_loaders(opened: LoadedWorkflow, wanted: int, engine: Engine) -> LoadedWorkflow:
    graph = opened.graph
    loaders = roles.lora_loaders(graph)
    known = {t.node.class_type: opened.schemas[t.node.class_type] for t in loaders}
    catalog = known or engine.catalog()
    more = wanted - len(loaders)
    prompt = loras.add_loaders(opened.prompt, graph, more, catalog)
    classes = {node["class_type"] for node in prompt.values()}
    schemas = {**{name: catalog[name] for name in classes & catalog.keys()}, **opened.schemas}
    return replace(opened, prompt=prompt, schemas=schemas)


def _checked(
    opened: LoadedWorkflow, settings: Settings, engine: Engine
) -> tuple[LoadedWorkflow, validate.Checked]:
    """The part of the prompt that can run; a remembered class is not trusted in what it refuses."""
    wrong = validate.problems(opened.graph, opened.schemas, opened.origin)
    doubtful = {p.node.class_type for p in wrong if p.maybe_stale} & opened.from_cache
    if doubtful:
        opened = load.with_fresh_schemas(opened, doubtful, settings, engine)
        wrong = validate.problems(opened.graph, opened.schemas, opened.origin)
    return opened, validate.check(opened.graph, opened.prompt, wrong)


def _extra_data(opened: LoadedWorkflow, settings: Settings) -> dict[str, Any]:
    """What travels beside the prompt: the editor's document, so that a result can be dragged back
    into it (it is written into saved pictures), and the key that paid partner nodes need.
    """
    extra: dict[str, Any] = {}
    if opened.ui is not None:
        extra["extra_pnginfo"] = {"workflow": json_text.nan_to_null(opened.ui)}
    if settings.comfy_api_key:
        extra["api_key_comfy_org"] = settings.comfy_api_key
    return extra


def _ignored_keys(call: ToolCall, plan: Plan) -> Iterator[str]:
    yield from (warning for key, warning in call.ignored.items() if key not in plan.used_keys)


def _bring_files(
    changes: Sequence[Change],
    settings: Settings,
    engine: Engine,
    deadline: float,
    max_side: int | None,
) -> tuple[list[Change], list[str]]:
    """Each file that a change names, brought to the server side by side; and what was done to them.

    The changes then hold the files' names there.
    """
    placing = _Placing(engine.files, load.allowed_folders(settings), settings, deadline, max_side)
    wanted = list(dict.fromkeys(_file_of(change) for change in changes if change.needs_file))
    placed = dict(zip(wanted, _side_by_side(placing.file, wanted), strict=True))
    made = [patch.with_value(c, placed[_file_of(c)].value) if c.needs_file else c for c in changes]
    masked = [change for change in made if change.mask is not None]
    values = _side_by_side(placing.mask, masked)
    laid = {id(c): patch.with_value(c, v) for c, v in zip(masked, values, strict=True)}
    notes = [note for one in placed.values() for note in one.notes]
    return [laid.get(id(change), change) for change in made], notes


@dataclass(frozen=True, slots=True)
class _Placing:
    """Where files go, and under which limits."""

    files: Files
    places: AllowedFolders
    settings: Settings
    deadline: float
    max_side: int | None

    def file(self, wanted: tuple[str, InputKind]) -> upload.PlacedFile:
        value, kind = wanted
        return upload.place(
            value,
            self.files,
            self.places,
            load.download_policy(self.settings, file_types.MAX_BYTES[kind]),
            wanted=kind,
            max_side=self.max_side,
            input_dir=self.settings.server_input_dir,
            deadline=self.deadline,
            memory=self.settings.memory,
        )

    def mask(self, change: Change) -> str:
        policy = load.download_policy(self.settings)
        return upload.place_masked(
            change.mask or "",
            str(change.value),
            self.files,
            self.places,
            policy,
            self.deadline,
            self.settings.memory,
        ).value


def _side_by_side(bring: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """The time is that of the slowest; the first failure counts, and stops what has not begun."""
    if not items:
        return []
    pool = ThreadPoolExecutor(min(MAX_PARALLEL, len(items)))
    try:
        futures = [pool.submit(bring, item) for item in items]
        threads.wait_for(futures)
        done = [future for future in futures if future.done()]  # of which one may have failed
        return [future.result() for future in (done if len(done) < len(futures) else futures)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _file_of(change: Change) -> tuple[str, InputKind]:
    """What a change names, and the kind of file that its input takes."""
    return change.value, change.file_kind
