"""Run a few calls at the same time, without importing ``concurrent.futures`` (and ``logging``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

MAX_WAIT_SECONDS = 0.5
"""Seconds of one wait. Python runs signal handlers in the main thread between instructions: a signal
just before a wait without a timeout would be handled only after that wait."""
T = TypeVar("T")
R = TypeVar("R")


def run_parallel(work: Callable[[T], R], items: Iterable[T], limit: int) -> list[R]:
    """``[work(item) for item in items]``, at most ``limit`` at a time; a single item needs no thread.

    Raises the first exception that occurs, at once: what has not started by then is not started, and
    what runs is left to end by itself.
    """
    todo = list(enumerate(items))
    if len(todo) < 2:
        return [work(item) for _, item in todo]
    results: dict[int, Any] = {}
    errors: list[BaseException] = []
    count = len(todo)
    todo.reverse()
    changed = threading.Condition()

    def run() -> None:
        while True:
            with changed:
                if not todo or errors:
                    return
                index, item = todo.pop()
            try:
                result = work(item)
            except BaseException as error:  # raised again below
                with changed:
                    errors.append(error)
                    changed.notify()
                return
            with changed:
                results[index] = result
                changed.notify()

    for _ in range(min(limit, count)):
        threading.Thread(target=run, name="parallel call", daemon=True).start()
    try:
        with changed:
            while not errors and len(results) < count:
                changed.wait(MAX_WAIT_SECONDS)
    finally:  # also when a signal ends the waiting
        todo.clear()
    if errors:
        raise errors[0]
    return [results[index] for index in range(count)]
