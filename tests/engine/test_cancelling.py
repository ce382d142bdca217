"""Cancelling: the job that is meant, no other, and "cancelled" only when it is."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.engine.comfyui import ComfyUI
from tests.engine.scripted import GOOD, PROMPT, history


def queue_of(*, running: str = "", pending: str = "") -> dict[str, Any]:
    return {
        "queue_running": [[1, running, PROMPT, {}, []]] if running else [],
        "queue_pending": [[2, pending, PROMPT, {}, []]] if pending else [],
    }


@pytest.mark.parametrize("found", [queue_of(), queue_of(running="another"), queue_of(pending="x")])
def test_a_job_that_does_not_run_is_never_interrupted(
    engine: ComfyUI, fake: Any, found: dict[str, Any]
) -> None:
    """A server of before September 2025 ignores the id in /interrupt and stops whatever runs."""
    fake.script.queue = found
    engine.cancel("x")
    assert "/interrupt" not in fake.script.requested_paths
    assert fake.script.cancelled == ["x", ""]  # the body of POST /queue


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (404, b""), (405, b""), (502, b"")])
def test_a_running_job_is_interrupted_by_id_where_the_server_has_no_job_route(
    engine: ComfyUI, fake: Any, status: int, body: bytes
) -> None:
    fake.script.broken = {"/api/jobs": (status, body)}
    fake.script.queue = queue_of(running="x")
    assert engine.cancel("x") == "requested"
    paths = fake.script.requested_paths
    assert paths[:4] == ["/api/jobs/x/cancel", "/queue", "/queue", "/interrupt"]
    assert fake.script.cancelled[-1] == "x"


def test_the_job_route_is_enough_where_the_server_has_it(engine: ComfyUI, fake: Any) -> None:
    fake.script.broken = {"/api/jobs": (200, {"cancelled": True})}
    fake.script.queue = queue_of(running="x")
    assert engine.cancel("x") == "requested"
    assert fake.script.requested_paths == ["/api/jobs/x/cancel", "/queue"]


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        ({}, "stopped"),  # deleted while it waited
        (history("execution_interrupted", status="error"), "stopped"),
        (GOOD, "ended"),
        (history("execution_error", status="error"), "ended"),
    ],
)
@pytest.mark.parametrize("has_route", [True, False])
def test_what_became_of_a_job_is_what_the_server_says(
    engine: ComfyUI, fake: Any, entry: dict[str, Any], result: str, has_route: bool
) -> None:
    if has_route:
        fake.script.broken = {"/api/jobs": (200, {"cancelled": False})}
    fake.script.history = {"x": entry["ID"]} if entry else {}
    assert engine.cancel("x") == result


def test_a_server_that_does_not_answer_leaves_it_unknown(engine: ComfyUI, fake: Any) -> None:
    fake.script.broken = {"/queue": (500, b"")}
    assert engine.cancel("x") == "unknown"
    assert "/interrupt" not in fake.script.requested_paths
