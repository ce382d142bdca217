"""Reads the one call from stdin, also from a host that never closes it.

Runs on older Pythons than the rest, and imports little: it starts before everything else, so that
the host never writes into a closed pipe (VCPToolBox Plugin.js: an unhandled EPIPE).
"""

from __future__ import annotations

import os
import re
import select
import sys
import threading
import time

from comfyui_pipeline.errors import IncompleteCall

MAX_CALL = 32 * 2**20
"""Bytes of one call that are kept. What comes beyond is read and dropped, and the call refused."""
SETTLE_SECONDS = 0.05
"""A pause this long is worth a look whether the object is complete already."""
DRAIN_SECONDS = 1.0
"""A pause this long in a call that is too large means that it is over."""
QUIET_SECONDS = 15.0
"""A pause this long in an incomplete call means that the rest is not coming."""
MAX_DEPTH = 2000
"""Deeper than what the JSON parser accepts: such a call is refused, so it counts as complete."""
PIECE = 2**18
EXAMPLE_CALL = '{"workflow": "text2img_api", "prompt": "a red fox in the snow", "width": "768"}'
"""A correct call, quoted by the errors about incorrect ones."""


class ObjectScanner:
    """Finds the end of the first JSON object in text that arrives in pieces. Looks at a byte once."""

    _IN_STRING = re.compile(rb'["\\]')
    _OUTSIDE = re.compile(rb'["{}\[\]]')

    def __init__(self) -> None:
        self._at = 0
        self._in_string = False
        self._open: list[str] = []  # the brackets that are still missing, the outermost first

    def complete(self, text: bytearray) -> bool:
        """Whether the object has ended; ``text`` is all that arrived up to now."""
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
        """The characters that would complete the object; "" when none has begun."""
        closing = "".join(reversed(self._open[-8:]))
        return ('"' if self._in_string else "") + closing


class CallReader:
    """Reads stdin in a thread of its own, so that the one who waits heeds signals and deadlines.

    A descriptor that does not block (O_NONBLOCK) is waited for as well.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._news = threading.Condition()
        self._kept = bytearray()
        self._size = 0
        self._last = time.monotonic()
        self._ended = False
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def read(self, until: float, *, quiet: float = QUIET_SECONDS) -> bytes:
        """The call: all of stdin, or its first JSON object where stdin stays open.

        At most one byte more than MAX_CALL. Raises Incomplete when nothing has come for ``quiet``
        seconds, or at ``until`` (``time.monotonic()``), and neither has happened.
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
                if size > MAX_CALL:
                    if time.monotonic() - self._last >= DRAIN_SECONDS:
                        break
                    continue
                looked_at = size
                if scanner.complete(self._kept):
                    break
            return bytes(self._kept)

    def _give_up(self, scanner: ObjectScanner, late: bool) -> None:
        """Raise Incomplete, except for text that no further text could complete."""
        scanner.complete(self._kept)
        waited = "within this call's time limit" if late else "any more"
        if not self._kept.strip():
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
            except OSError:  # closed, or a terminal that is gone: what came is the call
                piece = b""
            ended = not piece
            with self._news:
                room = MAX_CALL + 1 - len(self._kept)
                self._kept += piece[:room]
                self._size += len(piece)
                self._last = time.monotonic()
                self._ended = ended
                self._news.notify_all()


def wait_until_ready(descriptor: int, *, for_writing: bool, seconds: float = 1.0) -> None:
    """Wait until a descriptor that does not block can be read or written, at most so many seconds."""
    if sys.platform == "win32" or not hasattr(select, "poll"):  # Windows selects sockets only
        time.sleep(0.01)
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if for_writing else select.POLLIN)
    poll.poll(seconds * 1000)
