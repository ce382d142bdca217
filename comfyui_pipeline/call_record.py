"""What one call has queued and stored so far: what its answer names, whatever fails afterwards.

A record travels with the call. Whoever has to answer in the call's place (an unforeseen error, a
signal, the watchdog) reads it. Runs on older Pythons than the rest, as ``answer`` does.
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
"""States of a job: the request is on its way; the server has it; it ran to its end; we cancelled it;
there is nothing of it to be had (refused, failed, lost)."""
WORDS = {
    SENT: "The run may have been queued at ComfyUI; get it with {command}.",
    QUEUED: "The run may still be going on at ComfyUI; get it with {command}.",
    ENDED: "The run has ended at ComfyUI; get it with {command}.",
    CANCELLED: "The run was cancelled (prompt id {prompt_id}).",
}
MOST_FILES = 20
"""Stored files that are named one by one."""
MOST_JOBS = 20


class Job:
    """One prompt that was sent to the server.

    ``cancel`` asks the server to stop it, and gives whether the server took that request.
    """

    def __init__(self, prompt_id: str, cancel: Callable[[], bool], persistent: bool) -> None:
        self.prompt_id = prompt_id
        self.state = SENT
        self.cancel = cancel
        self.persistent = persistent  # False where the server ends with this call


class CallRecord:
    """The jobs and files of one call, or of one part of a batch; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[tuple[str, CallRecord]] = []
        self._jobs: list[Job] = []
        self._files: dict[str, None] = {}
        self._stopped = False

    def part(self, label: str) -> CallRecord:
        """A record of its own for one part of a batch."""
        part = CallRecord()
        with self._lock:
            self._parts.append((label, part))
        return part

    def add_job(
        self, prompt_id: str, cancel: Callable[[], bool], *, persistent: bool = True
    ) -> Job:
        """A prompt is about to be sent under this id. The job's ``state`` is then kept up to date.

        Raises CallStopped once the call has been stopped: nobody would cancel that one.
        """
        job = Job(prompt_id, cancel, persistent)
        with self._lock:
            if self._stopped:
                raise CallStopped("The call was stopped before this was queued.")
            self._jobs.append(job)
        return job

    def stored(self, place: str) -> None:
        """A result lies on this disk; ``place`` is its URL, or its path where it has none."""
        with self._lock:
            self._files[place] = None

    def cancel(self) -> None:
        """Ask the server to stop every job that may still be there, those of all parts too.

        Side by side, as a server that hangs takes its time for each. A job whose request fails, or
        which the server may not even have yet, keeps its state.
        """
        with _threads() as pool:
            pool.map(_cancel, [job for job in self._all_jobs() if job.state in (SENT, QUEUED)])

    def stop(self) -> None:
        """The call is stopped: cancel its jobs, and let nothing further be sent."""
        for record in self._and_parts():
            with record._lock:
                record._stopped = True
        self.cancel()

    def remains(self, said: str = "") -> str:
        """What an answer has to add so that nothing is lost; "" when ``said`` names it already."""
        parts = [(f"{label}: ", part) for label, part in self._copy_of_parts()]
        texts = [
            f"{label}{words}"
            for label, part in [("", self), *parts]
            if (words := part._own_words(said))
        ]
        return " ".join(texts)

    def _own_words(self, said: str) -> str:
        with self._lock:
            jobs, files = list(self._jobs), list(self._files)
        texts = [_words(job) for job in jobs[-MOST_JOBS:] if job.prompt_id not in said]
        unsaid = [file for file in files if file not in said]
        if unsaid:
            more = f" and {len(unsaid) - MOST_FILES} more" if len(unsaid) > MOST_FILES else ""
            texts.append(f"Stored before that: {', '.join(unsaid[:MOST_FILES])}{more}.")
        return " ".join(text for text in texts if text)

    def _copy_of_parts(self) -> list[tuple[str, CallRecord]]:
        with self._lock:
            return list(self._parts)

    def _and_parts(self) -> list[CallRecord]:
        return [self, *(part for _, own in self._copy_of_parts() for part in own._and_parts())]

    def _all_jobs(self) -> list[Job]:
        jobs = []
        for record in self._and_parts():
            with record._lock:
                jobs += record._jobs
        return jobs


def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(MOST_JOBS)


def _cancel(job: Job) -> None:
    known = job.state == QUEUED
    if job.cancel() and known and job.state == QUEUED:
        job.state = CANCELLED


def _words(job: Job) -> str:
    if not job.persistent:
        return ""
    command = json.dumps({"command": "result", "prompt_id": job.prompt_id})
    return WORDS.get(job.state, "").format(command=command, prompt_id=job.prompt_id)
