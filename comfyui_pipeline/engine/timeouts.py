"""A call into a network library that ends in time, whatever the other side does.

The libraries' own timeouts count from byte to byte: a server that sends a byte a second keeps a read
of a header, a body or a handshake going for ever, and looking up a name has no timeout at all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Late(Exception):
    """The call had not returned in time; it is left to itself."""


class _Outcome(Generic[T]):
    """What a thread hands over, unless nobody waits for it any more."""

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
        except BaseException as error:  # handed to the one who waits
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
            raise Late
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
    """What ``work`` returns or raises, run in a thread of its own.

    Raises Late when that takes longer than ``seconds``. Then, or when a signal ends the waiting,
    ``interrupt`` is called, which may end the work, and a result that still comes goes to
    ``discard``, which closes what is open.
    """
    outcome = _Outcome(work, discard, interrupt)
    threading.Thread(target=outcome.run, name="timed call", daemon=True).start()
    return outcome.get(seconds)
