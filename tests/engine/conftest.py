"""A server that speaks as much of ComfyUI's protocol as a test tells it to, faults included."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclass
class Script:
    """What the server does. ``post`` gives (status, body) or None to drop the connection."""

    frames: list[Any] = field(default_factory=list)  # JSON values, bytes, str; sent once posted
    history: dict[str, Any] = field(default_factory=dict)  # with the run's id as "ID"
    queue: dict[str, Any] = field(
        default_factory=lambda: {"queue_running": [], "queue_pending": []}
    )
    post: Callable[[int, dict[str, Any]], tuple[int, Any] | None] | None = None
    post_delay: float = 0
    socket_refused: bool = False
    close_socket: bool = False
    history_empty_for: int = 0
    posted: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    sent: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def log_message(self, *_: Any) -> None:
        return

    def answer(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if self.script.stopped.is_set():
            self.close_connection = True
            return
        self.script.asked.append(path)
        if path == "/ws":
            self.upgrade()
        elif path == "/queue":
            self.answer(200, self.filled(self.script.queue))
        elif path.startswith("/history/"):
            late = self.script.history_empty_for > 0
            self.script.history_empty_for -= 1
            self.answer(200, {} if late else self.filled(self.script.history))
        else:
            self.answer(404, b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.script.asked.append(self.path)
        if self.path != "/prompt":
            return self.answer(200, b"")
        self.script.posted.append(body)
        self.script.release.set()
        if self.script.post_delay:
            self.script.sent.wait(5)
            time.sleep(self.script.post_delay)
        told = (200, {"prompt_id": body["prompt_id"], "number": 0, "node_errors": {}})
        if self.script.post is not None:
            told = self.script.post(len(self.script.posted), body)
        if told is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self.answer(*told)

    def filled(self, value: Any) -> Any:
        ident = self.script.posted[-1]["prompt_id"] if self.script.posted else "?"
        return json.loads(json.dumps(value).replace('"ID"', json.dumps(ident)))

    def upgrade(self) -> None:
        if self.script.socket_refused:
            return self.answer(403, b"")
        key = self.headers["Sec-WebSocket-Key"] + GUID
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.wfile.flush()
        self.script.release.wait(10)
        for frame in self.script.frames:
            if isinstance(frame, bytes):
                self.frame(2, frame)
            else:
                text = frame if isinstance(frame, str) else json.dumps(self.filled(frame))
                self.frame(1, text.encode())
        self.script.sent.set()
        if not self.script.close_socket:
            self.connection.settimeout(20)
            try:
                while self.connection.recv(4096):
                    pass
            except OSError:
                pass
        self.close_connection = True
        return None

    def frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x80 | opcode]) + (
            bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
        )
        self.wfile.write(head + payload)
        self.wfile.flush()


@dataclass
class Fake:
    url: str
    script: Script
    stop: Callable[[], None]


@pytest.fixture
def fake() -> Iterator[Fake]:
    script = Script()
    handler = type("Scripted", (Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def stop() -> None:
        if not script.stopped.is_set():
            script.stopped.set()
            server.shutdown()
            server.server_close()

    yield Fake(f"http://127.0.0.1:{server.server_port}", script, stop)
    stop()
