"""A scripted ComfyUI server, with faults (used by tests)."""

from __future__ import annotations

import base64
import contextlib
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
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.waiting import TIMEOUT

CLASSES: dict[str, Any] = {
    "EmptyImage": {"input": {"required": {"width": ["INT", {}]}}, "output": ["IMAGE"]},
    "LoadImage": {
        "input": {"required": {"image": [[], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "SaveImage": {
        "input": {
            "required": {
                "images": ["IMAGE"],
                "filename_prefix": ["STRING", {"default": "ComfyUI"}],
            }
        },
        "output": [],
        "output_node": True,
    },
}
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclass
class Script:
    """What the server does. ``post`` returns (status, body), or None to drop the connection."""

    frames: list[Any] = field(
        default_factory=list
    )  # JSON values, bytes, str, id -> bytes; sent once posted
    later_frames: list[Any] = field(default_factory=list)  # the same for every socket but the first
    history: dict[str, Any] = field(default_factory=dict)  # with the run's id as "ID"
    queue: dict[str, Any] = field(
        default_factory=lambda: {"queue_running": [], "queue_pending": []}
    )
    post: Callable[[int, dict[str, Any]], tuple[int, Any] | None] | None = None
    post_delay: float = 0
    raw: dict[str, bytes] = field(default_factory=dict)  # path -> all bytes of the response
    slow: dict[str, str] = field(default_factory=dict)  # path -> what comes a byte at a time
    delay: float = 0  # before every answer but that of a socket
    socket_refused: bool = False
    socket_statuses: list[int] = field(default_factory=list)  # answers to the first handshakes
    close_socket: bool = False
    history_empty_for: int = 0
    files: dict[str, bytes] = field(default_factory=dict)  # what /view gives, by file name
    cut_files: bool = False  # /view promises more than it sends
    broken: dict[str, tuple[int, Any]] = field(default_factory=dict)  # path -> status and body
    flaky: dict[str, int] = field(default_factory=dict)  # path -> how often it answers 502 first
    never_ends: bool = False  # the queue says that the run is running, until it is cancelled
    never_begins: bool = False  # the same, that it waits and that nothing runs
    raw_frames: bool = False  # frames are bytes that go out as they are
    deaf: bool = False  # cancelling has no effect
    cancelled: list[str] = field(default_factory=list)
    sockets: int = 0
    posted: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)  # Authorization of each GET
    requested_paths: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)  # the same with their queries
    release: threading.Event = field(default_factory=threading.Event)
    sent: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each response waits 40 ms for the client's acknowledgement
    script: Script

    def log_message(self, *_: Any) -> None:
        return

    def answer(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def is_odd(self) -> bool:
        """Whether the script sent this response itself: fixed bytes, one byte every 0.1 s, or nothing."""
        path = urlsplit(self.path).path
        for begin, response in self.script.raw.items():
            if path.startswith(begin):
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.wfile.write(response)
                return True
        what = next((how for p, how in self.script.slow.items() if path.startswith(p)), None)
        if what is None:
            return False
        self.close_connection = True
        begin = {
            "head": b"",
            "header": b"HTTP/1.1 200 OK\r\nX-Slow: ",
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
            "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
            "informed": b"",
        }
        with contextlib.suppress(OSError):
            self.wfile.write(begin.get(what, b""))
            while not self.script.stopped.wait(0.1):
                if what == "informed":
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                elif what != "silent":
                    self.wfile.write(b" " if what in ("body", "chunk") else b"H")
        return True

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if self.script.stopped.is_set():
            self.close_connection = True
            return
        self.script.requested_paths.append(path)
        self.script.targets.append(self.path)
        self.script.authorizations.append(self.headers["Authorization"])
        if self.is_odd():
            return
        if path == "/ws":
            self.upgrade()
        elif (fault := self.fault(path)) is not None:
            self.answer(*fault)
        elif path.startswith("/object_info/"):
            name = path.rpartition("/")[2]
            self.answer(200, {name: CLASSES[name]} if name in CLASSES else {})
        elif path == "/view":
            self.view(parse_qs(urlsplit(self.path).query)["filename"][0])
        elif path == "/queue" and (self.script.never_ends or self.script.never_begins):
            items = [[number, ident, {}, {}, []] for number, ident in enumerate(self.left())]
            empty: list[Any] = []
            running, pending = (items, empty) if self.script.never_ends else (empty, items)
            self.answer(200, {"queue_running": running, "queue_pending": pending})
        elif path == "/queue":
            self.answer(200, self.filled(self.script.queue))
        elif path.startswith("/history"):
            late = self.script.history_empty_for > 0
            self.script.history_empty_for -= 1
            self.answer(200, {} if late else self.filled(self.script.history))
        else:
            self.answer(404, b"")

    def fault(self, path: str) -> tuple[int, Any] | None:
        """Return the faulty response of this path, if any."""
        time.sleep(self.script.delay)
        for begin, times in self.script.flaky.items():
            if path.startswith(begin) and times > 0:
                self.script.flaky[begin] -= 1
                return 502, b"bad gateway"
        return next(
            (response for p, response in self.script.broken.items() if path.startswith(p)), None
        )

    def left(self) -> list[str]:
        """The jobs in the queue."""
        posted = [body["prompt_id"] for body in self.script.posted]
        return [ident for ident in posted if ident not in self.script.cancelled]

    def view(self, name: str) -> None:
        content = self.script.files.get(name)
        if content is None:
            return self.answer(404, b"")
        self.send_response(200)
        more = 1000 if self.script.cut_files else 0
        self.send_header("Content-Length", str(len(content) + more))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = self.script.cut_files
        return None

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.script.targets.append(self.path)
        self.path = urlsplit(self.path).path
        self.script.requested_paths.append(self.path)
        if (fault := self.fault(self.path)) is not None:
            return self.answer(*fault)
        if self.path.startswith("/upload"):
            if self.is_odd():
                return None
            return self.answer(200, {"name": "in.png", "subfolder": "", "type": "input"})
        body = json.loads(raw or b"{}")
        if self.path in ("/queue", "/interrupt") and not self.script.deaf:
            self.script.cancelled += [*body.get("delete", []), body.get("prompt_id", "")]
        if self.path == "/prompt":
            self.script.posted.append(body)
            self.script.release.set()
        if self.is_odd():
            return None
        if self.path.endswith("/cancel"):
            return self.answer(404, b"")
        if self.path != "/prompt":
            return self.answer(200, b"")
        if self.script.post_delay:
            self.script.sent.wait(TIMEOUT)
            time.sleep(self.script.post_delay)
        response = (200, {"prompt_id": body["prompt_id"], "number": 0, "node_errors": {}})
        if self.script.post is not None:
            response = self.script.post(len(self.script.posted), body)
        if response is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self.answer(*response)

    def filled(self, value: Any) -> Any:
        ident = self.script.posted[-1]["prompt_id"] if self.script.posted else "?"
        return json.loads(json.dumps(value).replace('"ID"', json.dumps(ident)))

    def upgrade(self) -> None:
        self.script.sockets += 1
        if self.script.socket_refused:
            return self.answer(403, b"")
        if self.script.socket_statuses:
            return self.answer(self.script.socket_statuses.pop(0), b"")
        key = self.headers["Sec-WebSocket-Key"] + GUID
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.wfile.flush()
        self.script.release.wait(TIMEOUT)
        first = self.script.sockets == 1
        for frame in self.script.frames if first else self.script.later_frames:
            if callable(frame):
                self.frame(2, frame(self.filled("ID")))
            elif isinstance(frame, bytes):
                self.frame(2, frame)
            else:
                text = frame if isinstance(frame, str) else json.dumps(self.filled(frame))
                self.frame(1, text.encode())
        self.script.sent.set()
        if not (self.script.close_socket and first):
            self.connection.settimeout(TIMEOUT)
            with contextlib.suppress(OSError):
                while self.connection.recv(4096):
                    pass
        self.close_connection = True
        return None

    def frame(self, opcode: int, payload: bytes) -> None:
        if self.script.raw_frames:
            with contextlib.suppress(OSError):
                self.wfile.write(payload)
            return
        size = len(payload)
        head = bytes([0x80 | opcode]) + (
            bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
        )
        self.wfile.write(head + payload)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """Closes its connections when it stops, as a killed process does."""

    daemon_threads = True
    held: set[socket.socket]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.held.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        return


class FakeServer:
    """A server that can be stopped and restarted on its port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start with a fresh script, as a restarted server without memory of earlier jobs."""
        self.script = Script()
        handler = type("Scripted", (Handler,), {"script": self.script})
        self.server = Server(("127.0.0.1", self.port), handler)
        self.server.held = set()
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self.script.stopped.is_set():
            return
        self.script.stopped.set()
        self.script.release.set()
        self.script.sent.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in self.server.held:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()
