"""Lets the ``.venv``'s Python answer in place of the host's, which does not fit.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.errors import CallStopped, DeadlineExceeded, PackagesMissing
from comfyui_pipeline.process.stdout import failure, last_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfyui_pipeline.process.signals import Signals
    from comfyui_pipeline.process.stdout import Response

GUARD = "COMFYUI_PLUGIN_OWN_PYTHON"
"""Set in the environment of a Python that we started ourselves, so that it starts no other. Its
value: the seconds that the call had taken by then, which count for that Python's limits too."""
MARGIN_SECONDS = 1.0
"""How long before the host's limit that Python is given up."""
PERHAPS = (
    'If it had queued a run, that may still be going on at ComfyUI: look with {"info": "queue"}.'
)


def is_child() -> bool:
    """Whether this process answers in place of another one of ours."""
    return GUARD in os.environ


def seconds_before_start() -> float:
    """How long the call had taken before this process began."""
    try:
        seconds = finite(float(os.environ.get(GUARD, "0")[:40]))
    except ValueError:
        seconds = None
    return min(max(seconds or 0.0, 0.0), 3600.0)


def answer_with(
    command: Sequence[str],
    raw: bytes,
    signals: Signals,
    host_deadline: float,
    started: float,
) -> Response:
    """Run ``command`` (another Python with our entry point) with this call; return its response.

    Signals are forwarded to it, so that it cancels its job and responds. It is killed shortly before
    ``host_deadline``. ``started``: when the call began (both ``time.monotonic()``).
    """
    import subprocess

    begun = time.monotonic()
    environment = dict(os.environ)
    environment[GUARD] = f"{begun - started:.3f}"
    late = False
    left = max(1.0, host_deadline - MARGIN_SECONDS - begun)
    with signals.forwarded() as forward_to:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        except OSError as error:
            return _no_answer(f"could not be started ({type(error).__name__})")
        forward_to(child)
        try:
            printed, _ = child.communicate(raw, timeout=left)
        except subprocess.TimeoutExpired:
            late = True
            child.kill()
            printed, _ = child.communicate()
    envelope = last_response(printed)
    if envelope is not None:
        return envelope
    if signals.received is not None:
        return failure(f"The call was stopped before it finished. {PERHAPS}", CallStopped.code)
    if late:
        return failure(
            f"The project's own Python did not respond within this call's time limit. {PERHAPS}",
            DeadlineExceeded.code,
        )
    return _no_answer(f"ended without an answer (exit status {child.returncode})")


def _no_answer(what: str) -> Response:
    return failure(
        f"The project's own Python {what}. Delete the folder .venv and run `python3 run.py demo` in "
        "the plugin's folder to set it up again.",
        PackagesMissing.code,
    )
