"""What an answer says about the preparation of a job, kept in the job itself.

The command ``result`` may run in another process and long after ``submit``; ComfyUI returns the
``extra_data`` of a job with its queue and its history. Everybody who can use the server can read it,
so it holds nothing that the job's answer does not say: no URL of an input file, no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfyui_pipeline import delivery
from comfyui_pipeline.bounded.truncate import json_size, truncate
from comfyui_pipeline.engine.protocol import Job
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.workflow import graph as graphs
from input_server.light_dataclasses import replace

KEY = "comfyui_plugin"
"""In ``extra_data``."""
TEXTS = ("changed", "guesses", "important", "notes")
MAX_BYTES = 1_500
"""Bytes of all texts of one kind."""
MAX_TEXTS = 50
MAX_NAME = 200
MAX_SEEDS = 100


def remembered(ready: PreparedJob) -> PreparedJob:
    """The job with what ``earlier`` reads from it."""
    facts: dict[str, Any] = {
        "workflow": ready.name[:MAX_NAME],
        "seed": ready.seed_origin,
        "seeds": dict(list(ready.seeds.items())[:MAX_SEEDS]),
        "batch": ready.batch,
        "delivery": delivery.kept_fields(ready.delivery),
        **{name: _bounded(getattr(ready, name)) for name in TEXTS},
    }
    kept = {name: value for name, value in facts.items() if value}
    return replace(ready, job=replace(ready.job, extra_data={**ready.job.extra_data, KEY: kept}))


def earlier(job: Job) -> PreparedJob:
    """A job of an earlier call, perhaps of another program, as it was prepared."""
    graph = graphs.build(job.prompt, {})
    unknown = PreparedJob(f"of prompt id {job.prompt_id}", job, graph, earlier=True, named=False)
    facts = job.extra_data.get(KEY)
    if not isinstance(facts, Mapping):
        return unknown
    name, seed, batch = facts.get("workflow"), facts.get("seed"), facts.get("batch")
    seeds = facts.get("seeds")
    named = isinstance(name, str) and bool(name)
    return replace(
        unknown,
        name=str(name)[:MAX_NAME] if named else unknown.name,
        named=named,
        seed_origin=seed if seed in ("given", "random") else "",
        batch=batch if type(batch) is int else 1,
        known_seeds=_seeds(seeds),
        delivery=delivery.read(facts.get("delivery")),
        changed=_bounded(_texts(facts.get("changed"))),
        guesses=_bounded(_texts(facts.get("guesses"))),
        important=_bounded(_texts(facts.get("important"))),
        notes=_bounded(_texts(facts.get("notes"))),
    )


def _seeds(value: Any) -> dict[str, Any]:
    found = value.items() if isinstance(value, Mapping) else ()
    return {str(node): seed for node, seed in list(found)[:MAX_SEEDS] if type(seed) is int}


def _texts(value: Any) -> list[str]:
    return (
        [text for text in value if isinstance(text, str)]
        if isinstance(value, (list, tuple))
        else []
    )


def _bounded(texts: Iterable[str]) -> tuple[str, ...]:
    """The first of the texts that fit, and at least the beginning of the first."""
    kept: list[str] = []
    room = MAX_BYTES
    for text in texts:
        room -= json_size(text)
        if len(kept) >= MAX_TEXTS or (room < 0 and kept):
            break
        kept.append(truncate(text, MAX_BYTES))
    return tuple(kept)
