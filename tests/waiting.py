"""The time limit of everything that tests wait for, and how they wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

TIMEOUT = 120.0
"""Seconds that a test waits for anything: an answer, a child process, a condition. Nothing takes a
tenth of it on a quiet machine; with twenty busy processes on two cores everything takes ten times as
long. It bounds hangs and says nothing of speed, so it stays below pytest's own limit (pyproject.toml).
"""


def wait_until(look: Callable[[], Seen], what: str = "it never came true") -> Seen:
    """Return the first true value of ``look``, which is called repeatedly for at most ``TIMEOUT``.

    For what gives no event to wait for: another process, a file, the system's own tables. Raises
    AssertionError with ``what``.
    """
    end = time.monotonic() + TIMEOUT
    while not (seen := look()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return seen


def with_more_time(check: Callable[[float], None], *seconds: float) -> None:
    """Run a check whose subject is a time limit, with the first limit under which it passes.

    A busy machine may reach a short limit before it has come to what the check is about; only the
    last limit counts. ``check`` starts from the beginning each time.
    """
    for limit in seconds[:-1]:
        try:
            return check(limit)
        except AssertionError:
            continue
    return check(seconds[-1])
