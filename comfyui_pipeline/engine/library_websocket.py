"""A WebSocket through websocket-client: for TLS and proxies."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

import websocket

from comfyui_pipeline.engine.server_url import USUAL_TLS, ServerUrl, Tls
from comfyui_pipeline.engine.time_limited import within
from comfyui_pipeline.engine.websocket import (
    GOODBYE_SECONDS,
    HandshakeRefused,
    MessageTooLarge,
    WebSocketError,
)


class _Frames(websocket.frame_buffer):
    """Refuses a frame by its announced length."""

    max_message = 0

    def recv_length(self) -> None:
        super().recv_length()
        if (self.length or 0) > self.max_message:
            raise MessageTooLarge(f"a frame of {self.length} bytes")


class _Fragments(websocket.continuous_frame):
    """Refuses fragments that together are too large."""

    max_message = 0

    def add(self, frame: websocket.ABNF) -> None:
        if self.cont_data and len(self.cont_data[1]) + len(frame.data) > self.max_message:
            raise MessageTooLarge("a message in fragments")
        super().add(frame)


class _Connection(websocket.WebSocket):
    """A WebSocket whose ``recv`` ends at ``until``, even when a frame comes a byte at a time; the
    next ``recv`` continues that frame.
    """

    def __init__(self, max_message: int, tls: Tls = USUAL_TLS) -> None:
        super().__init__(sslopt=_tls_options(tls), skip_utf8_validation=True)  # decoding checks it
        self.until = math.inf
        self.frame_buffer = _Frames(self._recv, True)
        self.cont_frame = _Fragments(False, True)
        self.frame_buffer.max_message = self.cont_frame.max_message = max_message

    def _recv(self, bufsize: int) -> bytes:
        left = self.until - time.monotonic()
        if left <= 0:
            raise websocket.WebSocketTimeoutException("out of time")
        if self.sock is not None and not math.isinf(left):
            self.sock.settimeout(left)
        received: bytes = super()._recv(bufsize)  # type: ignore[no-untyped-call]
        return received


class LibrarySocket:
    """Implements ``websocket.Socket``."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def receive(self, until: float) -> str | bytes | None:
        self._connection.until = max(until, time.monotonic() + 0.01)
        try:
            message: str | bytes = self._connection.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError, ValueError) as error:
            raise WebSocketError(type(error).__name__) from error
        if message == "" and not self._connection.connected:
            raise WebSocketError("the server closed it")
        return message

    def send_text(self, text: str) -> None:
        try:
            self._connection.send(text)
        except (websocket.WebSocketException, OSError) as error:
            raise WebSocketError(type(error).__name__) from error

    def close(self) -> None:
        self._connection.until = time.monotonic() + GOODBYE_SECONDS
        with contextlib.suppress(websocket.WebSocketException, OSError, ValueError):
            self._connection.close(timeout=GOODBYE_SECONDS)
        self.hang_up()

    def hang_up(self) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._connection.shutdown()  # type: ignore[no-untyped-call]


def open_socket(
    url: ServerUrl,
    target: str,
    headers: Mapping[str, str],
    until: float,
    max_message: int,
) -> LibrarySocket:
    """See ``websocket.open_socket``."""
    seconds = max(0.01, until - time.monotonic())

    def connect() -> LibrarySocket:
        connection = _Connection(max_message, url.tls)
        connection.settimeout(seconds)
        scheme = "wss" if url.scheme == "https" else "ws"
        address = f"{scheme}://{url.authority}{url.path}{url.with_query(target)}"
        try:
            connection.connect(address, timeout=seconds, **_options(url, headers, seconds))  # type: ignore[no-untyped-call]
        except websocket.WebSocketBadStatusException as error:
            connection.shutdown()  # type: ignore[no-untyped-call]
            raise HandshakeRefused(error.status_code) from error
        except (websocket.WebSocketException, OSError, ValueError) as error:
            connection.shutdown()  # type: ignore[no-untyped-call]
            raise WebSocketError(type(error).__name__) from error
        return LibrarySocket(connection)

    return within(seconds, connect, discard=LibrarySocket.hang_up)


def _tls_options(tls: Tls) -> dict[str, Any]:
    if tls.insecure:
        return {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    return {"ca_certs": tls.ca_file} if tls.ca_file else {}


def _options(url: ServerUrl, headers: Mapping[str, str], seconds: float) -> dict[str, Any]:
    header = [f"{name}: {value}" for name, value in headers.items()]
    if url.login:
        header.append(f"Authorization: {url.login}")
    options: dict[str, Any] = {"header": header, "suppress_origin": True}
    if url.is_loopback and url.scheme == "http":  # or it would use a proxy from the environment
        options["socket"] = socket.create_connection((url.host, url.port), seconds)
    return options
