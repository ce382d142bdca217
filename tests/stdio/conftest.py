"""The fake server, and the end of all processes that a test started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faulty import fake
from tests.stdio.processes import STARTED

__all__ = ["fake"]


@pytest.fixture(autouse=True)
def kill_started_processes() -> Iterator[None]:
    """Kill the processes that a failed test has left."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()
