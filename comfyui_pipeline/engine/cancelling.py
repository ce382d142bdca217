"""Cancel one job, and no other: also at a server whose ``/interrupt`` knows no ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from comfyui_pipeline.engine import responses
from comfyui_pipeline.engine.http import Http
from comfyui_pipeline.engine.lookup import Lookup
from comfyui_pipeline.engine.protocol import Cancellation
from comfyui_pipeline.errors import EngineError

REQUEST_SECONDS = 5.0
"""How long each request may take."""


def cancel(http: Http, prompt_id: str, log: Callable[[str], None]) -> Cancellation:
    """Delete a job while it waits, interrupt it while it runs; see ``protocol.Engine.cancel``.

    ``/api/jobs/<id>/cancel`` does both at once where the server has it (since June 2026). Otherwise
    the job is interrupted only when the queue says that it is the one that runs: a server of before
    September 2025 ignores the id in ``/interrupt`` and stops whatever runs.
    """
    lookup = Lookup(http, lambda path: http.once("GET", path, seconds=REQUEST_SECONDS))
    try:
        if _by_job_route(http, prompt_id, log) is None:
            _accepted(http, "/queue", {"delete": [prompt_id]})
            if lookup.queue().is_running(prompt_id):
                _accepted(http, "/interrupt", {"prompt_id": prompt_id})
        return _result(lookup, prompt_id)
    except EngineError as error:
        log(f"cancelling failed: {error}")
        return "unknown"


def _by_job_route(http: Http, prompt_id: str, log: Callable[[str], None]) -> bool | None:
    """Whether the route cancelled a job; None for a server without it."""
    path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
    try:
        reply = http.once("POST", path, json_body={}, seconds=REQUEST_SECONDS)
        return http.value(reply, path, responses.is_cancelled) if reply.status == 200 else None
    except EngineError as error:
        log(f"/api/jobs/…/cancel failed: {error}")
        return None


def _accepted(http: Http, path: str, body: Any) -> None:
    reply = http.once("POST", path, json_body=body, seconds=REQUEST_SECONDS)
    if reply.status >= 400:
        raise http.unexpected(reply.status, path)


def _result(lookup: Lookup, prompt_id: str) -> Cancellation:
    """What the server says about the job now."""
    state = lookup.state(prompt_id)
    if state.stage in ("queued", "running"):
        return "requested"
    return "ended" if state.ending in ("success", "failed") else "stopped"
