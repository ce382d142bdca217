"""Waiting for one run: the socket while it speaks, the queue and the history when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

from comfyui_pipeline.engine import history as results
from comfyui_pipeline.engine.http import Gateway, Http, LostReply, Refused
from comfyui_pipeline.engine.messages import Listener
from comfyui_pipeline.engine.protocol import Job, JobResult, Output, Progress
from comfyui_pipeline.engine.responses import HistoryEntry, history, queue
from comfyui_pipeline.engine.websocket import MAX_MESSAGE, Subscription
from comfyui_pipeline.errors import EngineError, JobLost, JobStalled
from comfyui_pipeline.process.time_limit import DEFAULT_STALL_TIMEOUT
from input_server.light_dataclasses import dataclass

LAG = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""Pauses before each look at the history of a run that has ended: it may lag behind the frames."""

LOOK_SECONDS = 5.0
"""How long the queue may take to answer; the history, which holds more, twice as long."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long which silence is borne; seconds.

    ``quiet``: without a frame, until the queue and the history are asked; ``poll``: between two
    looks without a socket. ``stale``: without a frame of a run that is on, until the socket is
    renewed; ``silence``: until it counts as stuck. ``idle``: for which a server may run nothing
    while runs wait. ``away``: for which it may refuse connections before a run that had begun is
    lost; ``back``: the same for one that had not, as long as a restart takes.
    """

    ask_after: float = 5.0
    poll_interval: float = 0.5
    reconnect_after: float = 30.0
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    idle_timeout: float = 15.0
    down_timeout_running: float = 8.0
    down_timeout_queued: float = 60.0


