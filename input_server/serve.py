"""A server of its own for the handler: aiohttp, one process, any request target taken as it was sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web

from input_server.config import Config
from input_server.express import Handler, register
from input_server.mounts import Missing, open_file

CHUNK = 256 * 1024


class _Routes:
    """A registry of the one route that there is."""

    def __init__(self) -> None:
        self.handler: Handler | None = None

    def get(self, _pattern: str, handler: Handler) -> None:
        self.handler = handler


class _Request:
    """An aiohttp request in Express's shape."""

    params: Mapping[str, Any] = MappingProxyType({})
    query: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, request: web.BaseRequest) -> None:
        self.original_url = request.raw_path
        self.headers: Mapping[str, str] = dict(request.headers)
        self.method = request.method
        self.ip = request.remote or ""


class _Response:
    """Collects what the handler says."""

    def __init__(self) -> None:
        self.code = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.path: Path | None = None
        self.start = 0
        self.length: int | None = None

    def status(self, code: int) -> _Response:
        self.code = code
        return self

    def set(self, name: str, value: str) -> _Response:
        self.headers[name] = value
        return self

    def send(self, body: str) -> None:
        self.body = body.encode()

    def send_file(self, path: Path, **span: int) -> None:
        self.path, self.start, self.length = path, span.get("start", 0), span.get("length")


async def serve(
    config: Config, host: str, port: int, ready: Callable[[int], None], stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set; ``ready`` gets the port once it takes connections."""
    routes = _Routes()
    register(routes, config)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.partition("?")[0] == "/healthz":
            return web.Response(text="ok")
        answer = _Response()
        if routes.handler is not None:
            await asyncio.to_thread(routes.handler, _Request(request), answer)
        return await _send(request, answer)

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        ready(runner.addresses[0][1])
        await stop.wait()
    finally:
        await runner.cleanup()


async def _send(request: web.BaseRequest, answer: _Response) -> web.StreamResponse:
    if answer.path is None:
        return web.Response(status=answer.code, headers=answer.headers, body=answer.body)
    try:
        descriptor = await asyncio.to_thread(open_file, answer.path)
    except Missing:
        return web.Response(status=404, text="Not found.")
    with os.fdopen(descriptor, "rb") as file:
        response = web.StreamResponse(status=answer.code, headers=answer.headers)
        await response.prepare(request)
        if request.method != "HEAD":
            file.seek(answer.start)
            left = int(answer.headers["Content-Length"])
            while left > 0 and (chunk := await asyncio.to_thread(file.read, min(CHUNK, left))):
                await response.write(chunk)
                left -= len(chunk)
            if left > 0 and request.transport is not None:
                request.transport.abort()  # the file shrank: a cut answer must look like one
        await response.write_eof()
    return response
