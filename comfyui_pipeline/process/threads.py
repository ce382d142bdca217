"""Waiting for threads so that a signal is heard."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any

MAX_WAIT_SECONDS = 0.5
"""Seconds of one wait. Python runs a signal's handler in the main thread between two steps of it: one
that arrives just before a wait without a limit is heard only when that wait ends."""


def wait_for(futures: Iterable[Future[Any]], until: float = float("inf")) -> None:
    """Return when all are done, when one has failed, or at ``until`` (``time.monotonic()``)."""
    waiting = list(futures)
    while waiting and (left := until - time.monotonic()) > 0:
        done, _ = wait(waiting, min(MAX_WAIT_SECONDS, left), return_when=FIRST_EXCEPTION)
        if any(future.cancelled() or future.exception() for future in done):
            return
        waiting = [future for future in waiting if future not in done]
