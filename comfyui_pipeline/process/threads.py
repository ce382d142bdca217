"""Wait for threads without delaying signals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any

MAX_WAIT_SECONDS = 0.5
"""Seconds of one wait. Python runs signal handlers in the main thread between instructions: a signal
just before a wait without a timeout would be handled only after that wait."""


def wait_for(futures: Iterable[Future[Any]], until: float = float("inf")) -> None:
    """Return when all are done, one has failed or been cancelled, or at ``until`` (``time.monotonic()``)."""
    waiting = list(futures)
    while waiting and (left := until - time.monotonic()) > 0:
        done, _ = wait(waiting, min(MAX_WAIT_SECONDS, left), return_when=FIRST_EXCEPTION)
        if any(future.cancelled() or future.exception() for future in done):
            return
        waiting = [future for future in waiting if future not in done]
