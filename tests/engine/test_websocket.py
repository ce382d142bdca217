"""The WebSocket client on a plain socket: handshake, frames, limits."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from typing import Any

import pytest

from comfyui_pipeline.engine import server_url, websocket
from comfyui_pipeline.engine.comfyui import ComfyUI
from tests.engine.raw_server import Script, replies, request_of, serving
from tests.engine.scripted import END, EXECUTED, GOOD, SUCCESS, run_job
from tests.waiting import TIMEOUT


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


def connect(url: server_url.ServerUrl) -> websocket.PlainSocket:
    return websocket.open_socket(url, "/ws?clientId=x", {}, time.monotonic() + TIMEOUT, 1000)


def test_fragments_with_control_frames_between_are_joined() -> None:
    received: list[bytes] = []
    frames = [
        frame(0x01, "é".encode()[:1]),
        frame(0x89, b"are you there"),
        frame(0x80, "é".encode()[1:]),
        frame(0x82, b"\0\1"),
    ]
    with serving(upgraded(*frames, received=received)) as url:
        client = connect(url)
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
def test_frames_that_violate_rfc_6455_close_the_socket(raw: bytes) -> None:
    with serving(upgraded(raw)) as url:
        client = connect(url)
        with pytest.raises(websocket.WebSocketError):
            client.receive(time.monotonic() + TIMEOUT)
        client.hang_up()


def test_a_handshake_with_a_wrong_response_is_refused() -> None:
    wrong = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"
    with serving(replies(wrong)) as url, pytest.raises(websocket.WebSocketError):
        connect(url)
    with serving(replies(b"HTTP/1.1 403 No\r\n\r\n")) as url:
        with pytest.raises(websocket.HandshakeRefused) as caught:
            connect(url)
        assert caught.value.status == 403


def long_frame(
    opcode: int, payload: bytes, *, fin: bool = True, length: int | None = None
) -> bytes:
    size = len(payload) if length is None else length
    return bytes([opcode | (0x80 if fin else 0), 127]) + size.to_bytes(8, "big") + payload


def json_frames(*messages: Any) -> list[bytes]:
    return [long_frame(1, json.dumps(message).encode()) for message in messages]


NODE = {"type": "executing", "data": {"node": "9", "prompt_id": "my-id"}}
REST = [
    {**event, "data": {**event["data"], "prompt_id": "my-id"}} for event in (EXECUTED, SUCCESS, END)
]


@pytest.mark.parametrize(
    "large",
    [
        long_frame(2, b"", length=2**20 + 1),
        long_frame(2, b"", length=2**63),
        long_frame(2, b"x" * 2**19, fin=False)
        + long_frame(0, b"x" * 2**19, fin=False)
        + long_frame(0, b"x"),
    ],
    ids=["one too many", "an absurd length", "in fragments"],
)
def test_a_message_over_the_limit_is_not_read_and_is_reported(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch, large: bytes
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 2**20)
    fake.script.raw_frames, fake.script.history = True, GOOD
    fake.script.frames = [*json_frames(NODE), large]
    result = run_job(engine)
    assert result.complete
    assert "over the WebSocket" in result.node_errors["9"]


def test_a_message_of_exactly_the_limit_is_read(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 2**20)
    half = long_frame(1, b" " * 2**19, fin=False) + long_frame(0, b"[]".ljust(2**19))
    fake.script.raw_frames, fake.script.history = True, GOOD
    fake.script.frames = [
        *json_frames(NODE),
        half,
        long_frame(1, b"{}".ljust(2**20)),
        *json_frames(*REST),
    ]
    result = run_job(engine)
    assert not result.node_errors
    assert fake.script.sockets == 1
