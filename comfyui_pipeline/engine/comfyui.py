"""A classic ComfyUI server: its HTTP routes and its WebSocket (ComfyUI server.py)."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection as open_socket
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
import websocket

from comfyui_pipeline.engine import wording
from comfyui_pipeline.engine.base import Job, NodeSchema, RunState
from comfyui_pipeline.engine.files import ServerFiles
from comfyui_pipeline.engine.http import (
    BUSY,
    SIDE_BY_SIDE,
    TRIES,
    Http,
    LostReply,
    is_loopback,
    pause,
    string_map,
)
from comfyui_pipeline.engine.subscription import Subscription
from comfyui_pipeline.engine.waiting import Patience, QueuedRun
from comfyui_pipeline.errors import EngineError, PromptRejected, ServerUnreachable

SOCKET_SECONDS = 5.0
"""How long opening a socket may take; the run is asked for meanwhile by nobody."""


class ComfyUI:
    """Implements ``engine.base.Engine``."""

    def __init__(
        self,
        base_url: str,
        client_prefix: str = "comfyui-plugin",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
        patience: Patience | None = None,
        log: Callable[[str], None],
    ) -> None:
        self._http = Http(base_url, timeout, log, headers)
        self.files = ServerFiles(self._http)
        self._headers = dict(headers or {})
        self._prefix = client_prefix
        self._timeout = timeout
        self._patience = patience or Patience()
        self._log = log

    def close(self) -> None:
        self._http.close()

    # -- running -----------------------------------------------------------------------------

    def queue(self, job: Job) -> QueuedRun:
        """Subscribe, then post; each call under a client id of its own."""
        client_id = f"{self._prefix}-{uuid.uuid4().hex}"
        body = {
            "prompt": {
                node_id: {**node, "inputs": dict(node.get("inputs") or {})}
                for node_id, node in job.prompt.items()
            },
            "client_id": client_id,
            "prompt_id": job.prompt_id,
            "extra_data": dict(job.extra_data),
        }
        socket = Subscription(lambda: self._connect(client_id), self._log)
        try:
            answer = self._post(body, job)
        except BaseException as error:
            socket.close()
            if isinstance(
                error, LostReply
            ):  # it may yet arrive there, and nobody would wait for it
                self.cancel(job.prompt_id)
            raise
        errors = wording.node_errors(answer.get("node_errors"))
        return QueuedRun(self._http, job, socket, errors, self._patience)

    def follow(self, job: Job) -> QueuedRun:
        """A run of an earlier call; its frames go to that call's socket, so it is asked for."""
        return QueuedRun(self._http, job, None, {}, self._patience)

    def state(self, prompt_id: str) -> RunState:
        """The queue first and the history second, as a run may end in between."""
        state = self.queue_state()
        running = [item[1] for item in state.get("queue_running") or []]
        if prompt_id in running:
            return RunState("running")
        pending = sorted(state.get("queue_pending") or [], key=lambda item: item[0])
        ids = [item[1] for item in pending]
        if prompt_id in ids:
            return RunState("queued", ids.index(prompt_id) + len(running))
        return RunState("ended" if self._history(prompt_id) else "unknown")

    def job(self, prompt_id: str) -> Job | None:
        """From the queue or the history: both keep ``[number, id, prompt, …]``."""
        state = self.queue_state()
        items = [*(state.get("queue_running") or []), *(state.get("queue_pending") or [])]
        entry = next((item for item in items if item[1] == prompt_id), None)
        entry = entry or string_map(self._history(prompt_id)).get("prompt")
        if not isinstance(entry, list) or len(entry) < 3 or not isinstance(entry[2], dict):
            return None
        prompt = {
            str(node_id): {**node, "inputs": dict(node.get("inputs") or {})}
            for node_id, node in entry[2].items()
            if isinstance(node, dict) and isinstance(node.get("class_type"), str)
        }
        return Job(prompt, prompt_id)

    def _history(self, prompt_id: str) -> Mapping[str, Any] | None:
        path = f"/history/{quote(prompt_id, safe='')}"
        return string_map(self._http.json(self._http.get(path), path)).get(prompt_id)

    def cancel(self, prompt_id: str) -> None:
        """Delete it while it waits, interrupt it when it runs; other runs are never touched.

        By ``/api/jobs/<id>/cancel`` where the server has it, which does both at once.
        """
        try:
            path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
            answer = self._http.once("POST", path, json={}, timeout=5)
            if answer.status_code == 200 and string_map(answer.json()).get("cancelled"):
                return
        except (ServerUnreachable, ValueError) as error:
            self._log(f"could not cancel at once: {error}")
        for path, body in (
            ("/queue", {"delete": [prompt_id]}),
            ("/interrupt", {"prompt_id": prompt_id}),
        ):
            try:
                self._http.once("POST", path, json=body, timeout=5)
            except ServerUnreachable as error:
                self._log(f"could not cancel: {error}")

    def _connect(self, client_id: str) -> websocket.WebSocket:
        """An open socket. Raises WebSocketException, OSError, ValueError."""
        parts = urlsplit(self._http.base_url)
        host = parts.netloc.rpartition("@")[2]
        scheme = "wss" if parts.scheme == "https" else "ws"
        url = f"{scheme}://{host}{parts.path}/ws?clientId={quote(client_id)}"
        header = [f"{name}: {value}" for name, value in self._headers.items()]
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            header.append("Authorization: Basic " + base64.b64encode(login).decode())
        options: dict[str, Any] = {"header": header, "suppress_origin": True}
        timeout = min(SOCKET_SECONDS, self._timeout)
        if is_loopback(url) and scheme == "ws":  # or the library would heed a proxy's environment
            place = (parts.hostname or "localhost", parts.port or 80)
            options["socket"] = open_socket(place, timeout)
        socket = websocket.create_connection(url, timeout=timeout, **options)
        flags = {"supports_preview_metadata": True}
        socket.send(json.dumps({"type": "feature_flags", "data": flags}))
        return socket

    def _post(self, body: Mapping[str, Any], job: Job) -> Mapping[str, Any]:
        """Queue it once. When a reply is lost, look for the id before sending it again."""
        problem: EngineError | None = None
        for attempt in range(TRIES):
            if problem is not None:
                pause(attempt - 1)
                if isinstance(problem, LostReply) and self._knows(job.prompt_id):
                    return {}
            try:
                answer = self._http.once("POST", "/prompt", json=body)
            except ServerUnreachable as error:
                problem = error
                continue
            if answer.status_code == 400:
                raise self._rejected(answer, job)
            if answer.status_code not in BUSY:
                return string_map(self._http.json(answer, "/prompt"))
            problem = LostReply(str(self._http.odd(answer, "/prompt")))
        if problem is None or (isinstance(problem, LostReply) and self._knows(job.prompt_id)):
            return {}
        raise problem

    def _knows(self, prompt_id: str) -> bool:
        """Whether the server has this run: queue first, history second."""
        try:
            state = self.queue_state()
            items = [*(state.get("queue_running") or []), *(state.get("queue_pending") or [])]
            if any(item[1] == prompt_id for item in items):
                return True
            path = f"/history/{prompt_id}"
            return prompt_id in string_map(self._http.json(self._http.get(path), path))
        except EngineError:
            return False

    def _rejected(self, answer: requests.Response, job: Job) -> EngineError:
        try:
            body = answer.json()
        except ValueError:
            return self._http.odd(answer, "/prompt")
        return PromptRejected(
            f"ComfyUI refused the workflow: {wording.rejection(job.prompt, string_map(body))}.",
            "Correct these inputs with params and call again.",
        )

    # -- questions ---------------------------------------------------------------------------

    def schemas(self, class_types: Collection[str]) -> dict[str, NodeSchema]:
        """``/object_info/<class>`` of each, asked side by side."""
        names = sorted(set(class_types))
        if not names:
            return {}
        pool = ThreadPoolExecutor(min(SIDE_BY_SIDE, len(names)))
        try:
            found = list(pool.map(self._schema, names))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return {name: schema for name, schema in zip(names, found, strict=True) if schema}

    def catalog(self) -> dict[str, NodeSchema]:
        """``/object_info``: every class."""
        return dict(string_map(self._http.json(self._http.get("/object_info"), "/object_info")))

    def _schema(self, class_type: str) -> NodeSchema | None:
        path = f"/object_info/{quote(class_type, safe='')}"
        answer = self._http.get(path)
        if answer.status_code == 404 and "/" in class_type:
            return None
        return string_map(self._http.json(answer, path)).get(class_type)

    def models(self, folder: str) -> list[str]:
        """``/models/<folder>``; a folder that the server does not know is empty."""
        answer = self._http.get(f"/models/{quote(folder)}")
        if answer.status_code == 404:
            return []
        return [str(name) for name in self._http.json(answer, f"/models/{folder}")]

    def embeddings(self) -> list[str]:
        return [str(name) for name in self._http.json(self._http.get("/embeddings"), "/embeddings")]

    def queue_state(self) -> Mapping[str, Any]:
        return string_map(self._http.json(self._http.get("/queue"), "/queue"))

    def system(self) -> Mapping[str, Any]:
        return string_map(self._http.json(self._http.get("/system_stats"), "/system_stats"))
