"""Waiting for threads ends for a failure, a limit and a signal."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from comfyui_pipeline.process import threads
from comfyui_pipeline.process.parallel import run_parallel


def test_waiting_ends_when_all_are_done_when_one_fails_and_at_its_limit() -> None:
    open_ones: list[Future[int]] = [Future(), Future()]
    threads.wait_for(open_ones, time.monotonic() - 1)
    open_ones[1].set_exception(KeyError())
    threads.wait_for(open_ones)  # would wait for ever
    done: Future[int] = Future()
    done.set_result(1)
    threads.wait_for([done, done])
    threads.wait_for([])
    assert threads.MAX_WAIT_SECONDS <= 1  # so long a signal may wait


def test_the_first_failure_ends_the_work_side_by_side() -> None:
    leave = threading.Event()

    def bring(number: int) -> int:
        if number == 1:
            raise KeyError(number)
        leave.wait(60)
        return number

    with pytest.raises(KeyError):
        run_parallel(bring, [0, 1, 2], 3)
    leave.set()
    assert run_parallel(lambda n: n * 2, [1, 2, 3], 2) == [2, 4, 6]
