"""A server of its own: granian, on a socket that is bound here.

The socket is ours so that a taken port is told, a free one can be asked for, and the system itself
ends connections that take nothing (``TCP_USER_TIMEOUT``, tcp(7)).
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from ..gallery.routes import Gallery
from ..log import log_line
from ..mounts.disk_usage import cached_usage
from ..mounts.open_files import OpenFileCache, descriptor_limit
from ..mounts.retention import start_cleanup_thread
from ..settings import Config
from .asgi import App
from .handler import FileServer
from .metrics import Metrics
from .metrics_folder import remove_shared_metrics_dir
from .send_buffers import BUFFER, NATIVE_LIMIT, NativeBodies, Streams

BACKLOG = 1024
STOP_SECONDS = 5
READERS = 1
"""Threads that read files for the sockets of a worker. More of them only take turns: with two cores
one moves a quarter more (`run.py bench files`); on slow disks set INPUT_SERVER_WORKERS instead."""
OPEN_FILES = 16_384
UNSENT = 512 * 1024
"""Bytes that the system takes for a client which does not read (TCP_NOTSENT_LOWAT, tcp(7)); without
a limit up to some megabytes for each."""
NATIVE_DESCRIPTORS = 1024
"""With fewer, native code, which opens a file once more and takes a failure for 404, sends none."""


class Server(MPServer):
    """Granian on a socket that already listens."""

    def __init__(
        self, listener: socket.socket, begun: Callable[[Server], None], **settings: Any
    ) -> None:
        super().__init__("input_server", **settings)
        self._listener = listener
        self._begun = begun

    def _init_shared_socket(self) -> None:
        descriptor = self._listener.fileno()
        unix = self._listener.family == getattr(socket, "AF_UNIX", None)
        self._listener.set_inheritable(True)
        holder: Any = SocketHolder  # granian's own types are incomplete here
        self._shd = holder(*holder_arguments(sys.platform, descriptor, unix))
        self._sfd = descriptor  # type: ignore[assignment]
        self._sso = self._listener

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        """Threads begin once the workers are there, as forking a process with threads is unsafe."""
        super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self._begun(self)

    def stop(self) -> None:
        """End gracefully; may be called from any thread."""
        self.signal_handler_interrupt()  # type: ignore[no-untyped-call]


def holder_arguments(platform: str, descriptor: int, unix: bool) -> tuple[int | bool, ...]:
    """What granian's SocketHolder is made of, which differs by system (its ``src/net.rs``)."""
    if platform == "win32":
        return (descriptor,)
    if platform.startswith(("linux", "freebsd")):
        return descriptor, unix, BACKLOG
    return descriptor, unix


def listen(host: str, port: int, stall_seconds: float) -> socket.socket:
    """A socket that listens; ``port`` 0 takes a free one. Raises OSError, also for a taken port.

    ``stall_seconds``: after which the system ends a connection whose other side takes nothing.
    """
    family, kind, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            limit = int(stall_seconds * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: Path) -> socket.socket:
    """The same on a path that only this user may open; a dead server's is taken over."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def serve(
    config: Config,
    listener: socket.socket,
    ready: Callable[[], None],
    *,
    stop_with_stdin: bool = False,
    secret: str = "",
) -> None:
    """Serve until SIGINT, SIGTERM or, where that is wanted, the end of stdin.

    ``secret``: what a bridge in front proves itself with; it is then told which file to send.
    """
    connections = _connections()

    def begun(server: Server) -> None:
        start_cleanup_thread(config.table(_quietly), log_line)
        if stop_with_stdin:
            threading.Thread(target=_wait_for_stdin, args=(server,), daemon=True).start()
        ready()

    server = Server(
        listener,
        begun,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.asyncio,
        websockets=False,
        workers=config.workers,
        backlog=BACKLOG,
        backpressure=connections,
        runtime_blocking_threads=READERS,
        http1_settings=HTTP1Settings(
            header_read_timeout=config.head_seconds * 1000, max_buffer_size=BUFFER
        ),
        log_level=LogLevels.error,
        workers_kill_timeout=STOP_SECONDS,
        respawn_failed_workers=True,
    )
    try:
        server.serve(target_loader=partial(_worker_app, config, secret), wrap_loader=False)
    finally:
        listener.close()


def _worker_app(config: Config, secret: str) -> App:
    """The same as ``make_app``, in the process of a worker and before it begins to serve."""
    _take_signals_at_once()
    return create_app(config, secret)


def _take_signals_at_once() -> None:
    """Let granian handle signals itself, as it does where the loop cannot (its ``_signals.py``).

    asyncio hears of one by a byte in a socket. Under load that socket is full, and the byte is lost: the
    worker would not stop, and be killed after ``STOP_SECONDS``.
    """

    def refuse(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_event_loop()  # granian has set it, it does not run yet
    loop.add_signal_handler = refuse  # type: ignore[method-assign, assignment]


def create_app(config: Config, secret: str = "") -> App:
    """The application of one worker."""
    _end_with_parent(config.workers)
    server = FileServer(config, by_asgi=True)
    metrics = Metrics(cached_usage(server.mounts))
    server.variants.on_variant = metrics.copied
    server.pages["metrics"] = metrics
    server.pages["gallery"] = Gallery(server.mounts, config.signing_key, server.variants.memory)
    return App(
        server,
        metrics,
        log=config.access_log,
        secret=secret,
        stall_seconds=config.stall_seconds,
        streams=Streams(config.workers),
        native=_native_bodies(config, server.files),
    )


def _native_bodies(config: Config, files: OpenFileCache) -> NativeBodies | None:
    """What native code may send in one of the workers; None where it may not."""
    if descriptor_limit() < NATIVE_DESCRIPTORS:
        return None
    return NativeBodies(max(8, NATIVE_LIMIT // config.workers), lambda: files.count)


def _quietly(_text: str) -> None:
    """The workers say what is wrong with the mounts; once is enough."""


def _wait_for_stdin(server: Server) -> None:
    with suppress(OSError, ValueError):
        while os.read(0, 4096):
            pass
    server.stop()


def _end_with_parent(workers: int) -> None:
    """A worker whose parent was killed has nobody to end it."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        remove_shared_metrics_dir(workers)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _connections() -> int:
    """How many connections a worker may have, so that idle ones keep nobody out: half of the files
    that it may have open, which are as many as the system allows, up to a sensible number.
    """
    files = OPEN_FILES
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        if soft < files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(16, files // 2)
