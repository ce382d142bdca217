"""Looking up a job."""

from __future__ import annotations

from typing import Any

from comfyui_pipeline.engine.comfyui import ComfyUI


def test_the_stage_of_a_job_is_unknown_ended_or_queued(engine: ComfyUI, fake: Any) -> None:
    assert engine.state("my-id").stage == "unknown"
    fake.script.history = {"my-id": {"status": {}, "outputs": {}}}
    assert engine.state("my-id").stage == "ended"
    fake.script.queue = {"queue_running": [], "queue_pending": [[1, "my-id", {}, {}, []]]}
    assert engine.state("my-id").stage == "queued"
