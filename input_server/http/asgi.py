"""The file server as an ASGI application (asgi.readthedocs.io, HTTP 2.5)."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .. import urls
from ..images.render_queue import SLOTS, Busy, Requester
from ..images.variants import NotCached
from ..log import log_line
from ..mounts.resolve import Refused
from .asgi_send import Receive, ResponseSender, Scope, Send, send_bytes
from .chunked_body import BodyAborted
from .handler import FileServer
from .metrics import Metrics
from .request import HttpRequest
from .response import HttpResponse, busy_response, text_response

MAX_DELAYED = 64
"""Responses delayed at the same time. Beyond it they are sent at once, to bound what guessers cost."""
SWEEP_SECONDS = 2.0
UNIX_SOCKET_PEER = "127.0.0.1"
"""Address of a peer on a Unix socket: a proxy on this machine, which may be configured as trusted."""
BRIDGE_CLIENT = "x-bridge-client"
BRIDGE_SECRET = "x-bridge-secret"  # noqa: S105 - the header's name


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is logged and measured of a request; ``started`` by the clock of ``Metrics.now``."""

    client: str
    method: str
    target: str
    started: float

    def log(self, event: str) -> None:
        """Log an event of this request, without the key in its URL."""
        log_line(f"{self.client or '-'} {self.method} {urls.redact_target(self.target)} {event}")


class App:
    """Receives requests, runs the file server's handler and sends its responses.

    ``bridge_secret``: authenticates a bridge (bridge.js) in front; only its requests are accepted, and
    it reports the client's address.
    """

    def __init__(
        self,
        server: FileServer,
        metrics: Metrics,
        sender: ResponseSender,
        *,
        access_log: bool = False,
        bridge_secret: str = "",
    ) -> None:
        self._server = server
        self._metrics = metrics
        self._sender = sender
        self._access_log = access_log
        self._bridge_secret = bridge_secret.encode()
        self._delayed = 0
        self._renderers = ThreadPoolExecutor(SLOTS, "render")
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
        target, method = _target(scope), scope["method"]
        if target == "/healthz":
            return await send_bytes(text_response(200, "ok", "health"), method, send)
        started = self._metrics.now()
        headers = _headers(scope)
        peer = self._peer(scope, headers or {})
        client = self._server.client_address(peer or "", headers or {})
        exchange = Exchange(client, method, target, started)
        try:
            response = await self._response(method, target, headers, peer)
            await self._send(response, exchange, receive, send)
        except BodyAborted as error:
            # returning with an incomplete body makes granian cut the connection
            exchange.log(f"aborted: {error}")
        except Exception as error:
            exchange.log(f"failed: {type(error).__name__}: {error}")
            raise

    async def _send(
        self, response: HttpResponse, exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        file = response.file
        try:
            if response.delay:
                await self._delay(response.delay)
            response = await self._sender.send(
                response, exchange.method, exchange.client, receive, send
            )
        finally:
            if file is not None:
                self._server.files.release(file)
            self._metrics.record(response, exchange.method, exchange.started)
            if self._access_log:
                exchange.log(f"{response.status} {response.length}")

    async def _response(
        self, method: str, target: str, headers: Mapping[str, str] | None, peer: str | None
    ) -> HttpResponse:
        if headers is None:
            return text_response(400, "More than one Host header.", "two hosts")
        if peer is None:
            return text_response(403, "Forbidden.", "no bridge")
        try:
            route = urls.parse(target)
        except Refused:
            return text_response(404, "Not found.", "no route")
        request = HttpRequest(method, route, urls.parse_query(target), headers, peer)
        if not self._server.may_block(request):
            return self._server.answer(request)
        try:
            return await asyncio.to_thread(self._server.answer, request, may_render=False)
        except NotCached as error:
            return await self._render(request, error.requester)

    async def _render(self, request: HttpRequest, requester: Requester) -> HttpResponse:
        """Wait for a turn, then render the variant in a thread that does nothing else."""
        renders = self._server.renders
        try:
            ticket = renders.enter(requester)
        except Busy:
            return busy_response()
        try:
            await asyncio.wrap_future(ticket.turn)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._renderers, self._server.answer, request)
        except Busy:
            return busy_response()
        finally:
            renders.leave(ticket)

    def _peer(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Return the peer's address; None if a bridge is required and this is not the bridge."""
        if self._bridge_secret:
            given = headers.get(BRIDGE_SECRET, "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, self._bridge_secret):
                return None
            return headers.get(BRIDGE_CLIENT, "")
        client = scope.get("client")
        address = str(client[0]) if client else ""
        return address if address[:1] not in ("", "/") else UNIX_SOCKET_PEER

    async def _delay(self, seconds: float) -> None:
        if self._delayed >= MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._delayed -= 1


def _target(scope: Scope) -> str:
    """Return the raw request target. Non-ASCII bytes become Latin-1 characters, refused later."""
    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string") or b""
    target = raw.decode("latin-1")
    return f"{target}?{query.decode('latin-1')}" if query else target


def _headers(scope: Scope) -> dict[str, str] | None:
    """Return the headers by name, repeated ones joined to one list (RFC 9110, 5.3).

    None if there is more than one Host header (RFC 9112, 3.2).
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
