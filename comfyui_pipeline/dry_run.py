"""The answer of a call that is only checked: what would run, with which changes; nothing is queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfyui_pipeline import change_texts
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.text_result import text_result

MAX_LISTED = 30
"""Changes and output nodes that are listed."""


def report(context: CallContext, ready: PreparedJob) -> dict[str, Any]:
    """Return the host's ``result`` for a job that would run."""
    return text_result(
        "\n".join(_lines(context, ready)),
        workflow=ready.name,
        dry_run=True,
        runs=True,
        complete=False,
        outputs=[],
        seeds=ready.seeds,
        changes=[change_texts.fields(change) for change in ready.changes],
        guesses=list(ready.guesses),
        warnings=[*ready.important, *_skipped(ready), *ready.notes],
        notes=[*ready.important, *ready.notes],
        timings_ms=dict(context.watch.stages),
    )


def _lines(context: CallContext, ready: PreparedJob) -> Iterator[str]:
    key = context.call.spelled.get("dry_run", "dry_run")
    yield (
        f"Checked only ({key}): workflow {ready.name} would run. Nothing was queued or uploaded; "
        f'call again without "{key}" to run it.'
    )
    yield from (f"Note: {text}" for text in ready.important)
    yield f"- Would save or show: {'; '.join(_outputs(ready)) or 'nothing'}."
    changes = ready.changed
    if changes:
        more = f"; and {len(changes) - MAX_LISTED} more" if len(changes) > MAX_LISTED else ""
        yield f"- Would change: {'; '.join(changes[:MAX_LISTED])}{more}."
    if ready.guesses:
        yield f"- Understood as: {'; '.join(ready.guesses[:MAX_LISTED])}."
    if ready.seeds:
        seeds = ", ".join(dict.fromkeys(str(seed) for seed in ready.seeds.values()))
        given = "" if context.call.seed is not None else " (at random; the run chooses another one)"
        yield f"- Seed: {seeds}{given}."
    yield from (f"- Note: {text}" for text in (*_skipped(ready), *ready.notes))


def _outputs(ready: PreparedJob) -> list[str]:
    nodes = [n for n in ready.graph.nodes.values() if n.is_output_node and n.id in ready.job.prompt]
    return [node.label for node in nodes[:MAX_LISTED]]


def _skipped(ready: PreparedJob) -> list[str]:
    return [f"Would not run: {label}: {why}" for label, why in ready.skipped_outputs.items()]
