"""Waiting for one job: by its WebSocket while messages arrive, by the queue and the history else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from urllib.parse import quote

from comfyui_pipeline.engine import job_end, responses
from comfyui_pipeline.engine.http import Gateway, Http, LostReply, Refused
from comfyui_pipeline.engine.messages import Listener
from comfyui_pipeline.engine.protocol import Job, JobResult, Output, Progress
from comfyui_pipeline.engine.responses import HistoryEntry
from comfyui_pipeline.engine.subscription import Subscription
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.engine.websocket import MAX_MESSAGE
from comfyui_pipeline.errors import EngineError, JobLost, JobStalled
from input_server.light_dataclasses import replace

HISTORY_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""Before each look at the history of a job that has ended: it may lag behind the messages."""

QUEUE_SECONDS = 5.0
"""How long the queue may take to respond; the history, which is larger, twice as long."""


class QueuedJob:
    """A job that is queued at a ComfyUI server (see ``protocol.JobHandle``)."""

    def __init__(
        self,
        http: Http,
        job: Job,
        subscription: Subscription | None,
        node_errors: Mapping[str, str],
        timeouts: Timeouts,
    ) -> None:
        self._http = http
        self._job = job
        self._subscription = subscription
        self._node_errors = dict(node_errors)
        self._timeouts = timeouts
        now = time.monotonic()
        self._last_message = now  # about this job
        self._last_busy = now  # when the server ran any job
        self._listening_since = now  # since when a socket is open, apart from short gaps
        self._closed_since: float | None = None
        self._times_absent = 0
        self._down_since: float | None = None
        self._was_down = False

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
        if self._subscription is not None:
            self._subscription.close()

    def wait(
        self,
        deadline: float,
        progress: Callable[[Progress], None],
        on_output: Callable[[Output], None] = lambda output: None,
    ) -> JobResult:
        """See ``protocol.JobHandle.wait``."""
        listener = Listener(self._job, progress, on_output)
        ask_at = time.monotonic() + self._interval()
        while (now := time.monotonic()) < deadline:
            self._note_gaps(now)
            if now >= ask_at:
                entry = self._ask(listener)
                if entry is not None:
                    return self._from_history(listener, entry)
                self._reconnect_if_silent()
                ask_at = time.monotonic() + self._interval()
                continue
            was_open = self._is_open
            message = self._next_message(min(deadline, ask_at))
            if message and listener.read(message):
                self._last_message = time.monotonic()
                ask_at = self._last_message + self._interval()
                if listener.events.ended:
                    return self._finish(listener, deadline)
            elif self._is_open != was_open:  # messages sent meanwhile are not repeated
                ask_at = time.monotonic()
        return self._result(listener, listener.events.outputs, complete=False)

    def _note_gaps(self, now: float) -> None:
        """Messages sent while no socket is open are lost, so such a time does not count as silence.
        A socket that is replaced is closed for a moment only.
        """
        if not self._is_open:
            self._closed_since = now if self._closed_since is None else self._closed_since
        elif self._closed_since is not None:
            if now - self._closed_since >= self._timeouts.reconnect_after:
                self._listening_since = now
            self._closed_since = None

    @property
    def _is_open(self) -> bool:
        return self._subscription is not None and self._subscription.is_open

    def _interval(self) -> float:
        return self._timeouts.ask_after if self._is_open else self._timeouts.poll_interval

    def _next_message(self, until: float) -> str | bytes | None:
        if self._subscription is not None:
            return self._subscription.next(until)
        time.sleep(max(0.0, until - time.monotonic()))
        return None

    # -- asking the server -------------------------------------------------------------------

    def _ask(self, listener: Listener) -> HistoryEntry | None:
        """The history entry of a job that has ended; None while it waits or runs.

        The queue first and the history second: in the other order a job can end in between. Raises
        JobLost when it is in neither, twice.
        """
        try:
            is_queued = self._is_queued(listener)
            entry = None if is_queued else self._entry()
        except JobStalled:
            raise
        except EngineError as error:
            self._tolerate(error, listener)
            return None
        self._down_since = None
        if is_queued or entry is not None:
            self._times_absent = 0
            return entry
        self._times_absent += 1
        if self._times_absent < 2:
            return None
        if self._was_down:
            what, hint = "ComfyUI was restarted, and the job is lost.", "Call again."
        else:
            what = "The job is missing at ComfyUI: it is neither in the queue nor in the history."
            hint = "It was removed, or ComfyUI was restarted; call again."
        raise JobLost(
            what,
            hint,
            not_started=self._was_down and not listener.events.started,
        )

    def _tolerate(self, error: EngineError, listener: Listener) -> None:
        """Return while the server may recover from ``error``, raise when that takes too long."""
        now = self._last_busy = time.monotonic()  # whether it runs anything is not known now
        if isinstance(error, (LostReply, Gateway)):
            # It is slow, or a proxy says so; it hangs only when no messages arrive either.
            if now - self._last_message >= self._timeouts.stall_timeout:
                raise JobStalled(
                    f"{error.message} There was no message about the job (prompt id "
                    f"{self.prompt_id}) for {now - self._last_message:.0f} s.",
                    "Check ComfyUI's console and restart it; then call again.",
                ) from error
            return
        self._was_down = self._was_down or isinstance(error, Refused)
        if self._down_since is None:
            self._down_since = now
        started = listener.events.started
        limit = (
            self._timeouts.down_timeout_running if started else self._timeouts.down_timeout_queued
        )
        if now - self._down_since < limit:
            return
        if not isinstance(error, Refused):
            raise EngineError(
                f"{error.message} The job may still be running (prompt id {self.prompt_id}).",
                error.hint,
            ) from error
        raise JobLost(
            f"ComfyUI at {self._http.shown} went down while it ran this job; the job is lost."
            if started
            else f"ComfyUI at {self._http.shown} went down before it ran this job.",
            "It crashed or was stopped (out of memory is the usual cause). Start it and call again.",
        )

    def _is_queued(self, listener: Listener) -> bool:
        """Whether the job is in the queue, running or pending."""
        reply = self._http.once("GET", "/queue", seconds=QUEUE_SECONDS)
        queue = self._http.value(reply, "/queue", responses.queue)
        now = time.monotonic()
        if queue.running:
            self._last_busy = now
        if queue.is_running(self.prompt_id):
            listener.progress(Progress("running"))
            listener.events.started = True
            return True
        self._last_message = now
        ahead = queue.ahead_of(self.prompt_id)
        if ahead is None:
            return False
        if now - self._last_busy >= self._timeouts.idle_timeout:
            idle = now - self._last_busy
            raise self._stalled(f"has run nothing for {idle:.0f} s although jobs are queued")
        listener.progress(Progress("queued", position=ahead))
        return True

    def _silent_seconds(self) -> float:
        """For how long a running job has reported nothing; 0 below the limit for it.

        That is no failure: a node that loads a model from a slow disk says nothing for minutes, and
        the queue still lists the job as running. Without a socket there are no messages, so their
        absence means nothing.
        """
        silent = time.monotonic() - max(self._last_message, self._listening_since)
        return silent if self._is_open and silent >= self._timeouts.stall_timeout else 0.0

    def _stalled(self, what: str) -> JobStalled:
        return JobStalled(
            f"ComfyUI accepted the job but {what} (prompt id {self.prompt_id}); its worker has "
            "probably died.",
            "Check ComfyUI's console and restart it; then call again.",
        )

    def _reconnect_if_silent(self) -> None:
        """A half-open connection never reports an error; a new one may receive more."""
        if self._subscription is None or not self._subscription.is_open:
            return
        since = max(self._last_message, self._subscription.opened_at)
        if time.monotonic() - since >= self._timeouts.reconnect_after:
            self._subscription.renew()

    def _entry(self) -> HistoryEntry | None:
        path = f"/history/{quote(self.prompt_id, safe='')}"
        reply = self._http.once("GET", path, seconds=2 * QUEUE_SECONDS)
        return self._http.value(
            reply, path, lambda document: responses.history(document, self.prompt_id)
        )

    # -- the end -----------------------------------------------------------------------------

    def _finish(self, listener: Listener, deadline: float) -> JobResult:
        """The messages said that it ended: read the history, which has what they may have left out."""
        unknown = False
        for pause in HISTORY_PAUSES:
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                break
            try:
                entry = self._entry()
            except EngineError:
                unknown = True
                continue
            unknown = False
            if entry is not None:
                return self._from_history(listener, entry)
        if listener.events.success:
            return self._result(listener, listener.events.outputs, complete=True)
        if unknown or time.monotonic() >= deadline:  # another call can ask how it ended
            return self._result(listener, listener.events.outputs, complete=False)
        raise JobLost("The job ended, but ComfyUI's history has no entry for it.", "Call again.")

    def _from_history(self, listener: Listener, entry: HistoryEntry) -> JobResult:
        job_end.check_end(self._job.prompt, entry)
        if not listener.events.cached:
            listener.events.cached.update(entry.cached)
        outputs = {**listener.events.outputs, **entry.outputs}
        result = self._result(listener, outputs, complete=True)
        return replace(result, seconds=entry.seconds)

    def _result(
        self, listener: Listener, outputs: Mapping[str, tuple[Output, ...]], *, complete: bool
    ) -> JobResult:
        events = listener.events
        errors = {**self._node_errors, **events.errors}
        too_large = self._subscription.too_large if self._subscription is not None else ""
        if too_large and listener.node:
            errors.setdefault(
                listener.node,
                f"the server sent {too_large} over the WebSocket while it ran, more than "
                f"{MAX_MESSAGE >> 20} MB; its content is lost. Save images with SaveImage instead",
            )
        return JobResult(
            self.prompt_id,
            (*job_end.ordered(self._job.prompt, outputs), *listener.sent_images(outputs)),
            complete=complete,
            node_errors=errors,
            cached=frozenset(events.cached),
            started=complete or events.started,
            silent=0.0 if complete or not events.started else self._silent_seconds(),
        )
