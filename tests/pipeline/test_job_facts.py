"""What a job keeps about its preparation, so that ``result`` of another process can repeat it."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline import job_facts
from comfyui_pipeline.bounded.truncate import json_size
from comfyui_pipeline.engine.protocol import Job
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.workflow import graph

PROMPT = {"3": {"class_type": "KSampler", "inputs": {"seed": 7}}}


def prepared(**fields: Any) -> PreparedJob:
    job = Job(PROMPT, "the-id", {"extra_pnginfo": {"workflow": {}}})
    return PreparedJob("fox", job, graph.build(PROMPT, {}), **fields)


def test_an_earlier_job_repeats_what_its_call_said() -> None:
    said: dict[str, Any] = {
        "changed": ("n = 4",),
        "guesses": ("a → b",),
        "important": ("a model stands in",),
        "notes": ("scaled",),
        "seed_origin": "random",
        "batch": 4,
        "known_seeds": {"3": 7},
    }
    kept = job_facts.remembered(prepared(**said))
    assert kept.job.extra_data.keys() == {"extra_pnginfo", job_facts.KEY}
    again = job_facts.earlier(kept.job)
    assert {name: getattr(again, name) for name in said} == said
    assert (again.name, again.named, again.earlier, again.seeds) == ("fox", True, True, {"3": 7})


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {job_facts.KEY: "x"},
        {job_facts.KEY: {"workflow": 5, "seed": ["x"], "batch": "4", "seeds": [1], "changed": "x"}},
        {job_facts.KEY: {"seeds": {"3": "7"}, "notes": [5, None]}},
    ],
)
def test_a_job_of_another_program_is_named_by_its_id(extra: dict[str, Any]) -> None:
    again = job_facts.earlier(Job(PROMPT, "the-id", extra))
    assert (again.name, again.named, again.changed) == ("of prompt id the-id", False, ())
    assert (again.seed_origin, again.batch, again.seeds, again.notes) == ("", 1, {}, ())


def test_what_is_kept_is_bounded() -> None:
    many = prepared(changed=tuple(f"input {i} = {'x' * 100}" for i in range(1000)))
    kept = job_facts.remembered(many).job.extra_data[job_facts.KEY]
    assert 1000 < json_size(kept["changed"]) < 2000
    long = job_facts.remembered(prepared(notes=("x" * 100_000,)))
    assert 1000 < json_size(long.job.extra_data[job_facts.KEY]["notes"]) < 2000
