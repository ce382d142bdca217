"""HTTP/1.1 on plain sockets (RFC 9112): requests to a ComfyUI server that needs no TLS and no proxy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from comfyui_pipeline.engine.server_url import ServerUrl
from comfyui_pipeline.engine.time_limited import OutOfTime
from comfyui_pipeline.engine.transport import (
    PIECE,
    Disconnected,
    InvalidResponse,
    Request,
)
from comfyui_pipeline.engine.wire import Wire, connect, request_head, response_head
from input_server.parse_values import parse_count

URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in a target: it is percent-encoded already (RFC 3986 2.2, 2.3)."""
MAX_LENGTH = 2**50
FIXED_HEADERS = {
    "User-Agent": "comfyui-plugin",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}


class SocketTransport:
    """Implements ``transport.Transport``.

    ``timeout``: seconds for which a body may stand still. Up to ``idle_connections`` are left open.
    """

    def __init__(
        self, url: ServerUrl, headers: Mapping[str, str], timeout: float, idle_connections: int
    ) -> None:
        self._url = url
        self._headers = {**FIXED_HEADERS, **headers}
        self._timeout = timeout
        self._most_idle = idle_connections
        self._idle: list[Wire] = []
        self._lock = threading.Lock()
        self._closed = False

    def open(self, request: Request, until: float) -> SocketResponse:
        wire = self._usable() or connect(self._url, until, min(self._timeout, 5.0))
        try:
            self._send(wire, request, until)
            status, headers, is_new = response_head(wire, until)
        except BaseException:
            wire.close()
            raise
        keeps = headers.get("Connection", "keep-alive" if is_new else "close").lower()
        give_back = self._give_back if "close" not in keeps else Wire.close
        return SocketResponse(wire, status, headers, self._timeout, give_back)

    def close(self) -> None:
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for wire in idle:
            wire.close()

    def _send(self, wire: Wire, request: Request, until: float) -> None:
        target = quote(self._url.path + self._url.with_query(request.target), safe=URL_CHARACTERS)
        headers = {**self._headers, **request.headers}
        if request.body is not None:
            headers["Content-Length"] = str(len(request.body))
        head = request_head(request.method, self._url, target, headers)
        try:
            wire.send(head + (request.body or b""), until)
        except BrokenPipeError:
            return  # it may have answered before it had read everything, as with a 413
        except OSError as error:
            raise Disconnected(type(error).__name__) from error

    def _usable(self) -> Wire | None:
        """An idle connection that the server has not closed."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                wire = self._idle.pop()
            if wire.is_usable:
                return wire
            wire.close()

    def _give_back(self, wire: Wire) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._most_idle:
                self._idle.append(wire)
                return
        wire.close()


class SocketResponse:
    """Implements ``transport.Response``."""

    def __init__(
        self,
        wire: Wire,
        status: int,
        headers: Mapping[str, str],
        timeout: float,
        give_back: Callable[[Wire], None],
    ) -> None:
        self.status = status
        self.headers = headers
        self._wire: Wire | None = wire
        self._timeout = timeout
        self._give_back = give_back
        self._is_chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        length = parse_count(headers.get("Content-Length", ""), at_most=MAX_LENGTH)
        self._left = 0 if self._is_chunked or status in (204, 304) else length
        """Bytes of the body, or of the current chunk; None: up to the end of the connection."""
        self._ended = not self._is_chunked and self._left == 0

    def read(self, until: float) -> bytes:
        if self._ended or self._wire is None:
            return b""
        try:
            return self._read(self._wire, min(until, time.monotonic() + self._timeout))
        except OutOfTime:
            if time.monotonic() < until:
                raise TimeoutError("nothing came") from None
            raise

    def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if self._ended and self._left is not None:
            self._give_back(wire)
        else:
            wire.close()

    def _read(self, wire: Wire, until: float) -> bytes:
        if self._is_chunked and self._left == 0:
            self._left = self._next_chunk(wire, until)
            if self._left == 0:
                self._ended = True
                return b""
        if not wire.buffer and not wire.fill(until):
            if self._left is not None:
                raise EOFError("the body ends too early")
            self._ended = True
            return b""
        piece = wire.take(PIECE if self._left is None else min(PIECE, self._left))
        if self._left is not None:
            self._left -= len(piece)
            if self._left == 0 and self._is_chunked and wire.line(until):
                raise InvalidResponse("a chunk is longer than its size")
            self._ended = self._left == 0 and not self._is_chunked
        return piece

    def _next_chunk(self, wire: Wire, until: float) -> int:
        """The size of the next chunk (RFC 9112 7.1); after the last one its trailer is read."""
        text = wire.line(until).partition(b";")[0].strip()
        if not 0 < len(text) <= 12 or not set(text) <= set(b"0123456789abcdefABCDEF"):
            raise InvalidResponse("no chunk size")
        size = int(text, 16)
        if size == 0:
            for _ in range(100):
                if not wire.line(until):
                    break
            else:
                raise InvalidResponse("a trailer without an end")
        return size