class QueuedJob:
    """A run that is queued at a ComfyUI server (see ``engine.base.Run``)."""

    def __init__(
        self,
        http: Http,
        job: Job,
        socket: Subscription | None,
        node_errors: Mapping[str, str],
        timeouts: Timeouts,
    ) -> None:
        self._http = http
        self._job = job
        self._socket = socket
        self._node_errors = dict(node_errors)
        self._timeouts = timeouts
        self._heard = time.monotonic()  # the last word of this run
        self._busy = time.monotonic()  # the last time that the server ran anything
        self._listening = time.monotonic()  # since when a socket is open, but for short gaps
        self._closed: float | None = None  # since when none is
        self._absent = 0
        self._trouble_since: float | None = None
        self._refused = False

    @property
    def prompt_id(self) -> str:
        return self._job.prompt_id

    def __enter__(self) -> QueuedJob:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def wait(
        self,
        deadline: float,
        progress: Callable[[Progress], None],
        on_output: Callable[[Output], None] = lambda output: None,
    ) -> JobResult:
        """See ``engine.base.Run.wait``."""
        listener = Listener(self._job, progress, on_output)
        look_at = time.monotonic() + self._between_looks()
        while (now := time.monotonic()) < deadline:
            self._note_gaps(now)
            if now >= look_at:
                entry = self._look(listener)
                if entry is not None:
                    return self._from_history(listener, entry)
                self._renew_when_stale()
                look_at = time.monotonic() + self._between_looks()
                continue
            was_open = self._is_open
            frame = self._next(min(deadline, look_at))
            if frame and listener.take(frame):
                self._heard = time.monotonic()
                look_at = self._heard + self._between_looks()
                if listener.seen.ended:
                    return self._finish(listener, deadline)
            elif self._is_open != was_open:  # what was said meanwhile is not said again
                look_at = time.monotonic()
        return self._result(listener, listener.seen.outputs, complete=False)

    def _note_gaps(self, now: float) -> None:
        """What is said while no socket is open is not heard, so such a time is no silence. A socket
        that is renewed is closed for a moment only.
        """
        if not self._is_open:
            self._closed = now if self._closed is None else self._closed
        elif self._closed is not None:
            if now - self._closed >= self._timeouts.reconnect_after:
                self._listening = now
            self._closed = None

    @property
    def _is_open(self) -> bool:
        return self._socket is not None and self._socket.is_open

    def _between_looks(self) -> float:
        return self._timeouts.ask_after if self._is_open else self._timeouts.poll_interval

    def _next(self, until: float) -> str | bytes | None:
        if self._socket is not None:
            return self._socket.next(until)
        time.sleep(max(0.0, until - time.monotonic()))
        return None

    # -- asking ------------------------------------------------------------------------------

    def _look(self, listener: Listener) -> HistoryEntry | None:
        """Ask the queue first and the history second: in the other order a run can end in between.

        Gives the history entry of a run that has ended. Raises RunLost when it is nowhere.
        """
        try:
            place = self._place(listener)
            entry = None if place else self._entry()
        except JobStalled:
            raise
        except EngineError as error:
            self._bear(error, listener)
            return None
        self._trouble_since = None
        if place or entry is not None:
            self._absent = 0
            return entry
        self._absent += 1
        if self._absent < 2:
            return None
        if self._refused:
            what = "ComfyUI was restarted, and the run is lost."
        else:
            what = "The run is gone from ComfyUI: it is neither in the queue nor in the history."
        raise JobLost(
            what,
            "Somebody removed it, or ComfyUI was restarted; call again.",
            not_started=self._refused and not listener.seen.started,
        )

    def _bear(self, error: EngineError, listener: Listener) -> None:
        """Put up with a server that is away or answers nonsense, for as long as it may come back."""
        now = self._busy = time.monotonic()  # whether it runs anything is not known now
        if isinstance(error, (LostReply, Gateway)):
            # It is slow, or a proxy before it says so; it hangs only when nothing else is heard.
            if now - self._heard >= self._timeouts.stall_timeout:
                raise JobStalled(
                    f"{error.message} Nothing was heard of the run (prompt id {self.prompt_id}) for "
                    f"{now - self._heard:.0f} s.",
                    "Look at ComfyUI's console and restart it; then call again.",
                ) from error
            return
        self._refused = self._refused or isinstance(error, Refused)
        if self._trouble_since is None:
            self._trouble_since = now
        timeouts = (
            self._timeouts.down_timeout_running
            if listener.seen.started
            else self._timeouts.down_timeout_queued
        )
        if now - self._trouble_since < timeouts:
            return
        if not isinstance(error, Refused):
            raise EngineError(
                f"{error.message} The run may still be going on (prompt id {self.prompt_id}).",
                error.hint,
            ) from error
        raise JobLost(
            f"ComfyUI at {self._http.shown} went away while it was running this; the run is lost."
            if listener.seen.started
            else f"ComfyUI at {self._http.shown} went away before it ran this.",
            "It crashed or was stopped (out of memory is the usual cause). Start it and call again.",
        )

    def _place(self, listener: Listener) -> bool:
        """Whether the run is in the queue, running or pending."""
        reply = self._http.once("GET", "/queue", seconds=LOOK_SECONDS)
        found = self._http.value(reply, "/queue", queue)
        now = time.monotonic()
        if found.running:
            self._busy = now
        if found.is_running(self.prompt_id):
            listener.progress(Progress("running"))
            listener.seen.started = True
            self._check_silence(now)
            return True
        self._heard = now
        ahead = found.ahead_of(self.prompt_id)
        if ahead is None:
            return False
        if now - self._busy >= self._timeouts.idle_timeout:
            raise self._dead(f"It has run nothing for {now - self._busy:.0f} s while runs wait")
        listener.progress(Progress("queued", position=ahead))
        return True

    def _check_silence(self, now: float) -> None:
        """Without a socket nobody tells of progress, so a run cannot be called silent."""
        if self._socket is None or not self._socket.is_open:
            return
        silent = now - max(self._heard, self._listening)
        if silent >= self._timeouts.stall_timeout:
            raise self._dead(f"It has said nothing of this run for {silent:.0f} s")

    def _dead(self, what: str) -> JobStalled:
        return JobStalled(
            f"ComfyUI takes work but does none: {what[0].lower()}{what[1:]} (prompt id "
            f"{self.prompt_id}); its worker has probably died.",
            "Look at ComfyUI's console and restart it; or raise COMFYUI_SILENCE_TIMEOUT if its models "
            "take that long to load.",
        )

    def _renew_when_stale(self) -> None:
        """Half-open connections say nothing for ever; another socket may hear more."""
        if self._socket is None or not self._socket.is_open:
            return
        if (
            time.monotonic() - max(self._heard, self._socket.opened)
            >= self._timeouts.reconnect_after
        ):
            self._socket.renew()

    def _entry(self) -> HistoryEntry | None:
        path = f"/history/{quote(self.prompt_id, safe='')}"
        reply = self._http.once("GET", path, seconds=2 * LOOK_SECONDS)
        return self._http.value(reply, path, lambda found: history(found, self.prompt_id))

    # -- the end -----------------------------------------------------------------------------

    def _finish(self, listener: Listener, deadline: float) -> JobResult:
        """The end was told: read the history, which holds what the frames may have left out."""
        silent = False
        for pause in LAG:
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                break
            try:
                entry = self._entry()
            except EngineError:
                silent = True
                continue
            silent = False
            if entry is not None:
                return self._from_history(listener, entry)
        if listener.seen.success:
            return self._result(listener, listener.seen.outputs, complete=True)
        if silent or time.monotonic() >= deadline:  # how it ended can be asked for in another call
            return self._result(listener, listener.seen.outputs, complete=False)
        raise JobLost("The run ended at ComfyUI, which keeps no record of how.", "Call again.")

    def _from_history(self, listener: Listener, entry: HistoryEntry) -> JobResult:
        results.check_end(self._job.prompt, entry)
        if not listener.seen.cached:
            listener.seen.cached.update(results.cached(entry))
        told = {**listener.seen.outputs, **entry.outputs}
        return self._result(listener, told, complete=True)

    def _result(self, listener: Listener, told: Mapping[str, Any], *, complete: bool) -> JobResult:
        errors = {**self._node_errors, **listener.seen.errors}
        if self._socket is not None and self._socket.too_large and listener.node:
            errors.setdefault(
                listener.node,
                f"the server sent {self._socket.too_large} over the socket while it ran, more than "
                f"{MAX_MESSAGE >> 20} MB; what it was is lost. Save pictures with SaveImage instead",
            )
        return JobResult(
            self.prompt_id,
            (*results.outputs(self._job.prompt, told), *listener.sent_pictures(told)),
            complete=complete,
            node_errors=errors,
            cached=frozenset(listener.seen.cached),
            started=complete or listener.seen.started,
        )
