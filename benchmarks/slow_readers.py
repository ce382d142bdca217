"""Many clients that ask for a large file and take next to nothing of it."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

SIP = 1024
"""Bytes that a reader takes at once."""
PAUSE = 1.0
"""Seconds between two sips of each reader."""


@dataclass(frozen=True, slots=True)
class Readers:
    """``served``: how many got the beginning of the file; ``refused``: how many another answer."""

    served: int
    refused: int


@contextmanager
def slow_readers(address: str, count: int, *, ranges: bool) -> Iterator[Readers]:
    """Hold ``count`` connections that read ``address`` a little at a time, until the block ends.

    ``ranges``: each asks for a part of its own rather than for the file.
    """
    ended = threading.Event()
    with ExitStack() as stack:
        readers = [
            stack.enter_context(_asking(address, number if ranges else None))
            for number in range(count)
        ]
        firsts = [reader.recv(SIP)[9:12] for reader in readers]
        served = sum(status in (b"200", b"206") for status in firsts)
        sipping = threading.Thread(target=_sip, args=(readers, ended))
        sipping.start()
        try:
            yield Readers(served, count - served)
        finally:
            ended.set()
            sipping.join()


def _asking(address: str, part: int | None) -> socket.socket:
    parts = urlsplit(address)
    reader = socket.create_connection((parts.hostname or "", parts.port or 80), 30)
    asked = "" if part is None else f"Range: bytes={part}-\r\n"
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n{asked}\r\n"
    reader.sendall(head.encode())
    return reader


def _sip(readers: list[socket.socket], ended: threading.Event) -> None:
    with selectors.DefaultSelector() as waiting:
        for reader in readers:
            waiting.register(reader, selectors.EVENT_READ)
        while not ended.wait(PAUSE):
            for key, _ in waiting.select(0):
                sip = key.fileobj.recv(SIP) if isinstance(key.fileobj, socket.socket) else b""
                if not sip:
                    waiting.unregister(key.fileobj)  # the server gave it up
