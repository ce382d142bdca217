"""The jobs and files of one call, so that its response names them whatever fails afterwards.

The error of a call that fails unexpectedly, is stopped by a signal or ends by the watchdog is
completed from its record. Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from comfyui_pipeline.errors import CallStopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

SENT, QUEUED, ENDED, CANCELLED, NOT_AVAILABLE = "sent", "queued", "ended", "cancelled", "gone"
STOPPING = "stopping"
"""States of a job: being sent to the server; queued there; finished; cancelled by us; without any
result (refused, failed, lost); asked to stop, which it does at its next step."""
WORDS = {
    SENT: "The job may have been queued at ComfyUI; get its result with {command}.",
    QUEUED: "The job may still be running at ComfyUI; get its result with {command}.",
    ENDED: "The job has finished at ComfyUI; get its result with {command}.",
    CANCELLED: "The job was cancelled (prompt id {prompt_id}).",
    STOPPING: "ComfyUI was asked to cancel the job (prompt id {prompt_id}), which stops at its next step.",
}
STATE_AFTER = {"stopped": CANCELLED, "requested": STOPPING, "ended": ENDED}
"""A ``protocol.Cancellation`` -> the state of the job after it."""
MAX_FILES = 20
"""Stored files that are listed; further ones are counted."""
MAX_JOBS = 20


class Job:
    """A prompt that was sent to the server.

    ``cancel`` requests that the server stops it, and returns a ``protocol.Cancellation``.
    """

    def __init__(self, prompt_id: str, cancel: Callable[[], str], persistent: bool) -> None:
        self.prompt_id = prompt_id
        self.state = SENT
        self.cancel = cancel
        self.persistent = persistent  # False if the server ends with this call


class CallRecord:
    """The jobs and files of one call, or of one part of a batch; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[tuple[str, CallRecord]] = []
        self._jobs: list[Job] = []
        self._files: dict[str, None] = {}
        self._stopped = False

    def part(self, label: str) -> CallRecord:
        """Return a separate record for one part of a batch."""
        part = CallRecord()
        with self._lock:
            self._parts.append((label, part))
        return part

    def add_job(self, prompt_id: str, cancel: Callable[[], str], *, persistent: bool = True) -> Job:
        """Record a prompt before it is sent with this id; the caller updates the job's ``state``.

        Raises CallStopped if the call has been stopped, as that has cancelled its jobs already.
        """
        job = Job(prompt_id, cancel, persistent)
        with self._lock:
            if self._stopped:
                raise CallStopped("The call was stopped before this job was queued.")
            self._jobs.append(job)
        return job

    def add_file(self, place: str) -> None:
        """Record a stored result by its URL, or by its path if it has none."""
        with self._lock:
            self._files[place] = None

    def cancel(self) -> None:
        """Request that the server stops every job that may exist there, including those of parts.

        The requests run in parallel, as a hanging server delays each. A job whose request fails, or
        which may not have reached the server yet, keeps its state.
        """
        with _threads() as pool:
            pool.map(_cancel, [job for job in self._all_jobs() if job.state in (SENT, QUEUED)])

    def stop(self) -> None:
        """Cancel the call's jobs and refuse further ones."""
        for record in self._and_parts():
            with record._lock:
                record._stopped = True
        self.cancel()

    def summary(self, text: str = "") -> str:
        """Return sentences on the jobs and files that ``text`` (of a response) does not name."""
        parts = [(f"{label}: ", part) for label, part in self._copied_parts()]
        texts = [
            f"{label}{words}"
            for label, part in [("", self), *parts]
            if (words := part._own_summary(text))
        ]
        return " ".join(texts)

    def _own_summary(self, text: str) -> str:
        with self._lock:
            jobs, files = list(self._jobs), list(self._files)
        texts = [_job_sentence(job) for job in jobs[-MAX_JOBS:] if job.prompt_id not in text]
        missing = [file for file in files if file not in text]
        if missing:
            more = f" and {len(missing) - MAX_FILES} more" if len(missing) > MAX_FILES else ""
            texts.append(f"Already stored: {', '.join(missing[:MAX_FILES])}{more}.")
        return " ".join(text for text in texts if text)

    def _copied_parts(self) -> list[tuple[str, CallRecord]]:
        with self._lock:
            return list(self._parts)

    def _and_parts(self) -> list[CallRecord]:
        return [self, *(part for _, own in self._copied_parts() for part in own._and_parts())]

    def _all_jobs(self) -> list[Job]:
        jobs = []
        for record in self._and_parts():
            with record._lock:
                jobs += record._jobs
        return jobs


def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(MAX_JOBS)


def _cancel(job: Job) -> None:
    known = job.state == QUEUED
    state = STATE_AFTER.get(job.cancel())
    if state and known and job.state == QUEUED:
        job.state = state


def _job_sentence(job: Job) -> str:
    if not job.persistent:
        return ""
    command = json.dumps({"command": "result", "prompt_id": job.prompt_id})
    return WORDS.get(job.state, "").format(command=command, prompt_id=job.prompt_id)
