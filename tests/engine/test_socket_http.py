"""HTTP on plain sockets: framing and reuse of connections."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from comfyui_pipeline.engine import server_url
from comfyui_pipeline.engine.socket_http import SocketTransport
from comfyui_pipeline.engine.time_limited import OutOfTime
from comfyui_pipeline.engine.transport import (
    Disconnected,
    InvalidResponse,
    NotConnected,
    Request,
    Response,
)
from tests.engine.raw_server import replies, request_of, serving
from tests.waiting import TIMEOUT


def body_of(response: Response) -> bytes:
    try:
        return b"".join(iter(lambda: response.read(time.monotonic() + TIMEOUT), b""))
    finally:
        response.close()


def transport_to(url: server_url.ServerUrl) -> SocketTransport:
    return SocketTransport(url, {}, TIMEOUT, 2)


def get(transport: SocketTransport, seconds: float = TIMEOUT) -> Response:
    return transport.open(Request("GET", "/queue"), time.monotonic() + seconds)


def fetched(url: server_url.ServerUrl) -> bytes:
    transport = transport_to(url)
    try:
        return body_of(get(transport))
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("head", "body", "content"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3", b"abcdef", b"abc"),
        ("HTTP/1.1 200 OK", b"abc", b"abc"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x", b"abc", b"abc"),
        ("HTTP/1.0 200\r\ncontent-length: 3", b"abc", b"abc"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1", b"a", b"a"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 3", b"abc", b""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            b"2;name=x\r\nab\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
            b"ab0123456789",
        ),
    ],
)
def test_a_body_ends_where_its_framing_says(head: str, body: bytes, content: bytes) -> None:
    with serving(replies(head.encode() + b"\r\n\r\n" + body)) as url:
        assert fetched(url) == content


@pytest.mark.parametrize(
    ("head", "body", "error"),
    [
        ("Content-Length: 5", b"abc", EOFError),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n", EOFError),
        ("Transfer-Encoding: chunked", b"-3\r\nabc\r\n0\r\n\r\n", InvalidResponse),
        ("Transfer-Encoding: chunked", b"3\r\nabcd\r\n0\r\n\r\n", InvalidResponse),
    ],
)
def test_a_truncated_or_malformed_body_is_an_error(
    head: str, body: bytes, error: type[Exception]
) -> None:
    raw = f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body
    with serving(replies(raw)) as url, pytest.raises(error):
        fetched(url)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", InvalidResponse),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000, InvalidResponse),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n", InvalidResponse),
        (b"", Disconnected),
        (b"HTTP/1.1 200 OK\r\nContent-", Disconnected),
    ],
)
def test_bytes_that_are_not_http_are_an_error(raw: bytes, error: type[Exception]) -> None:
    with serving(replies(raw)) as url, pytest.raises(error):
        get(transport_to(url))


def test_a_connection_is_reused_only_after_its_body_was_read() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with serving(replies(reply, reply), replies(reply)) as url:
        transport = transport_to(url)
        assert body_of(get(transport)) == b"abc"
        get(transport).close()  # on the same connection, which is closed with its body unread
        assert body_of(get(transport)) == b"abc"
        transport.close()


def test_an_idle_connection_closed_by_the_server_is_replaced() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with serving(replies(reply), replies(reply)) as url:
        transport = transport_to(url)
        assert body_of(get(transport)) == b"abc"
        idle = transport._idle[0].socket
        idle.settimeout(TIMEOUT)
        assert idle.recv(1, socket.MSG_PEEK) == b""  # the server's end has arrived
        assert body_of(get(transport)) == b"abc"
        transport.close()


def test_a_server_that_sends_byte_by_byte_is_stopped_at_the_deadline() -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not ended.wait(0.02):
            connection.sendall(b"a")

    with serving(drip) as url:
        with pytest.raises(OutOfTime):
            get(transport_to(url), 0.3)
        ended.set()


def test_a_closed_port_is_reported_as_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotConnected) as caught:
        get(transport_to(server_url.parse(f"http://127.0.0.1:{port}")))
    assert caught.value.refused


def test_a_header_with_a_line_break_is_refused() -> None:
    with serving(lambda connection: None) as url, pytest.raises(ValueError, match="line break"):
        SocketTransport(url, {"X-A": "b\r\nX-C: d"}, TIMEOUT, 2).open(
            Request("GET", "/"), time.monotonic() + TIMEOUT
        )
