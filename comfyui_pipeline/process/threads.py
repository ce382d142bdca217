"""Wait for futures without delaying signals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any

from comfyui_pipeline.process.parallel import MAX_WAIT_SECONDS


def wait_for(futures: Iterable[Future[Any]], until: float = float("inf")) -> None:
    """Return when all are done, one has failed or been cancelled, or at ``until`` (``time.monotonic()``)."""
    waiting = list(futures)
    while waiting and (left := until - time.monotonic()) > 0:
        done, _ = wait(waiting, min(MAX_WAIT_SECONDS, left), return_when=FIRST_EXCEPTION)
        if any(future.cancelled() or future.exception() for future in done):
            return
        waiting = [future for future in waiting if future not in done]
