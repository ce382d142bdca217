"""The record of a call: what it has queued, and what is cancelled when it is stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comfyui_pipeline.call_record import CANCELLED, ENDED, NOT_AVAILABLE, QUEUED, SENT, CallRecord


@pytest.mark.parametrize(
    ("state", "asked", "afterwards"),
    [
        (SENT, True, SENT),  # whether it arrived is not known
        (QUEUED, True, CANCELLED),
        (ENDED, False, ENDED),
        (CANCELLED, False, CANCELLED),
        (NOT_AVAILABLE, False, NOT_AVAILABLE),
    ],
)
def test_a_stopped_call_cancels_jobs_that_may_be_queued(
    state: str, asked: bool, afterwards: str
) -> None:
    record, stopped = CallRecord(), set[str]()

    def cancelling(name: str) -> Callable[[], bool]:
        def cancel() -> bool:
            stopped.add(name)
            return True

        return cancel

    jobs = [
        record.add_job("own", cancelling("own")),
        record.part("Part 1").add_job("a part's", cancelling("a part's")),
    ]
    for job in jobs:
        job.state = state
    record.cancel()
    assert stopped == ({"own", "a part's"} if asked else set())
    assert [job.state for job in jobs] == [afterwards] * 2
