"""The memory that pictures of a worker may take at once, shared by those that are being rendered."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..light_dataclasses import dataclass

DEFAULT_IMAGE_MB = 220
"""Megabytes by default: with what a worker takes anyway, it stays below 300."""
MAX_OVERTAKES = 8
"""How many others that still fit may start before one that waits for more memory."""


LARGE = 8 * 2**20
"""Bytes after whose use memory is given back to the system."""

MMAP_LARGE = (-3, 2**20)
"""M_MMAP_THRESHOLD: from a megabyte on, what is freed is given back at once."""


class OverBudget(Exception):
    """More than all of the memory is asked for."""


@dataclass(eq=False, slots=True)
class _Waiter:
    size: int
    passed: int = 0


class MemoryBudget:
    """``total`` bytes; thread-safe."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._changed = threading.Condition()
        self._waiting: list[_Waiter] = []

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Hold so many bytes until the block ends; waits until they are free. Raises OverBudget."""
        if size > self.total:
            raise OverBudget
        waiter = _Waiter(size)
        with self._changed:
            self._waiting.append(waiter)
            try:
                self._changed.wait_for(lambda: self._may_start(waiter))
                for earlier in self._before(waiter):
                    earlier.passed += 1
                self._used += size
            finally:
                self._waiting.remove(waiter)
                self._changed.notify_all()
        try:
            yield
        finally:
            if size >= LARGE:
                _return_free_memory()
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def _before(self, waiter: _Waiter) -> list[_Waiter]:
        return self._waiting[: self._waiting.index(waiter)]

    def _may_start(self, waiter: _Waiter) -> bool:
        fits = self._used + waiter.size <= self.total
        return fits and all(earlier.passed < MAX_OVERTAKES for earlier in self._before(waiter))


def _return_free_memory() -> None:
    """Give freed memory back to the system; glibc keeps it otherwise (malloc_trim(3), mallopt(3))."""
    for function, arguments in (("malloc_trim", (0,)), ("mallopt", MMAP_LARGE)):
        with suppress(AttributeError, OSError, TypeError):  # another system, or another C library
            getattr(ctypes.CDLL(None), function)(*arguments)
