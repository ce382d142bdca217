"""The socket of one run: opened, listened to, and opened anew when it broke."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import websocket

from comfyui_pipeline.engine.timeouts import Late

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
GOODBYE_SECONDS = 1.0
MAX_MESSAGE = 64 * 2**20
"""Bytes of one message: the largest are pictures that a node sends over the socket (ComfyUI
``SaveImageWebsocket``); an uncompressed one of 4096 x 4096 pixels has 48 MB."""
TEMPORARY = frozenset({500, 502, 503, 504})
"""Answers to the handshake after which it is worth another try; any other means: no sockets here."""


class TooLarge(websocket.WebSocketException):
    """A frame or a message of more than MAX_MESSAGE bytes was announced; it was not read."""


class _Frames(websocket.frame_buffer):
    def recv_length(self) -> None:
        super().recv_length()
        if (self.length or 0) > MAX_MESSAGE:
            raise TooLarge(f"a frame of {self.length} bytes")


class _Fragments(websocket.continuous_frame):
    def add(self, frame: websocket.ABNF) -> None:
        if self.cont_data and len(self.cont_data[1]) + len(frame.data) > MAX_MESSAGE:
            raise TooLarge("a message in fragments")
        super().add(frame)


class Socket(websocket.WebSocket):
    """A WebSocket whose ``recv`` ends at ``until``, even when a frame comes a byte at a time; the
    next ``recv`` goes on with that frame.
    """

    def __init__(self) -> None:
        super().__init__(skip_utf8_validation=True)  # decoding the text notices it as well
        self.until = math.inf
        self.frame_buffer = _Frames(self._recv, True)
        self.cont_frame = _Fragments(False, True)

    def _recv(self, bufsize: int) -> bytes:
        left = self.until - time.monotonic()
        if left <= 0:
            raise websocket.WebSocketTimeoutException("nothing more came in time")
        if self.sock is not None and not math.isinf(left):
            self.sock.settimeout(left)
        received: bytes = super()._recv(bufsize)  # type: ignore[no-untyped-call]
        return received

    def hang_up(self) -> None:
        """Close at once, without waiting for the other side's goodbye."""
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self.shutdown()  # type: ignore[no-untyped-call]


class Subscription:
    """Frames of one client id.

    The server knows one socket an id: the older of two falls silent, and when *it* closes the newer
    one is forgotten as well (ComfyUI server.py). So an old one is closed for good before a new one
    is opened, and whoever waits has to ask the queue and the history all the same.
    """

    def __init__(self, connect: Callable[[], Socket], log: Callable[[str], None]) -> None:
        self._connect = connect
        self._log = log
        self._socket: Socket | None = None
        self._next_try: float | None = time.monotonic()
        self._pause = FIRST_PAUSE
        self.opened = 0.0
        self.too_large = ""  # what was announced and not read
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
            self._socket.until = max(until, time.monotonic() + 0.01)
            frame = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except TooLarge as error:
            self.too_large = str(error)
            self._broke(f"the server sent {error}, more than {MAX_MESSAGE >> 20} MB")
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
        self._socket.until = time.monotonic() + GOODBYE_SECONDS
        with contextlib.suppress(websocket.WebSocketException, OSError, ValueError):
            self._socket.close(timeout=GOODBYE_SECONDS)
        self._broke("the socket was silent")

    def close(self) -> None:
        """Close at once, without waiting for the other side's goodbye."""
        socket, self._socket, self._next_try = self._socket, None, None
        if socket is not None:
            socket.hang_up()

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
        except Late:
            self._log("no socket (the server does not answer); asking the server instead")
            self._pause = LONGEST_PAUSE  # each further try would keep the run from being asked for
            self._next_try = time.monotonic() + self._pause
        except (websocket.WebSocketException, OSError, ValueError) as error:
            self._log(f"no socket ({type(error).__name__}); asking the server instead")
            self._next_try = time.monotonic() + self._pause
        else:
            self.opened = time.monotonic()
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
