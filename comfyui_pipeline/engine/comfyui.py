"""A classic ComfyUI server: its HTTP routes and its WebSocket (ComfyUI server.py)."""

from __future__ import annotations

import base64
import json
import math
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection as open_socket
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from comfyui_pipeline.engine import error_text, responses
from comfyui_pipeline.engine.files import ServerFiles
from comfyui_pipeline.engine.http import (
    GATEWAY,
    MAX_PARALLEL,
    TRIES,
    Http,
    LostReply,
    Refused,
    Reply,
    as_object,
    is_loopback,
    pause,
)
from comfyui_pipeline.engine.protocol import Job, JobState, NodeSchema
from comfyui_pipeline.engine.timeouts import within
from comfyui_pipeline.engine.waiting import QueuedJob, Timeouts
from comfyui_pipeline.engine.websocket import Socket, Subscription
from comfyui_pipeline.errors import EngineError, PromptRejected, ServerUnreachable
from comfyui_pipeline.process.time_limit import FETCH_GRACE_SECONDS

SOCKET_SECONDS = 5.0
"""How long opening a socket may take; the run is asked for meanwhile by nobody."""
CANCEL_SECONDS = 5.0
"""How long each of the requests may take that cancel a run."""

T = TypeVar("T")


class ComfyUI:
    """Implements ``engine.base.Engine``.

    ``timeout``: seconds until a response has to begin. ``deadline``: when the call has to be over
    (``time.monotonic()``), which no request outlasts (see ``Http``).
    """

    def __init__(
        self,
        base_url: str,
        client_prefix: str = "comfyui-plugin",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
        deadline: float = math.inf,
        after: float = FETCH_GRACE_SECONDS,
        timeouts: Timeouts | None = None,
        log: Callable[[str], None],
    ) -> None:
        self._http = Http(base_url, timeout, log, headers, deadline, after)
        self.files = ServerFiles(self._http)
        self._headers = dict(headers or {})
        self._prefix = client_prefix
        self._timeout = timeout
        self._timeouts = timeouts or Timeouts()
        self._log = log

    def close(self) -> None:
        self._http.close()

    # -- running -----------------------------------------------------------------------------

    def queue(self, job: Job) -> QueuedJob:
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
        except (PromptRejected, Refused):
            socket.close()
            raise
        except BaseException:  # it may be queued, or arrive yet, and nobody would wait for it
            socket.close()
            self.cancel(job.prompt_id)
            raise
        errors = error_text.node_errors(answer.get("node_errors"))
        return QueuedJob(self._http, job, socket, errors, self._timeouts)

    def follow(self, job: Job) -> QueuedJob:
        """A run of an earlier call; its frames go to that call's socket, so it is asked for."""
        return QueuedJob(self._http, job, None, {}, self._timeouts)

    def state(self, prompt_id: str) -> JobState:
        """The queue first and the history second, as a run may end in between."""
        queue = self._queue()
        if queue.is_running(prompt_id):
            return JobState("running")
        ahead = queue.ahead_of(prompt_id)
        if ahead is not None:
            return JobState("queued", ahead)
        return JobState("ended" if self._history(prompt_id) else "unknown")

    def job(self, prompt_id: str) -> Job | None:
        """From the queue or the history, which both keep the prompt."""
        found = self._queue().find(prompt_id) or self._history(prompt_id)
        if found is None or not isinstance(found.prompt, dict):
            return None
        prompt = {
            node_id: {**node, "inputs": dict(as_object(node.get("inputs")))}
            for node_id, node in found.prompt.items()
            if isinstance(node, dict) and isinstance(node.get("class_type"), str)
        }
        return Job(prompt, prompt_id)

    def _queue(self) -> responses.Queue:
        return self._asked("/queue", responses.queue)

    def _history(self, prompt_id: str) -> responses.HistoryEntry | None:
        path = f"/history/{quote(prompt_id, safe='')}"
        return self._asked(path, lambda document: responses.history(document, prompt_id))

    def _asked(self, path: str, read: Callable[[Any], T]) -> T:
        """What the server answers to a GET. Raises EngineError's children."""
        return self._http.value(self._http.get(path), path, read)

    def cancel(self, prompt_id: str) -> bool:
        """Delete it while it waits, interrupt it when it runs; other runs are never touched.

        By ``/api/jobs/<id>/cancel`` where the server has it, which does both at once. Gives whether
        the server took the requests.
        """
        try:
            path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
            reply = self._http.once("POST", path, json={}, seconds=CANCEL_SECONDS)
            if reply.status == 200 and as_object(self._http.json(reply, path)).get("cancelled"):
                return True
        except EngineError as error:
            self._log(f"could not cancel at once: {error}")
        taken = True
        for path, body in (
            ("/queue", {"delete": [prompt_id]}),
            ("/interrupt", {"prompt_id": prompt_id}),
        ):
            try:
                reply = self._http.once("POST", path, json=body, seconds=CANCEL_SECONDS)
                taken = taken and reply.status < 400
            except EngineError as error:
                taken = False
                self._log(f"could not cancel: {error}")
        return taken

    def _connect(self, client_id: str) -> Socket:
        """An open socket. Raises Late, WebSocketException, OSError, ValueError."""
        seconds = min(SOCKET_SECONDS, self._timeout)
        return within(
            self._http.end(seconds) - time.monotonic(),
            lambda: self._connected(client_id, seconds),
            discard=Socket.hang_up,
        )

    def _connected(self, client_id: str, timeout: float) -> Socket:
        parts = urlsplit(self._http.base_url)
        host = parts.netloc.rpartition("@")[2]
        scheme = "wss" if parts.scheme == "https" else "ws"
        url = f"{scheme}://{host}{parts.path}/ws?clientId={quote(client_id)}"
        header = [f"{name}: {value}" for name, value in self._headers.items()]
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            header.append("Authorization: Basic " + base64.b64encode(login).decode())
        options: dict[str, Any] = {"header": header, "suppress_origin": True}
        if is_loopback(url) and scheme == "ws":  # or the library would heed a proxy's environment
            place = (parts.hostname or "localhost", parts.port or 80)
            options["socket"] = open_socket(place, timeout)
        socket = Socket()
        socket.settimeout(timeout)
        try:
            socket.connect(url, timeout=timeout, **options)  # type: ignore[no-untyped-call]
            flags = {"supports_preview_metadata": True}
            socket.send(json.dumps({"type": "feature_flags", "data": flags}))
        except BaseException:
            socket.hang_up()
            raise
        return socket

    def _post(self, body: Mapping[str, Any], job: Job) -> Mapping[str, Any]:
        """Queue it once. When a reply is lost, look for the id before sending it again.

        It is sent again only where the server is sure not to have it.
        """
        problem: EngineError | None = None
        for attempt in range(TRIES):
            if problem is not None:
                if self._http.is_late:
                    break
                pause(attempt - 1)
                if isinstance(problem, LostReply):
                    known = self._knows(job.prompt_id)
                    if known:
                        return {}
                    if known is None:
                        continue
            try:
                reply = self._http.once("POST", "/prompt", json=body)
            except ServerUnreachable as error:
                problem = error
                continue
            if reply.status == 400:
                raise self._rejected(reply, job)
            if reply.status not in GATEWAY:
                return as_object(self._http.json(reply, "/prompt"))
            problem = LostReply(str(self._http.odd(reply.status, "/prompt")))
        if problem is None:
            return {}
        if isinstance(problem, LostReply):
            if not self._http.is_late and self._knows(job.prompt_id):
                return {}
            problem = LostReply(
                f"{problem.message} Whether the run was queued is not known (prompt id "
                f"{job.prompt_id}).",
                problem.hint,
            )
        raise problem

    def _knows(self, prompt_id: str) -> bool | None:
        """Whether the server has this run: queue first, history second. None: it does not say."""
        try:
            return self.state(prompt_id).stage != "unknown"
        except EngineError:
            return None

    def _rejected(self, reply: Reply, job: Job) -> EngineError:
        told = as_object(self._http.document(reply, "/prompt"))
        return PromptRejected(
            f"ComfyUI refused the workflow: {error_text.rejection(job.prompt, told)}.",
            "Correct these inputs with params and call again.",
        )

    # -- questions ---------------------------------------------------------------------------

    def schemas(self, class_types: Collection[str]) -> dict[str, NodeSchema]:
        """``/object_info/<class>`` of each, asked side by side."""
        names = sorted(set(class_types))
        if not names:
            return {}
        pool = ThreadPoolExecutor(min(MAX_PARALLEL, len(names)))
        try:
            found = list(pool.map(self._schema, names))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return {name: schema for name, schema in zip(names, found, strict=True) if schema}

    def catalog(self) -> dict[str, NodeSchema]:
        """``/object_info``: every class."""
        return dict(self._asked("/object_info", responses.schemas))

    def _schema(self, class_type: str) -> NodeSchema | None:
        path = f"/object_info/{quote(class_type, safe='')}"
        reply = self._http.get(path)
        if reply.status == 404 and "/" in class_type:
            return None
        return self._http.value(reply, path, responses.schemas).get(class_type)

    def models(self, folder: str) -> list[str]:
        """``/models/<folder>``; a folder that the server does not know is empty."""
        path = f"/models/{quote(folder)}"
        reply = self._http.get(path)
        return [] if reply.status == 404 else self._http.value(reply, path, responses.names)

    def embeddings(self) -> list[str]:
        return self._asked("/embeddings", responses.names)

    def queue_state(self) -> Mapping[str, Any]:
        """``/queue``, its entries as ``[number, id]``, the pending ones in the order they will run."""
        queue = self._queue()
        return {
            "queue_running": [[run.number, run.prompt_id] for run in queue.running],
            "queue_pending": [[run.number, run.prompt_id] for run in queue.pending],
        }

    def system(self) -> Mapping[str, Any]:
        return self._asked("/system_stats", responses.system)
