"""Bodies that are being sent: how many at once, and how much memory they may take.

A client that reads slowly holds the chunks that wait for it. A body therefore begins with small
chunks, and they grow while its client keeps up and the budget of all bodies allows it.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MIN_CHUNK, FIRST, MAX_CHUNK = 4 * 1024, 16 * 1024, 256 * 1024
"""Bytes of a chunk."""
CHANNEL = 4
"""Chunks of one body in granian's channel (its ``src/asgi/io.rs``)."""
BUFFER = 256 * 1024
"""Bytes that granian keeps of one connection: the longest head of a request, and what it has ready to be
sent while more of a body comes. With less, a large file takes half as long again (`run.py bench files`)."""
QUEUED = 16
"""Chunks that it has ready at most, however small (hyper, ``MAX_BUF_LIST_BUFFERS``)."""
BUDGET = 24 * 2**20
"""Bytes of chunks of all bodies together; beyond it each body gets the smallest chunks."""
LIMIT, LIMIT_PER_CLIENT = 1024, 768
"""Bodies sent in chunks at once. One client alone cannot take every place."""
NATIVE_LIMIT = 96
"""Bodies sent by native code at once; each holds about 500 KB while its client does not read."""
PROMPT_SECONDS, SLOW_SECONDS = 0.05, 1.0
"""Chunks grow for a client that takes one this soon, and are the smallest for one that is slower."""
RECOUNT_PAUSE = 20
"""Counting native bodies takes at most one part in so many of the time."""


class TooManyBodies(Exception):
    """Too many bodies are being sent, in all or to this client."""


@dataclass(slots=True)
class Stream:
    """A body that is being sent in chunks of ``size`` bytes. ``reserved``: its part of the budget."""

    size: int = FIRST
    reserved: int = 0

    def waited(self, seconds: float) -> None:
        """Adapt to how long the client took for a chunk."""
        if seconds > SLOW_SECONDS:
            self.size = MIN_CHUNK
        elif 0 < seconds < PROMPT_SECONDS:
            self.size = min(self.size * 2, MAX_CHUNK)


def held(size: int) -> int:
    """Bytes of one body in memory at most, in chunks of ``size``: those in the channel, one that waits
    for a place in it, one that is being read, and what is ready to be sent.
    """
    return (CHANNEL + 2) * size + min(QUEUED * size, BUFFER + size)


class Streams:
    """The bodies that one worker sends in chunks. Not thread-safe: for use in its event loop.

    ``workers``: how many of them share the budget. Connections are not spread evenly, so each may
    have twice its part of LIMIT and LIMIT_PER_CLIENT.
    """

    def __init__(self, workers: int = 1) -> None:
        share = min(1.0, 2 / workers)
        self._free = BUDGET // workers
        self._limit = int(LIMIT * share)
        self._limit_per_client = int(LIMIT_PER_CLIENT * share)
        self._clients: Counter[str] = Counter()
        self._count = 0

    @contextmanager
    def open(self, client: str) -> Iterator[Stream]:
        """A place, for as long as the block lasts. Raises TooManyBodies when there is none."""
        if self._count >= self._limit or self._clients[client] >= self._limit_per_client:
            raise TooManyBodies
        stream = Stream()
        self._count += 1
        self._clients[client] += 1
        try:
            yield stream
        finally:
            self._free += stream.reserved
            self._count -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def chunk(self, stream: Stream) -> int:
        """Bytes that the next chunk of this body should have."""
        free = self._free + stream.reserved
        size = stream.size
        while size > MIN_CHUNK and held(size) > free:
            size //= 2
        stream.reserved = held(size)
        self._free = free - stream.reserved
        return size


class NativeBodies:
    """Bodies that native code is sending from files which it opened itself (Linux).

    Nobody reports their end, so the open descriptors are counted when there may be too many.
    ``own``: gives how many plain files this process has open apart from those.
    """

    def __init__(self, limit: int, own: Callable[[], int]) -> None:
        self._limit = limit
        self._own = own
        self._count = 0
        self._not_before = 0.0

    def admit(self) -> bool:
        """Whether one more may be sent; it counts from now on."""
        if self._count >= self._limit:
            self._recount()
        if self._count >= self._limit:
            return False
        self._count += 1
        return True

    def _recount(self) -> None:
        if time.monotonic() < self._not_before:
            return
        begun = time.thread_time()
        self._count = max(0, plain_files() - self._own())
        spent = time.thread_time() - begun
        self._not_before = time.monotonic() + spent * RECOUNT_PAUSE


def plain_files() -> int:
    """How many descriptors of this process mean plain files; very many when that cannot be seen."""
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - numbers
    except OSError:
        return 2**31
    return sum(map(_is_plain, descriptors))


def _is_plain(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # closed meanwhile
        return False
