"""The standalone server: granian with one or more worker processes."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from ..settings import Config
from .asgi import App
from .send_limits import CONNECTION_BUFFER
from .sockets import BACKLOG, connect_to
from .worker import prepare_worker

STOP_SECONDS = 5
READER_THREADS = 1
"""Threads of a worker that read files for its sockets. More only compete: with two cores, one sends a
quarter more (``run.py bench files``). For slow disks set INPUT_SERVER_WORKERS instead."""
MAX_OPEN_FILES = 16_384


class Server(MPServer):
    """Granian on a socket that already listens. ``on_start`` is called once the workers were started."""

    def __init__(
        self, listener: socket.socket, on_start: Callable[[Server], None], **settings: Any
    ) -> None:
        super().__init__("input_server", **settings)
        self._listener = listener
        self._on_start = on_start

    def _init_shared_socket(self) -> None:
        descriptor = self._listener.fileno()
        unix = self._listener.family == getattr(socket, "AF_UNIX", None)
        self._listener.set_inheritable(True)
        holder: Any = SocketHolder  # granian's types are incomplete here
        self._shd = holder(*holder_arguments(sys.platform, descriptor, unix))
        self._sfd = descriptor  # type: ignore[assignment]
        self._sso = self._listener

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        """Start the workers, then call ``on_start``: forking a process with threads is unsafe."""
        super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self._on_start(self)

    def stop(self) -> None:
        """Stop gracefully; may be called from any thread."""
        self.signal_handler_interrupt()  # type: ignore[no-untyped-call]


def holder_arguments(platform: str, descriptor: int, unix: bool) -> tuple[int | bool, ...]:
    """Return the arguments of granian's SocketHolder, which differ by system (its ``src/net.rs``)."""
    if platform == "win32":
        return (descriptor,)
    if platform.startswith(("linux", "freebsd")):
        return descriptor, unix, BACKLOG
    return descriptor, unix


def serve(
    config: Config,
    listener: socket.socket,
    create_app: Callable[[], App],
    on_start: Callable[[], None],
    *,
    stop_with_stdin: bool = False,
) -> None:
    """Serve until SIGINT, SIGTERM or, with ``stop_with_stdin``, the end of stdin.

    ``create_app`` is called in each worker, ``on_start`` in this process once a worker answers.
    """
    max_connections = _max_connections()
    stdin = _take_stdin() if stop_with_stdin else None

    def started(server: Server) -> None:
        threading.Thread(target=_announce, args=(listener, on_start), daemon=True).start()
        if stdin is not None:
            threading.Thread(target=_stop_with_stdin, args=(server, stdin), daemon=True).start()

    server = Server(
        listener,
        started,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.asyncio,
        websockets=False,
        workers=config.workers,
        backlog=BACKLOG,
        backpressure=max_connections,
        runtime_blocking_threads=READER_THREADS,
        http1_settings=HTTP1Settings(
            header_read_timeout=config.head_seconds * 1000, max_buffer_size=CONNECTION_BUFFER
        ),
        log_level=LogLevels.error,
        workers_kill_timeout=STOP_SECONDS,
        respawn_failed_workers=True,
    )
    try:
        server.serve(
            target_loader=partial(_load_app, create_app, config.workers), wrap_loader=False
        )
    finally:
        listener.close()


def _load_app(create_app: Callable[[], App], workers: int) -> App:
    prepare_worker(workers)
    return create_app()


def _announce(listener: socket.socket, on_start: Callable[[], None]) -> None:
    """Call ``on_start`` once a worker answers: the system accepts connections before that."""
    with suppress(OSError), connect_to(listener) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        connection.recv(1)
    on_start()


def _take_stdin() -> int:
    """Return a descriptor of stdin that children do not inherit; their stdin is empty.

    On Windows a child hangs at its start while a thread reads a pipe that is also the child's stdin
    (python/cpython#78961).
    """
    descriptor = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return descriptor


def _stop_with_stdin(server: Server, stdin: int) -> None:
    with suppress(OSError, ValueError):
        while os.read(stdin, 4096):
            pass
    server.stop()


def _max_connections() -> int:
    """Return the connections of a worker: half of the files it may open, after raising that limit.

    The other half is for files, so that idle connections do not block requests.
    """
    files = MAX_OPEN_FILES
    if sys.platform == "win32":
        return files // 2
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
        if soft < files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(16, files // 2)
