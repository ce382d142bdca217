"""Sends a body in chunks, and aborts it when the client stops reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..mounts.open_files import OpenFile
from .response import HttpResponse
from .send_limits import CHANNEL_CHUNKS, ChunkedBody

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

YIELD_AFTER = 4
"""Chunks after which other bodies get their turn even if the client keeps up."""


class BodyAborted(Exception):
    """A body cannot be sent completely: the client stopped reading, or the file has shrunk."""


class StallTimer:
    """Cancels the current task once ``seconds`` have passed since ``restart``.

    One timer serves the complete body; ``asyncio.wait_for`` would create a task for each chunk.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._seconds = seconds
        self._started = self._loop.time()
        self._handle = self._loop.call_later(seconds, self._check)
        self.expired = False

    def restart(self) -> float:
        """Start again. Returns the seconds since the last start."""
        now = self._loop.time()
        elapsed, self._started = now - self._started, now
        return elapsed

    def stop(self) -> None:
        """Never cancel the task from now on."""
        self._handle.cancel()

    def _check(self) -> None:
        left = self._started + self._seconds - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(left, self._check)
        elif self._task is not None:
            self.expired = True
            self._task.cancel()


async def send_chunks(
    response: HttpResponse,
    file: OpenFile,
    body: ChunkedBody,
    receive: Receive,
    send: Send,
    stall_seconds: float,
) -> None:
    """Send the pieces of a file after the head; returns early if the client disconnects.

    Raises BodyAborted if the file has become shorter, or if the client reads nothing for
    ``stall_seconds``: the connection then has to be cut, so that the client notices.
    """
    timer = StallTimer(stall_seconds)
    disconnected = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        for number, (before, start, length) in enumerate(_chunks(response, body)):
            if number % YIELD_AFTER == YIELD_AFTER - 1:
                await asyncio.sleep(0)
            if disconnected.done():  # granian discards what is sent from now on
                return
            content = file.read_cached(start, length) if length else b""
            if content is None:
                content = await asyncio.to_thread(file.read, start, length)
            if len(content) != length:
                raise BodyAborted("the file has become shorter")
            timer.restart()
            await send(_message(before + content if before else content))
            body.adapt(timer.restart())
        await _drain(send)
    except asyncio.CancelledError:
        if timer.expired:
            raise BodyAborted(f"the client has read nothing for {stall_seconds:g} s") from None
        raise
    finally:
        timer.stop()
        disconnected.cancel()
    await send(_message(b"", more=False))


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drain(send: Send) -> None:
    """Wait until the last chunk has left granian's channel, whose memory counts for this body."""
    for _ in range(CHANNEL_CHUNKS + 1):
        await send(_message(b""))


def _message(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _chunks(response: HttpResponse, body: ChunkedBody) -> Iterator[tuple[bytes, int, int]]:
    """Yield bytes to send, then the offset and length of the part of the file that follows them."""
    for piece in response.pieces:
        start, left, before = piece.start, piece.length, piece.before
        while left > 0 or before:
            length = min(left, body.next_size())
            yield before, start, length
            start, left, before = start + length, left - length, b""
