"""A TCP connection whose every step ends in time, and the head of an HTTP response read from it."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from comfyui_pipeline.engine.server_url import ServerUrl
from comfyui_pipeline.engine.time_limited import OutOfTime, within
from comfyui_pipeline.engine.transport import (
    CONNECT_SECONDS,
    PIECE,
    Disconnected,
    Headers,
    InvalidResponse,
    NotConnected,
)

MAX_LINE = 2**16
MAX_FIELDS = 100
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
Address = tuple[int, int, int, str, Any]


class Wire:
    """A connected socket and the bytes that were received and not yet used."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.buffer = bytearray()

    def send(self, content: bytes, until: float) -> None:
        """Raises OutOfTime, OSError."""
        self.socket.settimeout(_left(until))
        try:
            self.socket.sendall(content)
        except TimeoutError:
            raise OutOfTime from None

    def fill(self, until: float) -> bool:
        """Receive what there is; False when the other side has closed. Raises OutOfTime, OSError."""
        self.socket.settimeout(_left(until))
        try:
            received = self.socket.recv(PIECE)
        except TimeoutError:
            raise OutOfTime from None
        self.buffer += received
        return bool(received)

    def take(self, count: int) -> bytes:
        """The first bytes of the buffer."""
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def line(self, until: float) -> bytes:
        """A line without its end. Raises InvalidResponse, EOFError, and as ``fill`` does."""
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > MAX_LINE:
                break
            if not self.fill(until):
                raise EOFError("the connection was closed within a line")
        if end < 0 or end > MAX_LINE:
            raise InvalidResponse(f"a line of more than {MAX_LINE} bytes")
        return self.take(end + 1).rstrip(b"\r\n")

    @property
    def is_usable(self) -> bool:
        """Whether it can take another request: nothing is there to read, not even its end."""
        if self.buffer:
            return False
        try:
            self.socket.setblocking(False)
            return self.socket.recv(1, socket.MSG_PEEK) is None
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False

    def close(self) -> None:
        self.socket.close()


def connect(url: ServerUrl, until: float, seconds: float = CONNECT_SECONDS) -> Wire:
    """Connect to the first address that takes it, in ``seconds`` each. Raises NotConnected."""
    refused = False
    for family, kind, protocol, _, address in _addresses(url, until):
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(max(0.01, min(seconds, until - time.monotonic())))
            connecting.connect(address)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connecting.close()
            refused = refused or isinstance(error, ConnectionRefusedError)
        except BaseException:
            connecting.close()
            raise
        else:
            return Wire(connecting)
    raise NotConnected(refused=refused)


def _addresses(url: ServerUrl, until: float) -> Sequence[Address]:
    """The addresses behind the name. Only resolving one, which has no time limit, needs a thread."""
    if "." in url.host and _is_literal(url.host):
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (url.host, url.port))]

    def resolve() -> Sequence[Address]:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        # ComfyUI listens on 127.0.0.1 only; trying ::1 before it takes 2 s on Windows.
        return sorted(found, key=lambda a: a[0] != socket.AF_INET) if url.is_loopback else found

    try:
        if url.is_loopback or _is_literal(url.host):
            return resolve()
        return within(until - time.monotonic(), resolve)
    except (OSError, UnicodeError, OutOfTime):
        raise NotConnected(refused=False) from None


def _is_literal(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def request_head(method: str, url: ServerUrl, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request (RFC 9112 3). Raises ValueError for a line break in a field."""
    fields = {"Host": url.authority, **headers}
    if url.login:
        fields = {name: value for name, value in fields.items() if name.lower() != "authorization"}
        fields["Authorization"] = url.login
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header field")
    text = "\r\n".join([*lines, "", ""])
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def response_head(wire: Wire, until: float) -> tuple[int, Headers, bool]:
    """Status, header fields, and whether it is HTTP/1.1. Informational responses are skipped.

    Raises OutOfTime, Disconnected, InvalidResponse.
    """
    try:
        while True:
            line = wire.line(until)
            matched = STATUS_LINE.fullmatch(line)
            if matched is None:
                raise InvalidResponse("no status line")
            status, headers = int(matched[1]), _fields(wire, until)
            if status >= 200 or status == 101:
                return status, headers, line.startswith(b"HTTP/1.1")
    except (OSError, EOFError) as error:
        raise Disconnected(type(error).__name__) from error


def _fields(wire: Wire, until: float) -> Headers:
    """Header fields up to the empty line; what has no name is left out."""
    headers = Headers()
    for _ in range(MAX_FIELDS + 1):
        line = wire.line(until)
        if not line:
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and name.strip():
            headers.add(name.strip(), value.strip())
    raise InvalidResponse(f"more than {MAX_FIELDS} header fields")


def _left(until: float) -> float | None:
    """Seconds until then, as ``settimeout`` takes them. Raises OutOfTime."""
    left = until - time.monotonic()
    if left <= 0:
        raise OutOfTime
    return None if left > 10**6 else left
