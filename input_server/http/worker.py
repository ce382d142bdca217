"""What a worker process of granian sets up before it serves."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading

from .metrics_dir import remove_shared_metrics_dir


def prepare_worker(workers: int) -> None:
    """Make this worker handle signals at once and end with its parent."""
    _leave_signals_to_granian()
    _end_with_parent(workers)


def _leave_signals_to_granian() -> None:
    """Make granian handle signals itself, as it does where the loop cannot (its ``_signals.py``).

    asyncio learns of a signal by a byte in a socket. Under load that socket is full and the byte is
    lost: the worker would not stop and be killed after ``STOP_SECONDS``.
    """

    def refuse(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_event_loop()  # set by granian, not running yet
    loop.add_signal_handler = refuse  # type: ignore[method-assign, assignment]


def _end_with_parent(workers: int) -> None:
    """End this process when its parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        remove_shared_metrics_dir(workers)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
