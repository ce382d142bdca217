"""The server: routes, WebSockets, the worker thread and the server thread."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import platform
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from embedded_comfyui import bodies, files
from embedded_comfyui.bodies import BadRequest, error
from embedded_comfyui.execution import Executor
from embedded_comfyui.nodes import NODES
from embedded_comfyui.nodes.base import Folders, Node
from embedded_comfyui.queue import Item, PromptQueue
from embedded_comfyui.validation import validate

MAX_UPLOAD = 100 * 2**20
MAX_FRAME = 2**20
"""Bytes of one frame from a client, which only sends its feature flags."""
TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"
"""ComfyUI's response to an unexpected exception (the text of aiohttp)."""
FEATURES = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD}
VERSION = "0.3.64"
"""The ComfyUI version that this server imitates."""
MODEL_FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "hypernetworks",
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmbeddedServer:
    """A running server (see ``embedded_comfyui.serve_in_thread``); ``close`` stops it."""

    def __init__(
        self, base: Path | None, host: str, port: int, extra_nodes: Mapping[str, Node]
    ) -> None:
        self._own = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix="embedded-comfyui-"))
        self.folders = _folders(self.base)
        self._nodes = {**NODES, **extra_nodes}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._queue = PromptQueue(self._queue_changed)
        self._executor = Executor(self._nodes, self.folders, self._send)
        self._numbers = itertools.count()
        self._orders = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._frames: asyncio.Queue[tuple[str, Any, str | None]] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failed: Exception | None = None
        self.url = ""
        self._thread = threading.Thread(target=self._serve, args=(host, port), daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            self.close()
            raise self._failed
        threading.Thread(target=self._work, daemon=True).start()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and remove its temporary folder. May be called twice."""
        self._executor.interrupt()
        self._queue.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
        if self._own:
            shutil.rmtree(self.base, ignore_errors=True)

    # -- server thread --------------------------------------------------------------------------------

    def _serve(self, host: str, port: int) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run(host, port))
        except Exception as problem:
            self._failed = problem
        finally:
            self._ready.set()
            self._loop.close()

    async def _run(self, host: str, port: int) -> None:
        runner = web.AppRunner(self._app(), access_log=None, logger=_silent(), shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            taken = runner.addresses[0][1]
            self.url = f"http://{f'[{host}]' if ':' in host else host}:{taken}"
            publisher = asyncio.ensure_future(self._publish())
            self._ready.set()
            await self._stop.wait()
            publisher.cancel()
            for socket in list(self._sockets.values()):
                await socket.close()
        finally:
            await runner.cleanup()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                entry = self._executor.execute(item)
            except Exception as problem:  # no prompt may end the worker
                message = ["execution_error", {"exception_message": str(problem)}]
                status = {"status_str": "error", "completed": False, "messages": [message]}
                entry = {"outputs": {}, "status": status, "meta": {}}
            self._queue.done(item, entry)
            self._executor.finish(item)

    # -- messages ------------------------------------------------------------------------------

    def _send(self, event: str, data: Any, client: str | None) -> None:
        """Queue a message, from any thread; the order is preserved."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._frames.put_nowait, (event, data, client))

    def _queue_changed(self) -> None:
        self._send("status", {"status": self._exec_info()}, None)

    def _exec_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self._queue.remaining()}}

    async def _publish(self) -> None:
        while True:
            event, data, client = await self._frames.get()
            chosen = list(self._sockets.values()) if client is None else []
            if client in self._sockets:
                chosen = [self._sockets[client]]
            for socket in chosen:
                try:
                    await socket.send_str(json.dumps({"type": event, "data": data}))
                except (ConnectionError, RuntimeError):
                    continue

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """As in ComfyUI, the last socket of a client id gets the messages, until any of them closes."""
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME)
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[sid] = socket
        status = {"type": "status", "data": {"status": self._exec_info(), "sid": sid}}
        await socket.send_str(json.dumps(status))
        if self._executor.client == sid and self._executor.node is not None:
            current = {"type": "executing", "data": {"node": self._executor.node}}
            await socket.send_str(json.dumps(current))
        try:
            first = True
            async for message in socket:
                if first and message.type is WSMsgType.TEXT:
                    first = False
                    if _type_of(message.data) == "feature_flags":
                        answer = {"type": "feature_flags", "data": FEATURES}
                        await socket.send_str(json.dumps(answer))
        finally:
            self._sockets.pop(sid, None)
        return socket

    # -- routes ------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        middlewares = [_without_traceback, _same_origin]
        app = web.Application(client_max_size=MAX_UPLOAD, middlewares=middlewares)
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/ws", self._socket),
            ("GET", "/prompt", self._get_prompt),
            ("POST", "/prompt", self._post_prompt),
            ("GET", "/queue", self._get_queue),
            ("POST", "/queue", self._post_queue),
            ("POST", "/interrupt", self._interrupt),
            ("POST", "/free", self._free),
            ("GET", "/history", self._get_history),
            ("GET", "/history/{id}", self._get_history),
            ("POST", "/history", self._post_history),
            ("GET", "/view", self._view),
            ("POST", "/upload/{what:image|mask}", self._upload),
            ("GET", "/object_info", self._object_info),
            ("GET", "/object_info/{class}", self._object_info),
            ("GET", "/system_stats", self._system_stats),
            ("GET", "/features", _constant(FEATURES)),
            ("GET", "/embeddings", _constant([])),
            ("GET", "/models", _constant(list(MODEL_FOLDERS))),
            ("GET", "/models/{folder}", self._models),
        ]
        for prefix in ("", "/api"):
            for method, path, handler in routes:
                app.router.add_route(method, prefix + path, handler)
                if method == "GET" and path != "/ws":
                    app.router.add_route("HEAD", prefix + path, handler)
        return app

    async def _get_prompt(self, _request: web.Request) -> web.Response:
        return web.json_response(self._exec_info())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if "number" in body:
            number = bodies.number(body, "number")
        else:
            number = next(self._numbers) * (-1 if body.get("front") else 1)
        if "prompt" not in body:
            reason = error("no_prompt", "No prompt provided", "No prompt provided")
            return web.json_response({"error": reason, "node_errors": {}}, status=400)
        prompt = body["prompt"]
        targets = bodies.of_type(body, "partial_execution_targets", list, "a list of node ids")
        extra = dict(bodies.of_type(body, "extra_data", dict, "an object") or {})
        client = bodies.of_type(body, "client_id", str, "a string")
        verdict = validate(prompt, self._nodes, self.folders, targets)
        if verdict.error is not None:
            rejection = {"error": verdict.error, "node_errors": verdict.node_errors}
            return web.json_response(rejection, status=400)
        bodies.of_type(extra, "client_id", str, "a string")
        if client is not None:
            extra["client_id"] = client
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        order = next(self._orders)
        self._queue.put(Item(number, order, prompt_id, prompt, extra, verdict.outputs))
        return web.json_response(
            {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        )

    async def _get_queue(self, _request: web.Request) -> web.Response:
        return web.json_response(self._queue.snapshot())

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await _body(request)
        prompt_ids = bodies.of_type(body, "delete", list, "a list of prompt ids")
        if body.get("clear"):
            self._queue.clear()
        if prompt_ids is not None:
            self._queue.delete([one for one in prompt_ids if isinstance(one, str)])
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        """Interrupt the running job; with a ``prompt_id`` only if that job is running."""
        try:
            wanted = (await _body(request)).get("prompt_id")
        except BadRequest:
            wanted = None
        if not wanted or wanted == self._queue.running_id():
            self._executor.interrupt()
        return web.Response()

    async def _free(self, request: web.Request) -> web.Response:
        if (await _body(request)).get("free_memory"):
            self._executor.free()
        return web.Response()

    async def _get_history(self, request: web.Request) -> web.Response:
        if "id" in request.match_info:
            return web.json_response(self._queue.history(request.match_info["id"]))
        query = request.query
        most = int(query["max_items"]) if "max_items" in query else None
        return web.json_response(self._queue.history(None, most, int(query.get("offset", -1))))

    async def _post_history(self, request: web.Request) -> web.Response:
        body = await _body(request)
        prompt_ids = bodies.of_type(body, "delete", list, "a list of prompt ids")
        if body.get("clear"):
            self._queue.forget(None)
        if prompt_ids is not None:
            self._queue.forget([one for one in prompt_ids if isinstance(one, str)])
        return web.Response()

    async def _view(self, request: web.Request) -> web.StreamResponse:
        return await files.view(request, self.folders)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        mask = request.match_info["what"] == "mask"
        return await files.upload(request, self.folders, mask=mask)

    async def _object_info(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("class")
        names = self._nodes if wanted is None else [wanted] if wanted in self._nodes else []
        return web.json_response({n: self._nodes[n].object_info(self.folders) for n in names})

    async def _models(self, request: web.Request) -> web.Response:
        if request.match_info["folder"] not in MODEL_FOLDERS:
            return web.Response(status=404)
        return web.json_response([])

    async def _system_stats(self, _request: web.Request) -> web.Response:
        system: dict[str, Any] = {
            "os": "posix" if sys.platform != "win32" else "nt",
            "comfyui_version": VERSION,
            "python_version": platform.python_version(),
            "embedded_python": False,
            "argv": [],
        }
        device = {"name": "cpu (embedded, no models)", "type": "cpu", "index": None}
        return web.json_response({"system": system, "devices": [device]})


def _constant(value: Any) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(value)

    return answer


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request. Raises BadRequest."""
    try:
        text = await request.text()
    except (UnicodeDecodeError, LookupError):
        raise BadRequest("invalid_json", "The body is not in its declared encoding") from None
    return bodies.read_object(text)


def _silent() -> logging.Logger:
    """A logger without output: unexpected exceptions are one line on stderr instead."""
    logger = logging.Logger("embedded_comfyui")
    logger.addHandler(logging.NullHandler())
    return logger


@web.middleware
async def _without_traceback(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into error responses in ComfyUI's format, and one line on stderr."""
    try:
        return await handler(request)
    except BadRequest as bad:
        return web.json_response({"error": bad.error, "node_errors": {}}, status=400)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception as problem:
        details = f"{type(problem).__name__}: {problem}"
        print(f"{request.method} {request.path[:200]!r}: {details[:300]}", file=sys.stderr)
        return web.Response(status=500, text=TROUBLE)


@web.middleware
async def _same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject requests from pages of another origin (ComfyUI server.py)."""
    origin = request.headers.get("Origin")
    if origin and _place(origin) != request.headers.get("Host", "").lower():
        return web.Response(status=403)
    return await handler(request)


def _place(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _type_of(text: str) -> Any:
    try:
        return bodies.read_object(text).get("type")
    except BadRequest:
        return None


def _folders(base: Path) -> Folders:
    """``input``, ``output`` and ``temp``; a new input folder gets an ``example.png``."""
    folders = Folders(base / "input", base / "output", base / "temp")
    shutil.rmtree(folders.temp, ignore_errors=True)
    new = not folders.input.exists()
    for folder in (folders.input, folders.output, folders.temp):
        folder.mkdir(parents=True, exist_ok=True)
    if new:
        _write_example(folders.input / "example.png")
    return folders


def _write_example(path: Path) -> None:
    """An example image: one gradient per color channel."""
    from PIL import Image

    across = Image.linear_gradient("L").rotate(90)
    bands = (Image.linear_gradient("L"), across, Image.radial_gradient("L"))
    Image.merge("RGB", bands).resize((512, 512)).save(path)
