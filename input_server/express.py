"""The handler for a registry with Express's shape, in Python. It depends on nothing but that shape."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from input_server import access, files
from input_server.config import Config
from input_server.files import Reply, plain
from input_server.mounts import Missing, Refused, decode, find

PATTERN = "/comfyui_server/:auth/files/:alias/*path"
PREFIX = "/comfyui_server/"


class Request(Protocol):
    """A request. A registry that offers ``original_url`` (the target as it was sent, not decoded)
    lets the path be decoded here, once; otherwise ``params`` hold decoded values."""

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

    def send(self, body: str) -> Any: ...

    def send_file(self, path: Path, **span: int) -> Any: ...


Handler = Callable[[Request, Response], Any]


class Registry(Protocol):
    """Where routes are registered."""

    def get(self, pattern: str, handler: Handler) -> Any: ...


def register(app: Registry, config: Config) -> None:
    """Register the route for these mounts and this key."""

    def handle(req: Request, res: Response) -> Any:
        reply = answer(req, config)
        if config.debug:
            shown = access.without_key(str(getattr(req, "original_url", PATTERN)))
            print(f"{req.method} {shown} {reply.status}", file=sys.stderr)
        return send(reply, res)

    app.get(PATTERN, handle)


def answer(req: Request, config: Config) -> Reply:
    """What this request is answered with. Never raises for anything that a client can send."""
    if req.method.upper() not in ("GET", "HEAD"):
        return plain(405, "Only GET and HEAD.", Allow="GET, HEAD")
    try:
        auth, alias, names = _parts(req)
    except Refused:
        return plain(404, "Not found.")
    if auth is None or not access.same(auth, config.key):
        return plain(401, "Unauthorized.")
    if not any(names):
        return plain(400, "No file name.")
    try:
        found = find(config.mounts, alias, names)
    except Refused:
        return plain(403, "Forbidden.")
    except Missing:
        return plain(404, "Not found.")
    return files.reply(found, {k.lower(): v for k, v in req.headers.items()})


def send(reply: Reply, res: Response) -> Any:
    """Hand a reply to the registry's response."""
    res.status(reply.status)
    for name, value in reply.headers.items():
        res.set(name, value)
    if reply.path is None:
        return res.send(reply.text)
    if reply.status == 200:
        return res.send_file(reply.path)
    return res.send_file(reply.path, start=reply.start, length=reply.length)


def _parts(req: Request) -> tuple[str | None, str, list[str]]:
    """Key (None when it cannot be one), alias and path. Raises Refused for another route."""
    target = getattr(req, "original_url", None)
    if isinstance(target, str):
        return _from_target(target)
    params = req.params
    path = params.get("path", params.get("0", params.get("*", "")))
    names = (
        [str(part) for part in path] if isinstance(path, (list, tuple)) else str(path).split("/")
    )
    return _key(str(params.get("auth", ""))), str(params.get("alias", "")), names


def _from_target(target: str) -> tuple[str | None, str, list[str]]:
    """Split before decoding, so that ``%2F`` never makes a new part (CVE of @fastify/static)."""
    raw = target.partition("?")[0]
    if not raw.startswith(PREFIX):
        raise Refused
    auth, *rest = raw[len(PREFIX) :].split("/")
    if not rest or rest[0] != "files":
        raise Refused
    try:
        key = _key(decode(auth))
    except Refused:
        key = None
    try:
        parts = [decode(part) for part in rest[1:]]
    except Refused:
        parts = ["", "\0"]
    return key, parts[0] if parts else "", parts[1:]


def _key(auth: str) -> str | None:
    return auth[3:] if auth.startswith("pw=") else None
