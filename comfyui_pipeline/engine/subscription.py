"""The socket of one run: opened, listened to, and opened anew when it broke."""

from __future__ import annotations

import time
from collections.abc import Callable

import websocket

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
GOODBYE_SECONDS = 1.0
TEMPORARY = frozenset({500, 502, 503, 504})
"""Answers to the handshake after which it is worth another try; any other means: no sockets here."""


class Subscription:
    """Frames of one client id.

    The server knows one socket an id: the older of two falls silent, and when *it* closes the newer
    one is forgotten as well (ComfyUI server.py). So an old one is closed for good before a new one
    is opened, and whoever waits has to ask the queue and the history all the same.
    """

    def __init__(
        self, connect: Callable[[], websocket.WebSocket], log: Callable[[str], None]
    ) -> None:
        self._connect = connect
        self._log = log
        self._socket: websocket.WebSocket | None = None
        self._next_try: float | None = time.monotonic()
        self._pause = FIRST_PAUSE
        self.opened = 0.0
        self._open()

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def next(self, until: float) -> str | bytes | None:
        """The next frame; None when there was none until ``until`` (``time.monotonic()``), or as
        soon as the socket broke or was opened again.
        """
        if self._socket is None:
            self._wait_and_open(until)
            return None
        try:
            self._socket.settimeout(max(0.01, until - time.monotonic()))
            frame = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError, ValueError) as error:
            self._broke(f"the socket broke ({type(error).__name__})")
            return None
        if frame == "" and not self._socket.connected:
            self._broke("the socket was closed")
            return None
        return frame

    def renew(self) -> None:
        """Close a socket that says nothing, to open another one."""
        if self._socket is None:
            return
        self._socket.close(timeout=GOODBYE_SECONDS)
        self._broke("the socket was silent")

    def close(self) -> None:
        """Close at once, without waiting for the other side's goodbye."""
        socket, self._socket, self._next_try = self._socket, None, None
        if socket is not None:
            socket.shutdown()  # type: ignore[no-untyped-call]

    def _broke(self, why: str) -> None:
        self.close()
        self._log(f"{why}; asking the server instead until another one is open")
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
        except websocket.WebSocketBadStatusException as error:
            self._log(f"no socket here ({error.status_code}); asking the server instead")
            temporary = error.status_code in TEMPORARY
            self._next_try = time.monotonic() + self._pause if temporary else None
        except (websocket.WebSocketException, OSError, ValueError) as error:
            self._log(f"no socket ({type(error).__name__}); asking the server instead")
            self._next_try = time.monotonic() + self._pause
        else:
            self.opened = time.monotonic()
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
