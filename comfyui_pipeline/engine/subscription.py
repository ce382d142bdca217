"""The WebSocket of one job: opened, read, and opened again when it breaks."""

from __future__ import annotations

import time
from collections.abc import Callable

from comfyui_pipeline.engine.time_limited import OutOfTime
from comfyui_pipeline.engine.websocket import (
    HandshakeRefused,
    MessageTooLarge,
    Socket,
    WebSocketError,
)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
TEMPORARY = frozenset({500, 502, 503, 504})
"""Statuses of a handshake after which another try may help; any other means: no WebSockets here."""


class Subscription:
    """The messages for one client id.

    The server knows one socket per id: when a second one is opened, the first receives nothing more,
    and when *that* closes, the second one is forgotten as well (ComfyUI server.py). So the old socket
    is closed for good before a new one is opened, and the caller has to ask the queue and the history
    in any case.
    """

    def __init__(self, connect: Callable[[], Socket], log: Callable[[str], None]) -> None:
        self._connect = connect
        self._log = log
        self._socket: Socket | None = None
        self._next_try: float | None = time.monotonic()
        self._pause = FIRST_PAUSE
        self.opened_at = 0.0
        self.too_large = ""  # what was announced and not read
        self._open()

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def next(self, until: float) -> str | bytes | None:
        """The next message; None when there was none ``until`` then (``time.monotonic()``), or as
        soon as the socket broke or was opened again.
        """
        if self._socket is None:
            self._wait_and_open(until)
            return None
        try:
            return self._socket.receive(until)
        except MessageTooLarge as error:
            self.too_large = str(error)
            self._disconnected(f"the server sent {error}, which is too large")
        except WebSocketError as error:
            self._disconnected(f"the WebSocket was disconnected ({error})")
        return None

    def renew(self) -> None:
        """Replace a socket on which nothing arrives."""
        if self._socket is None:
            return
        self._socket.close()
        self._disconnected("nothing arrived on the WebSocket")

    def close(self) -> None:
        """Close at once, without waiting for the server."""
        socket, self._socket, self._next_try = self._socket, None, None
        if socket is not None:
            socket.hang_up()

    def _disconnected(self, why: str) -> None:
        self.close()
        self._log(f"{why}; polling the server until it reconnects")
        self._next_try = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _wait_and_open(self, until: float) -> None:
        moment = until if self._next_try is None else min(until, self._next_try)
        time.sleep(max(0.01, moment - time.monotonic()))
        if self._next_try is not None and time.monotonic() >= self._next_try:
            self._open()

    def _open(self) -> None:
        try:
            self._socket = self._connect()
        except HandshakeRefused as error:
            self._log(f"the WebSocket was refused ({error.status}); polling the server instead")
            temporary = error.status in TEMPORARY
            self._next_try = time.monotonic() + self._pause if temporary else None
        except OutOfTime:
            self._log("the WebSocket timed out; polling the server instead")
            self._pause = LONGEST_PAUSE  # each further try would delay the polling
            self._next_try = time.monotonic() + self._pause
        except WebSocketError as error:
            self._log(f"the WebSocket failed ({error}); polling the server instead")
            self._next_try = time.monotonic() + self._pause
        else:
            self.opened_at = time.monotonic()
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
