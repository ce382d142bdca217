"""A server that sends scripted bytes on plain sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from comfyui_pipeline.engine import server_url
from tests.waiting import TIMEOUT

Script = Callable[[socket.socket], None]


@contextmanager
def serving(*scripts: Script) -> Iterator[server_url.ServerUrl]:
    """Serve one connection per script, then close it; yields the server's URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for script in scripts:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(TIMEOUT)
                    script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server_url.parse(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(TIMEOUT)


def request_of(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    return received


def replies(*raw: bytes) -> Script:
    """Return a script that reads a request before sending each of these responses."""

    def script(connection: socket.socket) -> None:
        for response in raw:
            request_of(connection)
            connection.sendall(response)

    return script
