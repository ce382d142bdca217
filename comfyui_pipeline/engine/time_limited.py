"""A time limit for a call into a library that has none, by running it in a thread.

The timeouts of network libraries count from byte to byte: a server that sends a byte a second holds a
read of a header, a body or a handshake for ever, and resolving a host name has no timeout at all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """The time for this is over; a thread that still works on it is left alone."""


class _Outcome(Generic[T]):
    """What a thread hands over, unless its caller has stopped waiting."""

    def __init__(
        self, work: Callable[[], T], discard: Callable[[T], None], interrupt: Callable[[], None]
    ) -> None:
        self._work = work
        self._interrupt = interrupt
        self._discard = discard
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._abandoned = False

    def run(self) -> None:
        try:
            result = self._work()
        except BaseException as error:  # raised again by ``get``
            self._error = error
        else:
            with self._lock:
                self._result.append(result)
                late = self._abandoned
            if late:
                self._discard(result)
        self._done.set()

    def get(self, seconds: float) -> T:
        in_time = False
        try:
            in_time = self._done.wait(None if math.isinf(seconds) else max(0.0, seconds))
        finally:  # also when a signal ends the waiting
            if not in_time:
                self._abandon()
        if not in_time:
            raise OutOfTime
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            arrived = list(self._result)
        self._interrupt()
        for result in arrived:
            self._discard(result)


def within(
    seconds: float,
    work: Callable[[], T],
    *,
    discard: Callable[[T], None] = lambda result: None,
    interrupt: Callable[[], None] = lambda: None,
) -> T:
    """Run ``work`` in a thread; return or raise what it does.

    Raises OutOfTime after ``seconds``. Then, or when a signal ends the waiting, ``interrupt`` is
    called, which may end the work, and a result that arrives later goes to ``discard``, which closes
    what is open.
    """
    outcome = _Outcome(work, discard, interrupt)
    threading.Thread(target=outcome.run, name="timed call", daemon=True).start()
    return outcome.get(seconds)
