"""The file server on a registry with Express's interface, in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .. import urls
from ..images.render_queue import Busy
from ..images.variants import NotCached
from ..log import log_line
from ..mounts.resolve import Refused
from ..urls import Resource, Route
from .handler import FileServer
from .request import HttpRequest
from .response import HttpResponse, busy_response, text_response

PATTERNS: Mapping[str, Resource] = {
    "/comfyui_server/:auth/files/:alias/*path": "files",
    "/comfyui_server/files/:alias/*path": "files",
    "/pw=:key/files/comfyui/:alias/*path": "files",
    "/comfyui_server/:auth/gallery/:alias/*path": "gallery",
    "/comfyui_server/gallery/:alias/*path": "gallery",
}
"""Without metrics: ``/metrics`` may be the host's own."""


class Request(Protocol):
    """A request. If it has ``original_url`` (the raw target), the path is decoded here, once;
    otherwise ``params`` hold decoded values.
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
    """A response. ``send_file`` sends no body for HEAD, and the complete file without ``length``."""

    def status(self, code: int) -> Any: ...

    def set(self, name: str, value: str) -> Any: ...

    def send(self, body: str | bytes) -> Any: ...

    def send_file(self, path: Path, **span: int) -> Any: ...


Handler = Callable[[Request, Response], Any]


class Registry(Protocol):
    """Where routes are registered."""

    def get(self, pattern: str, handler: Handler) -> Any: ...


def register(app: Registry, server: FileServer, *, access_log: bool = False) -> None:
    """Register every route of this server."""
    for pattern, resource in PATTERNS.items():
        app.get(pattern, _handler(server, resource, access_log=access_log))


def _handler(server: FileServer, resource: Resource, *, access_log: bool) -> Handler:
    def handle(req: Request, res: Response) -> Any:
        response = _respond(req, server, resource)
        if access_log:
            client = server.client_address(req.ip, _headers(req)) or "-"
            target = urls.redact_target(str(getattr(req, "original_url", resource)))
            log_line(f"{client} {req.method} {target} {response.status} {response.length}")
        try:
            return _send(response, res)
        finally:
            if response.file is not None:
                server.files.release(response.file)

    return handle


def _respond(req: Request, server: FileServer, resource: Resource) -> HttpResponse:
    try:
        request = _parse(req, resource)
    except Refused:
        return text_response(404, "Not found.", "no route")
    try:
        return server.answer(request, may_render=False)
    except NotCached as error:
        requester = error.requester
    try:
        with server.renders.turn(requester):
            return server.answer(request)
    except Busy:
        return busy_response()


def _parse(req: Request, resource: Resource) -> HttpRequest:
    """Convert a registry's request. Raises Refused for a malformed target."""
    target = getattr(req, "original_url", None)
    if isinstance(target, str):
        route, query = urls.parse(target), urls.parse_query(target)
    else:
        route = _route_from_params(req.params, resource)
        query = {name: str(value) for name, value in req.query.items()}
    return HttpRequest(req.method.upper(), route, query, _headers(req), req.ip)


def _headers(req: Request) -> Mapping[str, str]:
    return {name.lower(): value for name, value in req.headers.items()}


def _route_from_params(params: Mapping[str, Any], resource: Resource) -> Route:
    path = params.get("path", params.get("0", params.get("*", "")))
    names = path if isinstance(path, (list, tuple)) else str(path).split("/")
    auth = f"pw={params['key']}" if "key" in params else params.get("auth")
    return urls.route_from_params(
        resource,
        None if auth is None else str(auth),
        str(params.get("alias", "")),
        tuple(map(str, names)),
        "key" in params,
    )


def _send(response: HttpResponse, res: Response) -> Any:
    res.status(response.status)
    for name, value in response.headers.items():
        res.set(name, value)
    if response.file is None or not response.pieces:
        return res.send(response.body.decode() if _is_text(response) else response.body)
    if response.is_complete_file:
        return res.send_file(response.file.path)
    piece = response.pieces[0]
    return res.send_file(response.file.path, start=piece.start, length=piece.length)


def _is_text(response: HttpResponse) -> bool:
    return response.headers.get("Content-Type", "text/").startswith("text/")
