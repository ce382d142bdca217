"""The handler for a registry with Express's shape, in Python. It depends on nothing but that shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .. import urls
from ..auth.access import redact_target
from ..images.render_queue import Busy
from ..images.variants import NotCached
from ..log import log_line
from ..mounts.resolve import Refused
from ..urls import Resource, Route
from .handler import FileServer, HttpRequest
from .response import HttpResponse, busy, plain

PATTERNS: Mapping[str, Resource] = {
    "/comfyui_server/:auth/files/:alias/*path": "files",
    "/comfyui_server/files/:alias/*path": "files",
    "/pw=:key/files/comfyui/:alias/*path": "files",
    "/comfyui_server/:auth/gallery/:alias/*path": "gallery",
    "/comfyui_server/gallery/:alias/*path": "gallery",
}
"""Figures are for the server that stands alone; ``/metrics`` may be the host's own."""


class Request(Protocol):
    """A request. A registry that offers ``original_url`` (the target as it was sent, not decoded)
    lets the path be decoded here, once; otherwise ``params`` hold decoded values.
    """

    @property
    def params(self) -> Mapping[str, Any]: ...

    @property
    def query(self) -> Mapping[str, Any]: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def method(self) -> str: ...

    @property
    def ip(self) -> str: ...


class Response(Protocol):
    """A response. ``send_file`` leaves the body out for HEAD; without ``length`` it sends all."""

    def status(self, code: int) -> Any: ...

    def set(self, name: str, value: str) -> Any: ...

    def send(self, body: str | bytes) -> Any: ...

    def send_file(self, path: Path, **span: int) -> Any: ...


Handler = Callable[[Request, Response], Any]


class Registry(Protocol):
    """Where routes are registered."""

    def get(self, pattern: str, handler: Handler) -> Any: ...


def register(app: Registry, server: FileServer, *, log: bool = False) -> None:
    """Register every route of this server."""
    for pattern, resource in PATTERNS.items():
        app.get(pattern, _handler(server, resource, log=log))


def _handler(server: FileServer, resource: Resource, *, log: bool) -> Handler:
    def handle(req: Request, res: Response) -> Any:
        reply = _answer(req, server, resource)
        if log:
            shown = redact_target(str(getattr(req, "original_url", resource)))
            log_line(f"{req.method} {shown} {reply.status}")
        try:
            return _send(reply, res)
        finally:
            if reply.file is not None:
                server.files.release(reply.file)

    return handle


def _answer(req: Request, server: FileServer, resource: Resource) -> HttpResponse:
    headers = {name.lower(): value for name, value in req.headers.items()}
    target = getattr(req, "original_url", None)
    try:
        if isinstance(target, str):
            route, query = urls.parse(target), urls.query(target)
        else:
            route = _of_params(req.params, resource)
            query = {name: str(value) for name, value in req.query.items()}
    except Refused:
        return plain(404, "Not found.", "no route")
    asked = HttpRequest(req.method.upper(), route, query, headers, req.ip)
    try:
        return server.answer(asked, make=False)
    except NotCached as unmade:
        requester = unmade.requester
    try:
        with server.renders.turn(requester):
            return server.answer(asked)
    except Busy:
        return busy()


def _of_params(params: Mapping[str, Any], resource: Resource) -> Route:
    path = params.get("path", params.get("0", params.get("*", "")))
    names = path if isinstance(path, (list, tuple)) else str(path).split("/")
    auth = f"pw={params['key']}" if "key" in params else params.get("auth")
    alias, names = str(params.get("alias", "")), tuple(map(str, names))
    return urls.of_params(
        resource, None if auth is None else str(auth), alias, names, "key" in params
    )


def _send(reply: HttpResponse, res: Response) -> Any:
    """Hand a reply to the registry's response."""
    res.status(reply.status)
    for name, value in reply.headers.items():
        res.set(name, value)
    if reply.file is None or not reply.pieces:
        return res.send(reply.body.decode() if _is_text(reply) else reply.body)
    if reply.is_complete_file:
        return res.send_file(reply.file.path)
    piece = reply.pieces[0]
    return res.send_file(reply.file.path, start=piece.start, length=piece.length)


def _is_text(reply: HttpResponse) -> bool:
    return reply.headers.get("Content-Type", "text/").startswith("text/")
