"""Limits for bodies being sent: their number, and the memory they take.

Chunks wait in memory while their client reads slowly. A body therefore starts with small chunks, which
grow while its client keeps up and the budget of all bodies allows it.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MIN_CHUNK, FIRST_CHUNK, MAX_CHUNK = 4 * 1024, 16 * 1024, 256 * 1024
"""Bytes of a chunk."""
CHANNEL_CHUNKS = 4
"""Chunks of one body in granian's channel (its ``src/asgi/io.rs``)."""
CONNECTION_BUFFER = 256 * 1024
"""Bytes that granian buffers for one connection: the longest request head, and the output ready to be
sent. With less, a large file takes half as long again (``run.py bench files``)."""
MAX_BUFFERED_CHUNKS = 16
"""Chunks in that buffer, however small (hyper, ``MAX_BUF_LIST_BUFFERS``)."""
BUDGET = 24 * 2**20
"""Bytes of the chunks of all bodies. Beyond it each body gets the smallest chunks."""
MAX_BODIES, MAX_BODIES_PER_CLIENT = 1024, 768
"""Bodies sent in chunks at the same time. One client cannot take every place."""
MAX_NATIVE_BODIES = 96
"""Bodies sent by native code at the same time; each takes about 500 KB while its client does not read."""
PROMPT_SECONDS, SLOW_SECONDS = 0.05, 1.0
"""Chunks grow if the client takes one this fast, and become the smallest if it is slower."""
RECOUNT_PAUSE = 20
"""Counting native bodies may take one part in this many of the time."""


class TooManyBodies(Exception):
    """Too many bodies are being sent, in total or to one client."""


class ChunkedBodies:
    """The bodies that one worker sends in chunks. Not thread-safe: for the event loop only.

    ``workers``: how many of them share the budget. Connections are not spread evenly, so each worker
    may send twice its share of MAX_BODIES and MAX_BODIES_PER_CLIENT.
    """

    def __init__(self, workers: int = 1) -> None:
        share = min(1.0, 2 / workers)
        self._free = BUDGET // workers
        self._limit = int(MAX_BODIES * share)
        self._limit_per_client = int(MAX_BODIES_PER_CLIENT * share)
        self._clients: Counter[str] = Counter()
        self._count = 0

    @contextmanager
    def admit(self, client: str) -> Iterator[ChunkedBody]:
        """Yield a body that counts until the block ends. Raises TooManyBodies."""
        if self._count >= self._limit or self._clients[client] >= self._limit_per_client:
            raise TooManyBodies
        body = ChunkedBody(self)
        self._count += 1
        self._clients[client] += 1
        try:
            yield body
        finally:
            self._free += body.reserved
            self._count -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def reserve(self, size: int, reserved: int) -> tuple[int, int]:
        """Return the chunk size, ``size`` or less, that the budget allows, and its memory.

        ``reserved``: the memory that the body has reserved so far; it is replaced.
        """
        free = self._free + reserved
        while size > MIN_CHUNK and max_memory(size) > free:
            size //= 2
        needed = max_memory(size)
        self._free = free - needed
        return size, needed


class ChunkedBody:
    """A body sent in chunks of ``size`` bytes. ``reserved``: its part of the budget in bytes."""

    __slots__ = ("_bodies", "reserved", "size")

    def __init__(self, bodies: ChunkedBodies) -> None:
        self._bodies = bodies
        self.size = FIRST_CHUNK
        self.reserved = 0

    def next_size(self) -> int:
        """Reserve memory for the next chunk and return its size in bytes."""
        size, self.reserved = self._bodies.reserve(self.size, self.reserved)
        return size

    def adapt(self, seconds: float) -> None:
        """Adapt the chunk size to the time that the client took for the last chunk."""
        if seconds > SLOW_SECONDS:
            self.size = MIN_CHUNK
        elif 0 < seconds < PROMPT_SECONDS:
            self.size = min(self.size * 2, MAX_CHUNK)


def max_memory(chunk: int) -> int:
    """Return the most bytes that one body with such chunks takes.

    Those are the chunks in the channel, one waiting for a place in it, one being read, and the
    connection's buffer.
    """
    buffered = min(MAX_BUFFERED_CHUNKS * chunk, CONNECTION_BUFFER + chunk)
    return (CHANNEL_CHUNKS + 2) * chunk + buffered


class NativeBodies:
    """The bodies that native code is sending from files it opened itself (Linux).

    Their end is not reported, so the open descriptors are counted once there may be too many.
    ``own_files``: returns how many of the regular files that this process has open are not of those.
    """

    def __init__(self, limit: int, own_files: Callable[[], int]) -> None:
        self._limit = limit
        self._own_files = own_files
        self._count = 0
        self._recount_after = 0.0

    def admit(self) -> bool:
        """Return whether one more may be sent; if so, it counts from now on."""
        if self._count >= self._limit:
            self._recount()
        if self._count >= self._limit:
            return False
        self._count += 1
        return True

    def _recount(self) -> None:
        if time.monotonic() < self._recount_after:
            return
        started = time.thread_time()
        self._count = max(0, open_regular_files() - self._own_files())
        spent = time.thread_time() - started
        self._recount_after = time.monotonic() + spent * RECOUNT_PAUSE


def open_regular_files() -> int:
    """Return how many regular files this process has open; a huge number if that is unknown."""
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - numbers
    except OSError:
        return 2**31
    return sum(map(_is_regular, descriptors))


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # closed since
        return False
