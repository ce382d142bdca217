"""A ComfyUI server that computes nothing: it has node types, takes every upload and keeps each prompt."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from input_server.light_dataclasses import dataclass, field


@dataclass(slots=True)
class RecordingServer:
    """``schemas``: the node types now; ``prompts``: prompt id -> prompt, of all that were queued."""

    url: str = ""
    schemas: Mapping[str, Any] = field(default_factory=dict)
    prompts: dict[str, Any] = field(default_factory=dict)

    def answer(self, path: str) -> Any:
        """The JSON of a GET; None for an unknown path."""
        if path == "/object_info":
            return self.schemas
        if path.startswith("/object_info/"):
            kind = path.removeprefix("/object_info/")
            return {kind: self.schemas[kind]} if kind in self.schemas else {}
        if path == "/queue":
            return {
                "queue_running": [],
                "queue_pending": [[0, i, p, {}] for i, p in self.prompts.items()],
            }
        if path == "/system_stats":
            return {"system": {"os": "posix", "comfyui_version": "0.33.0"}, "devices": []}
        return {} if path.startswith(("/history", "/features")) else None


@contextmanager
def running() -> Iterator[RecordingServer]:
    """Serve on a free port of this machine inside the block."""
    state = RecordingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the caller prints what it finds."""

        def do_GET(self) -> None:
            self.respond(state.answer(unquote(urlsplit(self.path).path).removeprefix("/api")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path.removeprefix("/api")
            if path == "/prompt":
                sent = json.loads(body)
                state.prompts[sent["prompt_id"]] = sent["prompt"]
                self.respond({"prompt_id": sent["prompt_id"], "number": 1, "node_errors": {}})
            elif path.startswith("/upload/"):
                self.respond({"name": self.uploaded(body), "subfolder": "", "type": "input"})
            else:
                self.respond({})

        def uploaded(self, body: bytes) -> str:
            """``pictureN.png``, where N is in the colour of the image that was uploaded."""
            from io import BytesIO

            from PIL import Image

            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
            files = [part.get_payload(decode=True) for part in parts if part.get_filename()]
            with Image.open(BytesIO(files[0])) as image:  # type: ignore[arg-type]
                colour = image.convert("RGB").getpixel((0, 0))
            return f"picture{colour[0] // 10}.png"

        def respond(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200 if value is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: a tool that has its answer resets its connections."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
