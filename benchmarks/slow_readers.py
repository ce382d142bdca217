"""Many clients that download a large file very slowly."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

READ_BYTES = 1024
"""Bytes that a client reads at a time."""
PAUSE = 1.0
"""Seconds between two reads of a client."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Numbers of clients: ``served`` got the start of the file, ``refused`` another response."""

    served: int
    refused: int


@contextmanager
def slow_readers(url: str, count: int, *, ranges: bool) -> Iterator[Readers]:
    """Hold ``count`` connections that slowly read ``url`` until the block ends.

    ``ranges``: each requests a different range instead of the complete file.
    """
    ended = threading.Event()
    with ExitStack() as stack:
        readers = [
            stack.enter_context(_request(url, number if ranges else None))
            for number in range(count)
        ]
        firsts = [reader.recv(READ_BYTES)[9:12] for reader in readers]
        served = sum(status in (b"200", b"206") for status in firsts)
        reading = threading.Thread(target=_read_slowly, args=(readers, ended))
        reading.start()
        try:
            yield Readers(served, count - served)
        finally:
            ended.set()
            reading.join()


def _request(url: str, start: int | None) -> socket.socket:
    parts = urlsplit(url)
    reader = socket.create_connection((parts.hostname or "", parts.port or 80), 30)
    range_header = "" if start is None else f"Range: bytes={start}-\r\n"
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n{range_header}\r\n"
    reader.sendall(head.encode())
    return reader


def _read_slowly(readers: list[socket.socket], ended: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ)
        while not ended.wait(PAUSE):
            for key, _ in selector.select(0):
                content = (
                    key.fileobj.recv(READ_BYTES) if isinstance(key.fileobj, socket.socket) else b""
                )
                if not content:
                    selector.unregister(key.fileobj)  # aborted by the server
