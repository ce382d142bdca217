"""A small web server with Express's interface, as a Python host might have one."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

Handler = Any


class Request:
    """A request; it has ``original_url`` only if the registry provides the raw target (``raw``)."""

    def __init__(self, web: Web, params: dict[str, str], *, raw: bool) -> None:
        query = web.path.partition("?")[2]
        self.params, self.query = params, dict(parse_qsl(query))
        self.headers, self.method = dict(web.headers.items()), web.command
        self.ip = str(web.client_address[0])
        if raw:
            self.original_url = web.path


class Response:
    """A response that is written to the socket directly."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._headers: dict[str, str] = {}
        self._status = 200

    def status(self, code: int) -> None:
        self._status = code

    def set(self, name: str, value: str) -> None:
        self._headers[name] = value

    def send(self, body: str | bytes) -> None:
        content = body.encode() if isinstance(body, str) else body
        self._send(content)

    def send_file(self, path: Path, start: int = 0, length: int | None = None) -> None:
        with path.open("rb") as file:
            file.seek(start)
            self._send(file.read() if length is None else file.read(length))

    def _send(self, content: bytes) -> None:
        self._web.send_response(self._status)
        for name, value in self._headers.items():
            self._web.send_header(name, value)
        self._web.end_headers()
        if self._web.command != "HEAD" and self._status != 304:
            self._web.wfile.write(content)


class Web(BaseHTTPRequestHandler):
    routes: list[tuple[re.Pattern[str], Handler]]
    raw: bool

    def log_message(self, *_: Any) -> None:
        return

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        for pattern, handler in self.routes:
            if found := pattern.fullmatch(path):
                params = {name: unquote(value) for name, value in found.groupdict().items()}
                handler(Request(self, params, raw=self.raw), Response(self))
                return
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Registry:
    """Routes: in a pattern ``:name`` matches one part of the path, ``*name`` the rest."""

    def __init__(self) -> None:
        self.routes: list[tuple[re.Pattern[str], Handler]] = []

    def get(self, pattern: str, handler: Handler) -> None:
        escaped = re.sub(r":(\w+)", r"(?P<\1>[^/]*)", pattern)
        self.routes.append((re.compile(re.sub(r"/\*(\w+)", r"/?(?P<\1>.*)", escaped)), handler))


@contextmanager
def hosted(app: Registry, *, raw: bool) -> Iterator[int]:
    """Serve the registered routes; yields the port."""
    handler = type("Hosted", (Web,), {"routes": app.routes, "raw": raw})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()
