"""A WebSocket client on a plain socket (RFC 6455), and what every client here offers and raises.

``library_websocket`` uses websocket-client instead, for TLS and proxies: importing it takes four times
as long as starting Python. The same tests run over both.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from typing import Protocol

from comfyui_pipeline.engine.server_url import ServerUrl
from comfyui_pipeline.engine.time_limited import OutOfTime
from comfyui_pipeline.engine.transport import Disconnected, InvalidResponse, NotConnected
from comfyui_pipeline.engine.wire import Wire, connect, request_head, response_head

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FINAL, MASKED = 0x80, 0x80
MAX_CONTROL = 125
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
GOODBYE_SECONDS = 1.0
SEND_SECONDS = 5.0
MAX_MESSAGE = 64 * 2**20
"""Bytes of one message: the largest are images that a node sends over the socket (ComfyUI
``SaveImageWebsocket``); an uncompressed one of 4096 x 4096 pixels has 48 MB."""


class WebSocketError(Exception):
    """The socket could not be opened, or can be used no longer."""


class HandshakeRefused(WebSocketError):
    """The server answered the handshake with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class MessageTooLarge(WebSocketError):
    """A message of more than the limit was announced; it was not read."""


class Socket(Protocol):
    """An open WebSocket."""

    def receive(self, until: float) -> str | bytes | None:
        """The next message; None when there was none ``until`` then (``time.monotonic()``).

        A message of which a part has come by then is continued by the next call. Raises
        WebSocketError when the socket is closed or broken, or MessageTooLarge.
        """
        ...

    def send_text(self, text: str) -> None:
        """Raises WebSocketError."""
        ...

    def close(self) -> None:
        """Close properly: wait for the server's close frame, at most GOODBYE_SECONDS."""
        ...

    def hang_up(self) -> None:
        """Close at once."""
        ...


def open_socket(
    url: ServerUrl,
    target: str,
    headers: Mapping[str, str],
    until: float,
    max_message: int,
) -> PlainSocket:
    """Connect and shake hands by ``until``. ``target``: path and query after the base URL.

    Raises OutOfTime, WebSocketError.
    """
    key = base64.b64encode(os.urandom(16))
    fields = {
        **headers,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key.decode(),
        "Sec-WebSocket-Version": "13",
    }
    head = request_head("GET", url, url.path + url.with_query(target), fields)
    try:
        wire = connect(url, until)
    except NotConnected as error:
        raise WebSocketError(str(error)) from error
    try:
        wire.send(head, until)
        status, answered, _ = response_head(wire, until)
        if status != 101:
            raise HandshakeRefused(status)
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
        if answered.get("Sec-WebSocket-Accept") != accept:
            raise WebSocketError("no WebSocket handshake")
    except (OSError, Disconnected, InvalidResponse) as error:
        wire.close()
        raise WebSocketError(type(error).__name__) from error
    except BaseException:
        wire.close()
        raise
    return PlainSocket(wire, max_message)


class PlainSocket:
    """Implements ``Socket``. ``max_message``: bytes of one message."""

    def __init__(self, wire: Wire, max_message: int) -> None:
        self._wire = wire
        self._max_message = max_message
        self._opcode = CONTINUATION  # of the message whose fragments are coming
        self._fragments = bytearray()

    def receive(self, until: float) -> str | bytes | None:
        try:
            while True:
                frame = self._next_frame(until)
                message = self._message(*frame)
                if message is not None:
                    return message
        except OutOfTime:
            return None
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise WebSocketError(type(error).__name__) from error

    def send_text(self, text: str) -> None:
        self._send(TEXT, text.encode())

    def close(self) -> None:
        until = time.monotonic() + GOODBYE_SECONDS
        with contextlib.suppress(WebSocketError):
            self._send(CLOSE, (1000).to_bytes(2, "big"))
            while self.receive(until) is not None:
                pass
        self.hang_up()

    def hang_up(self) -> None:
        self._wire.close()

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send one frame; a client masks it (RFC 6455 5.3)."""
        size = len(payload)
        if size <= MAX_CONTROL:
            length = bytes([MASKED | size])
        elif size < 2**16:
            length = bytes([MASKED | 126]) + size.to_bytes(2, "big")
        else:
            length = bytes([MASKED | 127]) + size.to_bytes(8, "big")
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        frame = bytes([FINAL | opcode]) + length + mask + masked
        try:
            self._wire.send(frame, time.monotonic() + SEND_SECONDS)
        except (OSError, OutOfTime) as error:
            raise WebSocketError(type(error).__name__) from error

    def _next_frame(self, until: float) -> tuple[int, bool, bytes]:
        """Opcode, whether it is the last of its message, and payload (RFC 6455 5.2)."""
        self._need(2, until)
        first, second = self._wire.buffer[:2]
        opcode, final, size = first & 0x0F, bool(first & FINAL), second & 0x7F
        if first & 0x70 or second & MASKED or opcode not in (0, 1, 2, 8, 9, 10):
            raise WebSocketError("a frame that RFC 6455 does not allow")
        head = 2
        if size >= 126:
            head = 4 if size == 126 else 10
            self._need(head, until)
            size = int.from_bytes(self._wire.buffer[2:head], "big")
        if opcode >= CLOSE and (size > MAX_CONTROL or not final):
            raise WebSocketError("a control frame that RFC 6455 does not allow")
        if size + len(self._fragments) > self._max_message:
            raise MessageTooLarge(f"a message of at least {size + len(self._fragments)} bytes")
        self._need(head + size, until)
        self._wire.take(head)
        return opcode, final, self._wire.take(size)

    def _need(self, count: int, until: float) -> None:
        """Have that many bytes in the buffer."""
        while len(self._wire.buffer) < count:
            if not self._wire.fill(until):
                raise EOFError("the connection was closed")

    def _message(self, opcode: int, final: bool, payload: bytes) -> str | bytes | None:
        """The message that this frame completes; control frames are answered."""
        if opcode == PING:
            self._send(PONG, payload)
        elif opcode == CLOSE:
            with contextlib.suppress(WebSocketError):
                self._send(CLOSE, payload[:2])
            raise WebSocketError("the server closed it")
        if opcode >= CLOSE:
            return None
        if (opcode == CONTINUATION) is (self._opcode == CONTINUATION):
            raise WebSocketError("fragments out of order")
        self._opcode = opcode or self._opcode
        self._fragments += payload
        if not final:
            return None
        kind, content = self._opcode, bytes(self._fragments)
        self._opcode = CONTINUATION
        self._fragments.clear()
        return content.decode() if kind == TEXT else content
