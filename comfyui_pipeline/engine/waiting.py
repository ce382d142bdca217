"""Waiting for one run: the socket while it speaks, the queue and the history when it does not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import websocket

from comfyui_pipeline.engine import results, wording
from comfyui_pipeline.engine.base import Job, Output, Progress, RunResult
from comfyui_pipeline.engine.http import Http, LostReply, string_map
from comfyui_pipeline.errors import EngineError, RunLost, ServerSilent, ServerUnreachable

QUIET = 5.0
"""Seconds without a frame of this run after which the queue and the history are asked."""
SILENCE = 300.0
"""Seconds without a word of a run that is said to be running, after which it counts as stuck."""
POLL = 0.5
"""Seconds between two looks when there is no socket."""
AWAY = 8.0
"""Seconds for which a server may refuse connections before its runs count as lost."""
LAG = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""Pauses before each look at the history of a run that has ended: it may lag behind the frames."""


@dataclass(slots=True)
class Seen:
    """What the frames have told so far."""

    outputs: dict[str, Any] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    success: bool = False
    ended: bool = False
    begun: bool = False  # anything of it has run


class QueuedRun:
    """A run that is queued at a ComfyUI server (see ``engine.base.Run``)."""

    def __init__(
        self,
        http: Http,
        job: Job,
        socket: websocket.WebSocket | None,
        node_errors: Mapping[str, str],
        quiet: float = QUIET,
        silence: float = SILENCE,
    ) -> None:
        self._http = http
        self._job = job
        self._socket = socket
        self._node_errors = dict(node_errors)
        self._quiet = quiet
        self._silence = silence
        self._heard = time.monotonic()
        self._restarted = False
        self._seen = Seen()
        self._absent = 0
        self._away_since: float | None = None

    @property
    def prompt_id(self) -> str:
        return self._job.prompt_id

    def __enter__(self) -> QueuedRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop_socket()

    def wait(self, deadline: float, progress: Callable[[Progress], None]) -> RunResult:
        """See ``engine.base.Run.wait``."""
        last_word = time.monotonic()
        while (now := time.monotonic()) < deadline:
            patience = self._quiet if self._socket else POLL
            if now - last_word >= patience:
                entry = self._look(progress)
                last_word = time.monotonic()
                if entry is not None:
                    return self._from_history(entry)
                continue
            until = min(deadline, last_word + patience)
            frame = self._next_frame(until)
            if frame is not None and self._take(frame, progress):
                last_word = self._heard = time.monotonic()
                if self._seen.ended:
                    return self._finish(deadline)
        return self._told(complete=False)

    def _next_frame(self, until: float) -> Mapping[str, Any] | None:
        """The next frame that is a JSON object, None when there was none until ``until``."""
        left = max(0.01, until - time.monotonic())
        if self._socket is None:
            time.sleep(left)
            return None
        try:
            self._socket.settimeout(left)
            frame = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError, ValueError):
            self._drop_socket()
            return None
        if frame == "":
            self._drop_socket()
        if not isinstance(frame, str):
            return None
        try:
            return string_map(json.loads(frame))
        except ValueError:
            return None

    def _take(self, frame: Mapping[str, Any], progress: Callable[[Progress], None]) -> bool:
        """Note what a frame tells; False when it is not of this run."""
        data = string_map(frame.get("data"))
        if data.get("prompt_id") != self.prompt_id:
            return False
        kind, node, seen = frame.get("type"), data.get("node"), self._seen
        seen.begun = seen.begun or kind in ("executing", "executed", "progress")
        if kind == "executing":
            seen.ended = node is None
            if node is not None:
                progress(Progress("running", str(node)))
        elif kind == "executed":
            seen.outputs[str(node)] = data.get("output")
        elif kind == "execution_cached":
            seen.cached.update(str(cached) for cached in data.get("nodes") or [])
        elif kind == "execution_success":
            seen.success = True
        elif kind == "execution_error":
            told = wording.execution_error(self._job.prompt, data)
            seen.errors[str(data.get("node_id"))] = told
        elif kind == "progress":
            value, maximum = data.get("value"), data.get("max")
            progress(Progress("running", str(node), value, maximum))
        return True

    def _look(self, progress: Callable[[Progress], None]) -> Mapping[str, Any] | None:
        """Ask the queue first and the history second: in the other order a run can end in between.

        Gives the history entry of a run that has ended. Raises RunLost when it is nowhere.
        """
        try:
            place = self._place(progress)
            entry = None if place else self._entry()
        except LostReply:
            return None
        except ServerUnreachable:
            self._count_absence()
            return None
        self._away_since = None
        if place or entry is not None:
            self._absent = 0
            return entry
        self._absent += 1
        if self._absent < 2:
            return None
        raise RunLost(
            "The run is gone from ComfyUI: it is neither in the queue nor in the history.",
            "Somebody removed it, or ComfyUI was restarted; call again.",
            untouched=self._restarted and not self._seen.begun,
        )

    def _count_absence(self) -> None:
        now = time.monotonic()
        self._drop_socket()
        self._restarted = True
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= AWAY:
            raise RunLost(
                f"ComfyUI at {self._http.shown} went away while it was running this; the run is lost.",
                "It crashed or was stopped (out of memory is the usual cause). Start it and call again.",
            )

    def _place(self, progress: Callable[[Progress], None]) -> bool:
        """Whether the run is in the queue, running or pending."""
        answer = self._http.once("GET", "/queue", timeout=5)
        state = string_map(self._http.json(answer, "/queue"))
        if any(item[1] == self.prompt_id for item in state.get("queue_running") or []):
            progress(Progress("running"))
            self._seen.begun = True
            self._check_silence()
            return True
        self._heard = time.monotonic()
        pending = sorted(state.get("queue_pending") or [], key=lambda item: item[0])
        ids = [item[1] for item in pending]
        if self.prompt_id not in ids:
            return False
        ahead = ids.index(self.prompt_id) + len(state.get("queue_running") or [])
        progress(Progress("queued", position=ahead))
        return True

    def _check_silence(self) -> None:
        """A run without a socket tells nothing of its progress, so it cannot be called silent."""
        silent = time.monotonic() - self._heard
        if self._socket is not None and silent >= self._silence:
            raise ServerSilent(
                f"ComfyUI has said nothing for {silent:.0f} s while it counts this run as running "
                f"(prompt id {self.prompt_id}): its worker has probably died.",
                "Look at ComfyUI's console and restart it; or raise COMFYUI_SILENCE_TIMEOUT if its "
                "models take that long to load.",
            )

    def _entry(self) -> Mapping[str, Any] | None:
        path = f"/history/{self.prompt_id}"
        answer = self._http.once("GET", path, timeout=10)
        return string_map(self._http.json(answer, path)).get(self.prompt_id)

    def _finish(self, deadline: float) -> RunResult:
        """The end was told: read the history, which holds what the frames may have left out."""
        for pause in LAG:
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            try:
                entry = self._entry()
            except EngineError:
                continue
            if entry is not None:
                return self._from_history(entry)
        if self._seen.success:
            return self._told(complete=True)
        raise RunLost("The run ended at ComfyUI, which keeps no record of how.", "Call again.")

    def _from_history(self, entry: Mapping[str, Any]) -> RunResult:
        results.check_end(self._job.prompt, entry)
        found = results.outputs(self._job.prompt, string_map(entry.get("outputs")))
        if not self._seen.cached:
            self._seen.cached.update(_cached(entry))
        return self._result(found, complete=True)

    def _told(self, *, complete: bool) -> RunResult:
        return self._result(
            results.outputs(self._job.prompt, self._seen.outputs), complete=complete
        )

    def _result(self, found: tuple[Output, ...], *, complete: bool) -> RunResult:
        return RunResult(
            self.prompt_id,
            found,
            complete=complete,
            node_errors={**self._node_errors, **self._seen.errors},
            cached=frozenset(self._seen.cached),
        )

    def _drop_socket(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            close(socket)


def close(socket: websocket.WebSocket) -> None:
    """Close at once, without waiting for the other side's goodbye."""
    socket.shutdown()  # type: ignore[no-untyped-call]


def _cached(entry: Mapping[str, Any]) -> list[str]:
    for message in string_map(entry.get("status")).get("messages") or []:
        if message[0] == "execution_cached":
            return [str(node) for node in string_map(message[1]).get("nodes") or []]
    return []
