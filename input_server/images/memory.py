"""A memory budget that the images rendered at the same time share."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..light_dataclasses import dataclass

DEFAULT_IMAGE_MB = 220
"""With what a worker process needs otherwise, it stays below 300 MB."""
MAX_OVERTAKES = 8
"""How many later requests that fit may start before one that waits for more memory."""
TRIM_BYTES = 8 * 2**20
"""Reservations from this size on are returned to the operating system when they end."""
MMAP_THRESHOLD = (-3, 2**20)
"""mallopt(3) M_MMAP_THRESHOLD: allocations from 1 MB on are unmapped as soon as they are freed."""


class OverBudget(Exception):
    """More memory was requested than the budget has in total."""


@dataclass(eq=False, slots=True)
class _Waiter:
    size: int
    overtaken: int = 0


class MemoryBudget:
    """``total`` bytes; thread-safe."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._changed = threading.Condition()
        self._waiting: list[_Waiter] = []

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserve ``size`` bytes for the block; waits until they are free. Raises OverBudget."""
        if size > self.total:
            raise OverBudget
        waiter = _Waiter(size)
        with self._changed:
            self._waiting.append(waiter)
            try:
                self._changed.wait_for(lambda: self._may_start(waiter))
                for earlier in self._before(waiter):
                    earlier.overtaken += 1
                self._used += size
            finally:
                self._waiting.remove(waiter)
                self._changed.notify_all()
        try:
            yield
        finally:
            if size >= TRIM_BYTES:
                _trim_heap()
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def _before(self, waiter: _Waiter) -> list[_Waiter]:
        return self._waiting[: self._waiting.index(waiter)]

    def _may_start(self, waiter: _Waiter) -> bool:
        fits = self._used + waiter.size <= self.total
        return fits and all(earlier.overtaken < MAX_OVERTAKES for earlier in self._before(waiter))


def _trim_heap() -> None:
    """Return freed memory to the operating system; glibc keeps it otherwise (malloc_trim(3))."""
    for function, arguments in (("malloc_trim", (0,)), ("mallopt", MMAP_THRESHOLD)):
        with suppress(AttributeError, OSError, TypeError):  # another system or C library
            getattr(ctypes.CDLL(None), function)(*arguments)
