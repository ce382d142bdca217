"""Sends a body in chunks, and gives it up when its client takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..mounts.open_files import OpenFile
from .response import HttpResponse
from .send_buffers import CHANNEL, Stream, Streams

Receive = Callable[[], Awaitable[Any]]
SendChunk = Callable[[Any], Awaitable[None]]
TURN = 4
"""Chunks after which other bodies get their turn, also when the client keeps up with every one."""


class StallTimer:
    """Cancels the task that made it once ``seconds`` have passed since ``restart``.

    One timer for a whole body: ``asyncio.wait_for`` would make a task for each chunk.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._seconds = seconds
        self._since = self._loop.time()
        self._handle = self._loop.call_later(seconds, self._check)
        self.expired = False

    def restart(self) -> float:
        """Begin to count again; gives the seconds that have passed."""
        now = self._loop.time()
        passed, self._since = now - self._since, now
        return passed

    def stop(self) -> None:
        self._handle.cancel()

    def _check(self) -> None:
        left = self._since + self._seconds - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(left, self._check)
        elif self._task is not None:
            self.expired = True
            self._task.cancel()


async def send_chunks(
    reply: HttpResponse,
    file: OpenFile,
    receive: Receive,
    send: SendChunk,
    streams: Streams,
    stream: Stream,
    seconds: float,
) -> None:
    """Read and send the pieces of a file, whose head has been sent; ends when the client leaves.

    Raises ConnectionAbortedError when the file shrank, or when the client takes no chunk for so many
    seconds: the server then cuts the connection, so that a cut body looks like one.
    """
    timer = StallTimer(seconds)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        for number, (before, start, length) in enumerate(_chunks(reply, streams, stream)):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            if gone.done():  # granian takes and drops whatever is sent from now on
                return
            content = file.read_cached(start, length) if length else b""
            if content is None:
                content = await asyncio.to_thread(file.read, start, length)
            if len(content) != length:
                raise ConnectionAbortedError("the file has become shorter")
            timer.restart()
            await send(_message(before + content if before else content))
            stream.waited(timer.restart())
        await _drain(send)
    except asyncio.CancelledError:
        if timer.expired:
            raise ConnectionAbortedError("the client takes nothing") from None
        raise
    finally:
        timer.stop()
        gone.cancel()
    await send(_message(b"", more=False))


async def _disconnect(receive: Receive) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drain(send: SendChunk) -> None:
    """Wait until the last chunk has left the server's queue, which still belongs to this body."""
    for _ in range(CHANNEL + 1):
        await send(_message(b""))


def _message(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _chunks(
    reply: HttpResponse, streams: Streams, stream: Stream
) -> Iterator[tuple[bytes, int, int]]:
    """What to send: bytes, then so many of the file from an offset on."""
    for piece in reply.pieces:
        start, left, before = piece.start, piece.length, piece.before
        while left > 0 or before:
            length = min(left, streams.chunk(stream))
            yield before, start, length
            start, left, before = start + length, left - length, b""
