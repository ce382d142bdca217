"""A classic ComfyUI server: its HTTP routes and its WebSocket (ComfyUI server.py)."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from socket import create_connection as open_socket
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
import websocket

from comfyui_pipeline.engine import wording
from comfyui_pipeline.engine.base import Incoming, Job, NodeSchema, Output, RunState
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
from comfyui_pipeline.engine.waiting import QUIET, SILENCE, QueuedRun, close
from comfyui_pipeline.errors import EngineError, OutputGone, PromptRejected, ServerUnreachable

CHUNK = 256 * 1024


class ComfyUI:
    """Implements ``engine.base.Engine``. ``quiet``: seconds of silence before the queue is asked."""

    def __init__(
        self,
        base_url: str,
        client_prefix: str = "comfyui-plugin",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
        quiet: float = QUIET,
        silence: float = SILENCE,
        log: Callable[[str], None],
    ) -> None:
        self._http = Http(base_url, timeout, log, headers)
        self._headers = dict(headers or {})
        self._silence = silence
        self._prefix = client_prefix
        self._timeout = timeout
        self._quiet = quiet
        self._log = log

    def close(self) -> None:
        self._http.close()

    # -- running -----------------------------------------------------------------------------

    def queue(self, job: Job) -> QueuedRun:
        """Subscribe, then post; each call under a client id of its own."""
        client_id = f"{self._prefix}-{uuid.uuid4().hex}"
        socket = self._subscribe(client_id)
        body = {
            "prompt": {
                node_id: {**node, "inputs": dict(node.get("inputs") or {})}
                for node_id, node in job.prompt.items()
            },
            "client_id": client_id,
            "prompt_id": job.prompt_id,
            "extra_data": dict(job.extra_data),
        }
        try:
            answer = self._post(body, job)
        except BaseException:
            if socket is not None:
                close(socket)
            raise
        errors = wording.node_errors(answer.get("node_errors"))
        return QueuedRun(self._http, job, socket, errors, self._quiet, self._silence)

    def follow(self, job: Job) -> QueuedRun:
        """A run of an earlier call; its frames go to that call's socket, so it is asked for."""
        return QueuedRun(self._http, job, None, {}, self._quiet, self._silence)

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

    def _subscribe(self, client_id: str) -> websocket.WebSocket | None:
        """An open socket, or None: then the run is followed by asking."""
        parts = urlsplit(self._http.base_url)
        host = parts.netloc.rpartition("@")[2]
        scheme = "wss" if parts.scheme == "https" else "ws"
        url = f"{scheme}://{host}{parts.path}/ws?clientId={quote(client_id)}"
        header = [f"{name}: {value}" for name, value in self._headers.items()]
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            header.append("Authorization: Basic " + base64.b64encode(login).decode())
        options: dict[str, Any] = {"header": header, "suppress_origin": True}
        try:
            if (
                is_loopback(url) and scheme == "ws"
            ):  # or the library would take a proxy's environment
                place = (parts.hostname or "localhost", parts.port or 80)
                options["socket"] = open_socket(place, min(10.0, self._timeout))
            socket = websocket.create_connection(url, timeout=min(10.0, self._timeout), **options)
            flags = {"supports_preview_metadata": True}
            socket.send(json.dumps({"type": "feature_flags", "data": flags}))
        except (websocket.WebSocketException, OSError, ValueError) as error:
            self._log(f"no socket ({type(error).__name__}); asking the server instead")
            return None
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

    # -- files -------------------------------------------------------------------------------

    @contextmanager
    def fetch(self, output: Output) -> Iterator[Incoming]:
        """Stream one result. Raises OutputGone when the server no longer has the file."""
        query = {
            "filename": output.filename,
            "subfolder": output.subfolder,
            "type": output.folder_type,
        }
        with self._http.get("/view", params=query, stream=True) as answer:
            if answer.status_code == 404:
                raise OutputGone(
                    f"ComfyUI no longer has the file {output.filename!r} that it names as a result.",
                    "It was deleted there; change something (a seed, a prefix) and call again.",
                )
            if answer.status_code != 200:
                raise self._http.odd(answer, "/view")
            length = answer.headers.get("Content-Length", "")
            chunks = _chunks(answer, output.filename)
            yield Incoming(chunks, int(length) if length.isdigit() else None)

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        """``POST /upload/image``; gives ``subfolder/name`` as the server names it.

        The name goes out as raw UTF-8: the server stores percent-encoding literally.
        """
        boundary = uuid.uuid4().hex
        bare = "".join("_" if letter in '"\\\r\n' else letter for letter in name)
        fields = {"type": "input", "subfolder": subfolder}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{bare}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
        )
        parts += [content, f"\r\n--{boundary}--\r\n".encode()]
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = self._posted("/upload/image", b"".join(parts), headers)
        if answer.status_code == 413:
            raise EngineError(
                f"ComfyUI takes no upload of {max(1, len(content) >> 10)} KB.",
                "Use a smaller picture, or start ComfyUI with a larger --max-upload-size.",
            )
        told = string_map(self._http.json(answer, "/upload/image"))
        if not isinstance(told.get("name"), str):
            raise self._http.odd(answer, "/upload/image")
        folder = str(told.get("subfolder") or "").replace("\\", "/").strip("/")
        return f"{folder}/{told['name']}" if folder else told["name"]

    def _posted(self, path: str, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        """A POST that may be repeated, since the server keeps equal bytes of one name only once."""
        for attempt in range(TRIES - 1):
            try:
                return self._http.once("POST", path, data=body, headers=headers)
            except ServerUnreachable:
                pause(attempt)
        return self._http.once("POST", path, data=body, headers=headers)

    def has_input(self, value: str) -> bool:
        """Whether ``/view`` shows such a file in the input folder."""
        with self._input(value, {"Range": "bytes=0-0"}) as answer:
            return answer.status_code in (200, 206)

    def read_input(self, value: str) -> bytes | None:
        """The file's bytes, None when it is not there."""
        with self._input(value, {}) as answer:
            return b"".join(_chunks(answer, value)) if answer.status_code == 200 else None

    def _input(self, value: str, headers: Mapping[str, str]) -> requests.Response:
        folder, _, name = value.replace("\\", "/").rpartition("/")
        query = {"filename": name, "subfolder": folder, "type": "input"}
        return self._http.get("/view", params=query, headers=headers, stream=True)

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


def _chunks(answer: requests.Response, name: str) -> Iterator[bytes]:
    """The body as it comes. Raises EngineError when it breaks off."""
    try:
        yield from answer.iter_content(CHUNK)
    except requests.RequestException as error:
        raise EngineError(
            f"The connection to ComfyUI broke off while it sent {name!r}.", "Call again."
        ) from error
