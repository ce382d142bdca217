"""When the file server calls itself started, and what its workers inherit."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from input_server.http import server, sockets
from tests.input_server.running import Running, processes
from tests.waiting import TIMEOUT


def listening(kind: str, folder: Path) -> socket.socket:
    if kind != "unix":
        return sockets.listen(kind, 0, 60)
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        pytest.skip("this system's Python has no Unix sockets")
    return sockets.listen_unix(folder / "socket")


@pytest.mark.parametrize("kind", ["127.0.0.1", "0.0.0.0", "unix"])
def test_a_server_is_announced_once_a_worker_answers(tmp_path: Path, kind: str) -> None:
    announced = threading.Event()
    with listening(kind, tmp_path) as listener:
        listener.settimeout(TIMEOUT)
        thread = threading.Thread(target=server._announce, args=(listener, announced.set))
        thread.start()
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            assert connection.recv(1000).startswith(b"GET /healthz HTTP/1.1\r\n")
            assert not announced.is_set()
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            thread.join(TIMEOUT)
    assert announced.is_set()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_worker_does_not_inherit_stdin(tmp_path: Path) -> None:
    with Running(tmp_path / "m") as running:
        workers = [pid for pid in processes(running.process.pid) if pid != running.process.pid]
        assert workers
        for pid in workers:
            assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)
