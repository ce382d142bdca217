"""Sending a response over ASGI.

A small file in the page cache is sent as bytes. A larger one is sent as a path pinned to the open
file, which native code reads (``http.response.pathsend``), as long as few are sent that way. Anything
else is read in chunks.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from ..mounts.open_files import OpenFile
from .chunked_body import send_chunks
from .response import HttpResponse, busy_response
from .send_limits import ChunkedBodies, NativeBodies, TooManyBodies

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_SMALL = 64 * 1024
"""Bytes up to which a file is read into memory: faster than a path."""


class ResponseSender:
    """Sends responses. ``native``: limits what native code sends, None where it cannot.

    ``to_bridge``: the receiver is bridge.js, which sends the file named in ``X-Sendfile``.
    """

    def __init__(
        self,
        chunked: ChunkedBodies,
        native: NativeBodies | None,
        stall_seconds: float,
        *,
        to_bridge: bool = False,
    ) -> None:
        self._chunked = chunked
        self._native = native
        self._stall_seconds = stall_seconds
        self._to_bridge = to_bridge

    async def send(
        self, response: HttpResponse, method: str, client: str, receive: Receive, send: Send
    ) -> HttpResponse:
        """Send a response and return it; or send and return a 503 if too many bodies are being sent.

        Raises BodyAborted.
        """
        file = response.file
        if file is None or not response.pieces or method == "HEAD":
            await send_bytes(response, method, send)
        elif self._to_bridge and len(response.pieces) == 1:
            await send_bytes(_sendfile(response, file), method, send)
        elif (content := _small_content(response, file)) is not None:
            await send(_start(response))
            await send({"type": "http.response.body", "body": content})
        elif response.is_complete_file and self._may_send_natively(file):
            await send(_start(response))
            await send({"type": "http.response.pathsend", "path": file.pinned_path})
        else:
            return await self._send_chunked(response, file, client, receive, send)
        return response

    def _may_send_natively(self, file: OpenFile) -> bool:
        """Return whether native code, which opens the file once more, may send it."""
        if self._native is None or file.pinned_path is None or not self._native.admit():
            return False
        try:
            os.close(os.dup(file.descriptor))
        except OSError:  # no descriptor left: native code would send a 404
            return False
        return True

    async def _send_chunked(
        self, response: HttpResponse, file: OpenFile, client: str, receive: Receive, send: Send
    ) -> HttpResponse:
        try:
            with self._chunked.admit(client) as body:
                await send(_start(response))
                await send_chunks(response, file, body, receive, send, self._stall_seconds)
        except TooManyBodies:
            refusal = busy_response("Too many downloads at the same time. Try again later.")
            await send_bytes(refusal, "GET", send)
            return refusal
        return response


async def send_bytes(response: HttpResponse, method: str, send: Send) -> None:
    """Send a response whose body, if any, is in memory."""
    await send(_start(response))
    body = b"" if method == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})


def _start(response: HttpResponse) -> Message:
    headers = [_encode(name, value) for name, value in response.headers.items()]
    return {"type": "http.response.start", "status": response.status, "headers": headers}


@lru_cache(maxsize=4096)  # most headers are the same for every response, or for every one of a file
def _encode(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode("latin-1"), value.encode("latin-1")


def _sendfile(response: HttpResponse, file: OpenFile) -> HttpResponse:
    """Return a response without a body, whose headers name the file and range for bridge.js."""
    piece = response.pieces[0]
    pinned = f"/proc/{os.getpid()}/fd/{file.descriptor}" if file.pinned_path else ""
    headers = {
        **response.headers,
        "X-Sendfile": quote(os.fsencode(file.path)),
        "X-Sendfile-Pinned": pinned,
        "X-Sendfile-Stamp": f"{file.inode} {file.mtime_ns} {file.size}",
        "X-Sendfile-Part": f"{piece.start} {piece.length}",
        "Content-Length": "0",
    }
    return replace(response, headers=headers, pieces=(), body=b"")


def _small_content(response: HttpResponse, file: OpenFile) -> bytes | None:
    """Return the body if it is small and can be read without waiting for the disk."""
    if len(response.pieces) != 1 or response.pieces[0].length > MAX_SMALL:
        return None
    piece = response.pieces[0]
    return file.read_cached(piece.start, piece.length) if piece.length else b""
