"""Listening sockets.

They are opened here rather than by granian: a port in use is reported, a free one can be chosen, and
the system ends connections that read nothing (``TCP_USER_TIMEOUT``, tcp(7)).
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

BACKLOG = 1024
UNSENT_BYTES = 512 * 1024
"""Bytes the system buffers for a client that does not read (TCP_NOTSENT_LOWAT, tcp(7)); without the
limit, several megabytes each."""


def listen(host: str, port: int, stall_seconds: float) -> socket.socket:
    """Return a listening socket; port 0 chooses a free one. Raises OSError, e.g. for a port in use.

    ``stall_seconds``: after which the system ends a connection whose client reads nothing.
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
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if address[0] == "::":  # Windows would take IPv6 only
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def connect_to(listener: socket.socket) -> socket.socket:
    """Return a connection to a socket that listens on this machine. Raises OSError."""
    address = listener.getsockname()
    if isinstance(address, tuple):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104
        return socket.create_connection((host, *address[1:2]))
    connection = socket.socket(listener.family)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def listen_unix(path: Path) -> socket.socket:
    """Return a listening Unix socket that only this user may open; replaces a dead server's."""
    if sys.platform == "win32":
        raise OSError("This system's Python has no Unix sockets.")
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(umask)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
