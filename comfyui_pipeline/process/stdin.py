"""Read the one call from stdin, also from a host that never closes it.

Runs on older Pythons than the rest (see ``stdio``) and imports little: it starts first, so that the
host never writes into a closed pipe (VCPToolBox Plugin.js does not handle EPIPE).
"""

from __future__ import annotations

import os
import re
import select
import sys
import threading
import time

from comfyui_pipeline.errors import IncompleteCall
from comfyui_pipeline.process.encoding import as_utf8

MAX_CALL_BYTES = 32 * 2**20
"""Bytes of a call. A larger one is read to its end, discarded and refused."""
SETTLE_SECONDS = 0.05
"""After a pause this long the reader checks whether the object is complete."""
DRAIN_SECONDS = 1.0
"""A pause this long in a call that is too large counts as its end."""
QUIET_SECONDS = 15.0
"""After a pause this long an incomplete call is given up."""
MAX_DEPTH = 2000
"""Deeper nesting than the JSON parser accepts counts as complete, as the call is refused anyway."""
PIECE = 2**18
EXAMPLE_CALL = '{"workflow": "text2img_api", "prompt": "a red fox in the snow", "width": "768"}'
"""A correct call, quoted by the errors about incorrect ones."""


class ObjectScanner:
    """Finds the end of the first JSON object in text that arrives in pieces, in linear time."""

    _IN_STRING = re.compile(rb'["\\]')
    _OUTSIDE = re.compile(rb'["{}\[\]]')

    def __init__(self) -> None:
        self._at = 0
        self._in_string = False
        self._open: list[str] = []  # the closing brackets to come, the outermost first

    def complete(self, text: bytes | bytearray) -> bool:
        """Whether the object is complete; ``text`` is everything received so far."""
        while True:
            pattern = self._IN_STRING if self._in_string else self._OUTSIDE
            found = pattern.search(text, self._at)
            if found is None:
                self._at = max(self._at, len(text))
                return False
            mark = found.group()
            if mark == b"\\":
                if found.end() == len(text):
                    self._at = found.start()
                    return False
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark in b"{[":
                self._open.append("}" if mark == b"{" else "]")
                if len(self._open) > MAX_DEPTH:
                    return True
            else:
                self._open[-1:] = []
                if not self._open:
                    return True

    @property
    def missing(self) -> str:
        """The characters that would complete the object; "" if none has begun."""
        closing = "".join(reversed(self._open[-8:]))
        return ('"' if self._in_string else "") + closing


class CallReader:
    """Reads stdin in a separate thread, so that waiting for the call handles signals and deadlines.

    Works for non-blocking descriptors (O_NONBLOCK) too.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._news = threading.Condition()
        self._received = bytearray()
        self._size = 0
        self._last = time.monotonic()
        self._ended = False
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def read(self, until: float, *, quiet: float = QUIET_SECONDS) -> bytes:
        """Return the call: all of stdin, or its first JSON object if stdin stays open.

        At most one byte more than MAX_CALL_BYTES. Raises IncompleteCall if the call is incomplete after
        ``quiet`` seconds without input, or at ``until`` (``time.monotonic()``).
        """
        scanner, looked_at = ObjectScanner(), 0
        with self._news:
            while not self._ended:
                size = self._size
                fresh = size != looked_at
                now = time.monotonic()
                left = min(until, self._last + quiet) - now
                if left <= 0:
                    self._give_up(scanner, now >= until)
                    break
                self._news.wait(min(left, SETTLE_SECONDS if fresh else 1.0))
                if self._size != size or self._ended or not fresh:
                    continue
                if size > MAX_CALL_BYTES:
                    if time.monotonic() - self._last >= DRAIN_SECONDS:
                        break
                    continue
                looked_at = size
                if scanner.complete(as_utf8(self._received)):
                    break
            return bytes(self._received)

    def _give_up(self, scanner: ObjectScanner, late: bool) -> None:
        """Raise IncompleteCall, except for text that no further input could complete."""
        scanner.complete(as_utf8(self._received))
        waited = "within this call's time limit" if late else "any more"
        if not self._received.strip():
            raise IncompleteCall(
                "Nothing arrived on stdin: no call was written to it, and it was not closed."
            )
        if scanner.missing:
            raise IncompleteCall(
                f"The call is incomplete: {self._size} bytes arrived, nothing came {waited}, and the "
                f"JSON object is not closed ({scanner.missing} is missing)."
            )

    def _read(self) -> None:
        ended = False
        while not ended:
            try:
                piece = os.read(self._descriptor, PIECE)
            except BlockingIOError:
                wait_until_ready(self._descriptor, for_writing=False)
                continue
            except OSError:  # closed, or the terminal is gone: the input so far is the call
                piece = b""
            ended = not piece
            with self._news:
                room = MAX_CALL_BYTES + 1 - len(self._received)
                self._received += piece[:room]
                self._size += len(piece)
                self._last = time.monotonic()
                self._ended = ended
                self._news.notify_all()


def wait_until_ready(descriptor: int, *, for_writing: bool, seconds: float = 1.0) -> None:
    """Wait until a non-blocking descriptor is ready, at most ``seconds``."""
    if sys.platform == "win32" or not hasattr(select, "poll"):  # Windows selects sockets only
        time.sleep(0.01)
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if for_writing else select.POLLIN)
    poll.poll(seconds * 1000)
