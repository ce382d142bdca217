"""Where a job is at the server: in the queue, in the history, or in neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from comfyui_pipeline.engine import responses
from comfyui_pipeline.engine.http import Http, Reply
from comfyui_pipeline.engine.job_end import ending_of
from comfyui_pipeline.engine.protocol import Job, JobState

NEWEST = 20
"""Ended jobs among which the one of a client is looked for."""

T = TypeVar("T")


class Lookup:
    """Asks for jobs with ``get``, which performs a GET with the retries and the time that it allows.

    Every method raises EngineError when the server does not say.
    """

    def __init__(self, http: Http, get: Callable[[str], Reply]) -> None:
        self._http = http
        self._get = get

    def queue(self) -> responses.Queue:
        return self._value("/queue", responses.queue)

    def history(self, prompt_id: str) -> responses.HistoryEntry | None:
        path = f"/history/{quote(prompt_id, safe='')}"
        return self._value(path, lambda document: responses.history(document, prompt_id))

    def state(self, prompt_id: str) -> JobState:
        """The queue first and the history second, as a job may end in between."""
        queue = self.queue()
        if queue.is_running(prompt_id):
            return JobState("running")
        ahead = queue.ahead_of(prompt_id)
        if ahead is not None:
            return JobState("queued", ahead)
        entry = self.history(prompt_id)
        return JobState("unknown") if entry is None else JobState("ended", ending=ending_of(entry))

    def job(self, prompt_id: str) -> Job | None:
        """From the queue or the history, which both contain the prompt."""
        found = self.queue().find(prompt_id) or self.history(prompt_id)
        if found is None or found.prompt is None:
            return None
        return Job(found.prompt, prompt_id, found.extra_data)

    def id_of(self, prompt_id: str, client_id: str) -> str | None:
        """The id under which the server has a job; None when it does not have it.

        A server of before mid-2025 ignores the id in ``POST /prompt`` and chooses one, so the job
        is recognised by its client id, which no other job has.
        """
        queue = self.queue()
        if queue.find(prompt_id):
            return prompt_id
        own = queue.of_client(client_id)
        if own is not None:
            return own.prompt_id
        if self.history(prompt_id) is not None:
            return prompt_id
        path = f"/history?max_items={NEWEST}"
        return self._value(path, lambda document: responses.ended_job_of(document, client_id))

    def _value(self, path: str, parse: Callable[[Any], T]) -> T:
        return self._http.value(self._get(path), path, parse)
