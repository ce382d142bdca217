"""Run the call with the ``.venv``'s Python if the host's Python is not suitable.

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
"""Environment variable of a Python that we started, so that it starts no other. Its value: the
seconds that the call had taken by then, which count for that Python's limits too."""
MARGIN_SECONDS = 1.0
"""That Python is killed this long before the host's limit."""
PERHAPS = 'A job that it queued may still be running at ComfyUI: check with {"info": "queue"}.'


def is_child() -> bool:
    """Whether this process was started by another Python of ours."""
    return GUARD in os.environ


def seconds_before_start() -> float:
    """Return the seconds that the call had taken before this process started."""
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
            return _no_response(f"could not be started ({type(error).__name__})")
        forward_to(child)
        try:
            printed, _ = child.communicate(raw, timeout=left)
        except subprocess.TimeoutExpired:
            late = True
            child.kill()
            printed, _ = child.communicate()
    response = last_response(printed)
    if response is not None:
        return response
    if signals.received is not None:
        return failure(f"The call was stopped before it finished. {PERHAPS}", CallStopped.code)
    if late:
        return failure(
            f"The project's own Python did not respond within this call's time limit. {PERHAPS}",
            DeadlineExceeded.code,
        )
    return _no_response(f"exited without a response (exit status {child.returncode})")


def _no_response(what: str) -> Response:
    return failure(
        f"The project's own Python {what}. Delete the folder .venv and run `python3 run.py demo` in "
        "the plugin's folder to set it up again.",
        PackagesMissing.code,
    )
