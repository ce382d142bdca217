"""HTTP and WebSocket on plain sockets: framing, reuse of connections, and when they are chosen."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfyui_pipeline.engine import server_url, websocket
from comfyui_pipeline.engine.socket_http import SocketTransport
from comfyui_pipeline.engine.time_limited import OutOfTime
from comfyui_pipeline.engine.transport import (
    Disconnected,
    InvalidResponse,
    NotConnected,
    Request,
    Response,
)
from tests.waiting import TIMEOUT

Script = Callable[[socket.socket], None]


@contextmanager
def serving(*scripts: Script) -> Iterator[server_url.ServerUrl]:
    """A server whose first connections follow the scripts, one each, and are then closed."""
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
    """Read a request before each of these responses."""

    def script(connection: socket.socket) -> None:
        for response in raw:
            request_of(connection)
            connection.sendall(response)

    return script


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
def test_a_body_that_breaks_off_or_is_malformed_raises(
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
def test_what_is_no_response_raises(raw: bytes, error: type[Exception]) -> None:
    with serving(replies(raw)) as url, pytest.raises(error):
        get(transport_to(url))


def test_a_connection_is_used_again_only_after_its_body_was_read() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with serving(replies(reply, reply), replies(reply)) as url:
        transport = transport_to(url)
        assert body_of(get(transport)) == b"abc"
        get(transport).close()  # on the same connection, which is closed with its body unread
        assert body_of(get(transport)) == b"abc"
        transport.close()


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with serving(replies(reply), replies(reply)) as url:
        transport = transport_to(url)
        assert body_of(get(transport)) == b"abc"
        idle = transport._idle[0].socket
        idle.settimeout(TIMEOUT)
        assert idle.recv(1, socket.MSG_PEEK) == b""  # the server's end has arrived
        assert body_of(get(transport)) == b"abc"
        transport.close()


def test_a_server_that_sends_a_byte_at_a_time_ends_in_time() -> None:
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


def test_a_closed_port_is_a_connection_that_was_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotConnected) as caught:
        get(transport_to(server_url.parse(f"http://127.0.0.1:{port}")))
    assert caught.value.refused


def test_a_header_adds_no_line() -> None:
    with serving(lambda connection: None) as url, pytest.raises(ValueError, match="line break"):
        SocketTransport(url, {"X-A": "b\r\nX-C: d"}, TIMEOUT, 2).open(
            Request("GET", "/"), time.monotonic() + TIMEOUT
        )


# -- WebSocket -------------------------------------------------------------------------------------


def frame(first: int, payload: bytes = b"") -> bytes:
    return bytes([first, len(payload)]) + payload


def upgraded(*frames: bytes, received: list[bytes] | None = None) -> Script:
    """Shake hands, send the frames, then collect what the client sends until it closes."""

    def script(connection: socket.socket) -> None:
        lines = request_of(connection).decode().split("\r\n")
        key = next(line.split(": ")[1] for line in lines if line.startswith("Sec-WebSocket-Key"))
        digest = hashlib.sha1(key.encode() + websocket.GUID, usedforsecurity=False).digest()
        accept = base64.b64encode(digest).decode()
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            + b"".join(frames)
        )
        while received is not None and (part := connection.recv(4096)):
            received.append(part)

    return script


def opened(url: server_url.ServerUrl) -> websocket.PlainSocket:
    return websocket.open_socket(url, "/ws?clientId=x", {}, time.monotonic() + TIMEOUT, 1000)


def test_messages_are_joined_from_fragments_with_control_frames_between() -> None:
    received: list[bytes] = []
    frames = [
        frame(0x01, "é".encode()[:1]),
        frame(0x89, b"are you there"),
        frame(0x80, "é".encode()[1:]),
        frame(0x82, b"\0\1"),
    ]
    with serving(upgraded(*frames, received=received)) as url:
        client = opened(url)
        assert client.receive(time.monotonic() + TIMEOUT) == "é"
        assert client.receive(time.monotonic() + TIMEOUT) == b"\0\1"
        assert client.receive(time.monotonic() + 0.05) is None
        client.hang_up()
    pong = b"".join(received)
    assert pong[:2] == bytes([0x8A, 0x80 | 13])
    mask = pong[2:6]
    assert bytes(b ^ mask[i % 4] for i, b in enumerate(pong[6:])) == b"are you there"


@pytest.mark.parametrize(
    "raw",
    [
        frame(0x88, b"\x03\xe8"),
        b"\x81\x81abcdx",
        frame(0xC1, b"x"),
        frame(0x83, b"x"),
        frame(0x80, b"x"),
        frame(0x09, b"x"),
        frame(0x01, b"x") + frame(0x81, b"y"),
        frame(0x81, b"\xff"),
        b"",
    ],
    ids=[
        "close",
        "masked",
        "rsv",
        "opcode",
        "continuation",
        "ping-fragment",
        "interleaved",
        "utf-8",
        "end",
    ],
)
def test_what_rfc_6455_does_not_allow_ends_the_socket(raw: bytes) -> None:
    with serving(upgraded(raw)) as url:
        client = opened(url)
        with pytest.raises(websocket.WebSocketError):
            client.receive(time.monotonic() + TIMEOUT)
        client.hang_up()


def test_a_handshake_with_a_wrong_answer_is_refused() -> None:
    wrong = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"
    with serving(replies(wrong)) as url, pytest.raises(websocket.WebSocketError):
        opened(url)
    with serving(replies(b"HTTP/1.1 403 No\r\n\r\n")) as url:
        with pytest.raises(websocket.HandshakeRefused) as caught:
            opened(url)
        assert caught.value.status == 403


# -- the choice ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "headers", "environment", "direct"),
    [
        ("http://127.0.0.1:8188", {}, {"http_proxy": "http://p"}, True),
        ("http://localhost:8188", {}, {"ALL_PROXY": "http://p"}, True),
        ("http://[::1]:8188", {}, {}, True),
        ("https://127.0.0.1:8188", {}, {}, False),
        ("http://192.168.0.9:8188", {}, {}, True),
        ("http://192.168.0.9:8188", {}, {"HTTP_PROXY": "http://p"}, False),
        ("http://192.168.0.9:8188", {}, {"all_proxy": "http://p"}, False),
        ("http://192.168.0.9:8188", {}, {"NETRC": os.devnull}, False),
        ("http://192.168.0.9:8188", {"authorization": "x"}, {"NETRC": os.devnull}, True),
        ("http://me:pw@192.168.0.9:8188", {}, {"NETRC": os.devnull}, True),
        ("http://bücher.example", {}, {}, False),
    ],
)
def test_sockets_are_used_where_no_tls_no_proxy_and_no_netrc_is_involved(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    headers: dict[str, str],
    environment: dict[str, str],
    direct: bool,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(server_url.sys, "platform", "linux")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert server_url.is_direct(server_url.parse(url), headers) is direct
