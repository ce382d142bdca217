"""The handler as an ASGI application (asgi.readthedocs.io, HTTP 2.5): how bytes go out.

A small file that is in the system's memory goes out as its bytes, a larger one as a path that is
pinned to the open file, so that native code moves it (``http.response.pathsend``), as long as few are.
Anything else is read here, in chunks, and given up when nobody takes one.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from .. import urls
from ..auth.access import redact_target
from ..images.render_queue import SLOTS, Busy, Requester
from ..images.variants import NotCached
from ..log import log_line
from ..mounts.open_files import OpenFile
from ..mounts.resolve import Refused
from .body import send_chunks
from .handler import FileServer, HttpRequest
from .metrics import Metrics
from .response import HttpResponse, busy, plain
from .send_buffers import NativeBodies, Streams, TooManyBodies

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SMALL = 64 * 1024
"""Bytes up to which a file goes out as its bytes: faster than a path, and little to hold."""
MOST_DELAYED = 64
"""Answers that may be kept waiting at once; beyond that guessers cost more than they are worth."""
SWEEP_SECONDS = 2.0
THIS_MACHINE = "127.0.0.1"
"""Who asks over a Unix socket: a server in front, which may be named as a trusted proxy."""
BRIDGE_CLIENT = "x-bridge-client"
BRIDGE_SECRET = "x-bridge-secret"  # noqa: S105 - the header's name


class App:
    """``secret``: what a bridge in front proves itself with. Its word on the client then counts, and
    it is told which file to send (``X-Sendfile``) rather than given its bytes. ``native``: None where
    native code cannot send files.
    """

    def __init__(
        self,
        server: FileServer,
        metrics: Metrics,
        *,
        log: bool = False,
        secret: str = "",
        stall_seconds: float = 60.0,
        streams: Streams | None = None,
        native: NativeBodies | None = None,
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._log = log
        self._secret = secret.encode()
        self._stall_seconds = stall_seconds
        self._streams = streams or Streams()
        self._native = native
        self._delayed = 0
        self._makers = ThreadPoolExecutor(SLOTS, "copies")
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._sweeper = asyncio.create_task(self._sweep())
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._sweeper is not None:
                    self._sweeper.cancel()
                self._server.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._server.files.sweep()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = _target(scope)
        if target == "/healthz":
            return await _send_bytes(plain(200, "ok", "health"), scope["method"], send)
        started = self._metrics.now()
        reply = await self._reply(scope, target)
        file = reply.file
        try:
            if reply.delay:
                await self._wait(reply.delay)
            reply = await self._send(reply, scope, receive, send)
        finally:
            if file is not None:
                self._server.files.release(file)
            self._metrics.note(reply, scope["method"], started)
            if self._log:
                self._write_log(scope, target, reply)

    async def _reply(self, scope: Scope, target: str) -> HttpResponse:
        headers = _headers(scope)
        if headers is None:
            return plain(400, "More than one Host.", "two hosts")
        peer = self._peer(scope, headers)
        if peer is None:
            return plain(403, "Forbidden.", "no bridge")
        try:
            route = urls.parse(target)
        except Refused:
            return plain(404, "Not found.", "no route")
        asked = HttpRequest(scope["method"], route, urls.query(target), headers, peer)
        if not self._server.may_block(asked):
            return self._server.answer(asked)
        try:
            return await asyncio.to_thread(self._server.answer, asked, make=False)
        except NotCached as unmade:
            return await self._made(asked, unmade.requester)

    async def _made(self, asked: HttpRequest, requester: Requester) -> HttpResponse:
        """An answer with a copy that has to be rendered first, by threads that do nothing else."""
        renders = self._server.renders
        try:
            ticket = renders.enter(requester)
        except Busy:
            return busy()
        try:
            await asyncio.wrap_future(ticket.turn)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._makers, self._server.answer, asked)
        except Busy:
            return busy()
        finally:
            renders.leave(ticket)

    def _peer(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Who asks; None when a bridge is expected and this is none."""
        if self._secret:
            given = headers.get(BRIDGE_SECRET, "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, self._secret):
                return None
            return headers.get(BRIDGE_CLIENT, "")
        client = scope.get("client")
        address = str(client[0]) if client else ""
        return address if address[:1] not in ("", "/") else THIS_MACHINE

    async def _wait(self, seconds: float) -> None:
        if self._delayed >= MOST_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._delayed -= 1

    async def _send(
        self, reply: HttpResponse, scope: Scope, receive: Receive, send: Send
    ) -> HttpResponse:
        """Send a reply, or another one that tells why it cannot be sent; gives the one that was."""
        file, method = reply.file, scope["method"]
        if file is None or not reply.pieces or method == "HEAD":
            await _send_bytes(reply, method, send)
        elif self._secret and len(reply.pieces) == 1:
            await _send_name(reply, file, send)
        elif (content := _in_memory(reply, file)) is not None:
            await send(_start(reply))
            await send({"type": "http.response.body", "body": content})
        elif reply.is_complete_file and self._goes_natively(file):
            await send(_start(reply))
            await send({"type": "http.response.pathsend", "path": file.pinned_path})
        else:
            return await self._send_chunks(reply, file, scope, receive, send)
        return reply

    def _goes_natively(self, file: OpenFile) -> bool:
        """Whether native code, which opens the file once more, may send it."""
        if self._native is None or file.pinned_path is None or not self._native.admit():
            return False
        try:
            os.close(os.dup(file.descriptor))
        except OSError:  # native code would answer with 404
            return False
        return True

    async def _send_chunks(
        self, reply: HttpResponse, file: OpenFile, scope: Scope, receive: Receive, send: Send
    ) -> HttpResponse:
        client = self._peer(scope, _headers(scope) or {}) or ""
        try:
            with self._streams.open(client) as stream:
                await send(_start(reply))
                await send_chunks(
                    reply, file, receive, send, self._streams, stream, self._stall_seconds
                )
        except TooManyBodies:
            refusal = busy("Too many downloads; ask again.")
            await _send_bytes(refusal, scope["method"], send)
            return refusal
        return reply

    def _write_log(self, scope: Scope, target: str, reply: HttpResponse) -> None:
        client = self._peer(scope, _headers(scope) or {}) or "-"
        shown = redact_target(target)
        log_line(f"{client} {scope['method']} {shown} {reply.status} {reply.length}")


def _target(scope: Scope) -> str:
    """The target as it was sent; bytes that are no ASCII stay as they are, to be refused."""
    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string") or b""
    target = raw.decode("latin-1")
    return f"{target}?{query.decode('latin-1')}" if query else target


def _headers(scope: Scope) -> dict[str, str] | None:
    """Headers by their names; one that is sent several times is one list (RFC 9110, 5.3). None for
    more than one Host (RFC 9112, 3.2).
    """
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        text = value.decode("latin-1")
        if name in found:
            if name == "host":
                return None
            text = f"{found[name]}, {text}"
        found[name] = text
    return found


def _start(reply: HttpResponse) -> Message:
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in reply.headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _send_bytes(reply: HttpResponse, method: str, send: Send) -> None:
    await send(_start(reply))
    body = b"" if method == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})


async def _send_name(reply: HttpResponse, file: OpenFile, send: Send) -> None:
    """Tell a bridge which bytes of which file to send."""
    piece = reply.pieces[0]
    pinned = f"/proc/{os.getpid()}/fd/{file.descriptor}" if file.pinned_path else ""
    told = {
        "X-Sendfile": quote(os.fsencode(file.path)),
        "X-Sendfile-Pinned": pinned,
        "X-Sendfile-Stamp": f"{file.inode} {file.mtime_ns} {file.size}",
        "X-Sendfile-Part": f"{piece.start} {piece.length}",
        "Content-Length": "0",
    }
    named = replace(reply, headers={**reply.headers, **told}, pieces=(), body=b"")
    await _send_bytes(named, "GET", send)


def _in_memory(reply: HttpResponse, file: OpenFile) -> bytes | None:
    """The body, where it is small and reading it cannot make others wait."""
    if len(reply.pieces) != 1 or reply.pieces[0].length > SMALL:
        return None
    piece = reply.pieces[0]
    return file.read_cached(piece.start, piece.length) if piece.length else b""
