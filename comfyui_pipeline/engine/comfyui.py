"""A ComfyUI server: its HTTP routes and its WebSocket (ComfyUI server.py)."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from comfyui_pipeline.engine import cancelling, error_text, responses, server_url, websocket
from comfyui_pipeline.engine.files import ServerFiles
from comfyui_pipeline.engine.http import MAX_PARALLEL_REQUESTS, Http, Refused
from comfyui_pipeline.engine.lookup import Lookup
from comfyui_pipeline.engine.messages import Listener
from comfyui_pipeline.engine.posting import post_prompt
from comfyui_pipeline.engine.protocol import Cancellation, Job, JobState, NodeSchema, Progress
from comfyui_pipeline.engine.server_url import Tls
from comfyui_pipeline.engine.subscription import Subscription
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.engine.transport import Transport
from comfyui_pipeline.engine.waiting import QueuedJob
from comfyui_pipeline.errors import EngineError, PromptRejected
from comfyui_pipeline.process.parallel import run_parallel
from comfyui_pipeline.process.time_limit import FETCH_GRACE
from input_server.light_dataclasses import replace

if TYPE_CHECKING:
    from comfyui_pipeline.workflow.replacements import Replacements

SOCKET_SECONDS = 5.0
"""How long opening a WebSocket may take; the job is not polled meanwhile."""
RESPONSE_SECONDS = 30.0
"""Until a response has to begin."""
FEATURES = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})

T = TypeVar("T")


class ComfyUI:
    """Implements ``protocol.Engine``.

    ``timeout``: seconds until a response has to begin. ``deadline``: when the call has to be over
    (``time.monotonic()``), and ``grace``: for how many seconds after it files may be fetched (see
    ``Http``). ``transport`` and ``open_socket``: given by tests; else the lightest ones that can
    reach the server.
    """

    def __init__(
        self,
        base_url: str,
        client_prefix: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = RESPONSE_SECONDS,
        deadline: float = math.inf,
        grace: float = FETCH_GRACE,
        timeouts: Timeouts | None = None,
        tls: Tls = server_url.USUAL_TLS,
        log: Callable[[str], None],
        transport: Transport | None = None,
        open_socket: Callable[..., websocket.Socket] | None = None,
    ) -> None:
        self._headers = dict(headers or {})
        self._http = Http(base_url, timeout, self._headers, deadline, grace, transport, tls=tls)
        self._open_socket = open_socket or _choose_socket(self._http.url, self._headers)
        self._jobs = Lookup(self._http, self._http.get)
        self.files = ServerFiles(self._http)
        self._prefix = client_prefix
        self._timeout = timeout
        self._timeouts = timeouts or Timeouts()
        self._log = log

    def close(self) -> None:
        self._http.close()

    # -- jobs --------------------------------------------------------------------------------

    def queue(self, job: Job) -> QueuedJob:
        """Subscribe, then post; each job has its own client id."""
        client_id = f"{self._prefix}-{os.urandom(16).hex()}"
        body = {
            "prompt": {
                node_id: {**node, "inputs": dict(node.get("inputs") or {})}
                for node_id, node in job.prompt.items()
            },
            "client_id": client_id,
            "prompt_id": job.prompt_id,
            "extra_data": dict(job.extra_data),
        }
        subscription = Subscription(lambda: self._connect(client_id), self._log)
        try:
            queued = post_prompt(self._http, self._jobs, job, body)
        except (PromptRejected, Refused):
            subscription.close()
            raise
        except BaseException:  # it may be queued, or arrive later, and the caller will not wait
            subscription.close()
            self._cancel_lost(job.prompt_id, client_id)
            raise
        errors = error_text.node_errors(queued.node_errors)
        own = replace(job, prompt_id=queued.prompt_id)
        return QueuedJob(self._http, own, subscription, errors, self._timeouts)

    def _cancel_lost(self, prompt_id: str, client_id: str) -> None:
        """Cancel a job that the server may have, perhaps under an id of its own."""
        found = None
        with suppress(EngineError):
            found = self._jobs.id_of(prompt_id, client_id)
        self.cancel(found or prompt_id)

    def follow(self, job: Job) -> QueuedJob:
        """A job of an earlier call, by polling: its messages go to that call's socket."""
        return QueuedJob(self._http, job, None, {}, self._timeouts)

    def progress(self, job: Job, seconds: float) -> Progress | None:
        """Subscribe as the client that queued it: the server sends the node that runs at once, and
        counts as they advance (server.py ``websocket_handler``, main.py ``hijack_progress``).

        None for a job of another program, whose messages are not ours to take.
        """
        client_id = job.extra_data.get("client_id")
        if not isinstance(client_id, str) or not client_id.startswith(f"{self._prefix}-"):
            return None
        found: list[Progress] = []
        listener = Listener(job, found.append, lambda output: None)
        subscription = Subscription(lambda: self._connect(client_id), self._log)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until and subscription.is_open:
                listener.read(subscription.next(until) or "")
                if listener.events.ended or (found and found[-1].maximum):
                    break
        finally:
            subscription.close()
        return found[-1] if found else Progress("running", listener.node) if listener.node else None

    def state(self, prompt_id: str) -> JobState:
        """Where it is now."""
        return self._jobs.state(prompt_id)

    def job(self, prompt_id: str) -> Job | None:
        """From the queue or the history, which both contain the prompt."""
        return self._jobs.job(prompt_id)

    def cancel(self, prompt_id: str) -> Cancellation:
        """Delete it while it waits, interrupt it while it runs; other jobs are not affected."""
        return cancelling.cancel(self._http, prompt_id, self._log)

    def _connect(self, client_id: str) -> websocket.Socket:
        """An open socket. Raises OutOfTime, WebSocketError."""
        socket = self._open_socket(
            self._http.url,
            f"/ws?clientId={quote(client_id)}",
            self._headers,
            self._http.end(min(SOCKET_SECONDS, self._timeout)),
            websocket.MAX_MESSAGE,
        )
        try:
            socket.send_text(FEATURES)
        except BaseException:
            socket.hang_up()
            raise
        return socket

    # -- information -------------------------------------------------------------------------

    def schemas(self, class_types: Collection[str]) -> dict[str, NodeSchema]:
        """``/object_info/<class>`` of each, requested in parallel."""
        names = sorted(set(class_types))
        found = run_parallel(self._schema, names, MAX_PARALLEL_REQUESTS)
        return {name: schema for name, schema in zip(names, found, strict=True) if schema}

    def catalog(self) -> dict[str, NodeSchema]:
        """``/object_info``: every class."""
        return dict(self._get("/object_info", responses.schemas))

    def replacements(self) -> Replacements:
        """``/node_replacements``; empty for an older server, which has no such route."""
        path = "/api/node_replacements"
        reply = self._http.get(path)
        if reply.status == 200:
            from comfyui_pipeline.engine import replaced_types

            with suppress(EngineError):  # a proxy's page for an unknown route
                return self._http.value(reply, path, replaced_types.read)
        return {}

    def models(self, folder: str) -> list[str]:
        """``/models/<folder>``; empty for a folder that the server does not know."""
        path = f"/models/{quote(folder)}"
        reply = self._http.get(path)
        if reply.status == 404:
            self.system()  # raises where the server is not ComfyUI
            return []
        return self._http.value(reply, path, responses.names)

    def metadata(self, folder: str, name: str) -> dict[str, str]:
        """``/view_metadata/<folder>``, which knows safetensors files only."""
        path = f"/view_metadata/{quote(folder)}"
        reply = self._http.get(f"{path}?filename={quote(name, safe='')}")
        return {} if reply.status == 404 else self._http.value(reply, path, responses.texts)

    def model_folders(self) -> list[str]:
        reply = self._http.get("/models")
        if reply.status == 404:
            self.system()  # raises where the server is not ComfyUI
            return []
        return self._http.value(reply, "/models", responses.names)

    def embeddings(self) -> list[str]:
        return self._get("/embeddings", responses.names)

    def queue_state(self) -> responses.Queue:
        return self._jobs.queue()

    def system(self) -> Mapping[str, Any]:
        return self._get("/system_stats", responses.system)

    def free(self) -> None:
        """``POST /free``: the worker does it between two jobs (main.py ``prompt_worker``)."""
        body = {"unload_models": True, "free_memory": True}
        reply = self._http.once("POST", "/free", json_body=body)
        if reply.status != 200:
            raise self._http.unexpected(reply.status, "/free")

    def _schema(self, class_type: str) -> NodeSchema | None:
        path = f"/object_info/{quote(class_type, safe='')}"
        reply = self._http.get(path)
        if reply.status == 404 and "/" in class_type:
            return None
        if reply.status == 500:  # its INPUT_TYPES fails; raises where the server is not ComfyUI
            self.system()
            return {"input": {}, "output": [], "fails": True}
        return self._http.value(reply, path, responses.schemas).get(class_type)

    def _get(self, path: str, parse: Callable[[Any], T]) -> T:
        return self._http.value(self._http.get(path), path, parse)


def _choose_socket(
    url: server_url.ServerUrl, headers: Mapping[str, str]
) -> Callable[..., websocket.Socket]:
    """As ``http.choose_transport``: websocket-client only where a plain socket is not enough."""
    if server_url.is_direct(url, headers):
        return websocket.open_socket

    def open_socket(*args: Any) -> websocket.Socket:
        from comfyui_pipeline.engine import library_websocket

        return library_websocket.open_socket(*args)

    return open_socket
