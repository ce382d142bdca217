"""The record of a call: what it has queued, and what is cancelled when it is stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comfyui_pipeline.call_record import (
    CANCELLED,
    ENDED,
    NOT_AVAILABLE,
    QUEUED,
    SENT,
    STOPPING,
    CallRecord,
)


@pytest.mark.parametrize(
    ("state", "said", "afterwards"),
    [
        (SENT, "stopped", SENT),  # whether it arrived is not known
        (QUEUED, "stopped", CANCELLED),
        (QUEUED, "requested", STOPPING),  # it stops at its next step only
        (QUEUED, "ended", ENDED),
        (QUEUED, "unknown", QUEUED),
        (ENDED, "", ENDED),
        (CANCELLED, "", CANCELLED),
        (NOT_AVAILABLE, "", NOT_AVAILABLE),
    ],
)
def test_a_stopped_call_cancels_jobs_that_may_be_queued(
    state: str, said: str, afterwards: str
) -> None:
    record, stopped = CallRecord(), set[str]()

    def cancelling(name: str) -> Callable[[], str]:
        def cancel() -> str:
            stopped.add(name)
            return said

        return cancel

    jobs = [
        record.add_job("own", cancelling("own")),
        record.part("Part 1").add_job("a part's", cancelling("a part's")),
    ]
    for job in jobs:
        job.state = state
    record.cancel()
    assert stopped == ({"own", "a part's"} if said else set())
    assert [job.state for job in jobs] == [afterwards] * 2
