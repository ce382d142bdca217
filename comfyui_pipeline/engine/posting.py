"""``POST /prompt``: queue a prompt exactly once, also when the reply is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.engine import error_text, responses
from comfyui_pipeline.engine.http import (
    TOO_MANY,
    TRIES,
    Gateway,
    Http,
    Limited,
    LostReply,
    Refused,
    Reply,
    pause,
)
from comfyui_pipeline.engine.lookup import Lookup
from comfyui_pipeline.engine.protocol import Job
from comfyui_pipeline.engine.responses import QueuedPrompt
from comfyui_pipeline.errors import EngineError, PromptRejected, ServerUnreachable

LOOKUPS = 5
"""Times that a server which does not say whether it has the job is asked, about 8 s in all."""


def post_prompt(http: Http, lookup: Lookup, job: Job, body: Mapping[str, Any]) -> QueuedPrompt:
    """Queue ``job``, whose request is ``body``; the answer has the id that the server uses.

    After a lost reply, or one that ComfyUI did not send, the job is looked up before the prompt is
    sent again. Raises PromptRejected, Refused, LostReply when it may be queued, or EngineError.
    """
    client_id = str(body["client_id"])
    for attempt in range(TRIES):
        last = attempt == TRIES - 1 or http.is_late
        try:
            reply = http.once("POST", "/prompt", json_body=body)
        except Refused:
            if last:
                raise
            pause(attempt)
            continue
        except ServerUnreachable as error:
            problem: EngineError = error
        else:
            if reply.status == 400:
                raise _rejected(http, reply, job)
            if reply.status < 500 and reply.status != TOO_MANY:
                return http.value(reply, "/prompt", lambda d: responses.queued(d, job.prompt_id))
            problem = http.unexpected(reply.status, "/prompt")
            if reply.status == TOO_MANY:
                pause(attempt, reply.headers.get("Retry-After", ""))
        found = _id_at_server(http, lookup, job, client_id, problem)
        if found is not None:
            return QueuedPrompt(found)
        if last:
            raise _unknown(problem, job) if _may_arrive(problem) else problem
        pause(attempt)
    raise AssertionError


def _id_at_server(
    http: Http, lookup: Lookup, job: Job, client_id: str, problem: EngineError
) -> str | None:
    """The id of the job at the server; None when it does not have it.

    Raises LostReply when the server does not say.
    """
    for attempt in range(LOOKUPS):
        if http.is_late:
            break
        try:
            return lookup.id_of(job.prompt_id, client_id)
        except EngineError:
            if attempt < LOOKUPS - 1:
                pause(attempt)
    raise _unknown(problem, job)


def _may_arrive(problem: EngineError) -> bool:
    """Whether the request may be on its way to the server."""
    return isinstance(problem, (LostReply, Gateway)) and not isinstance(problem, Limited)


def _unknown(problem: EngineError, job: Job) -> LostReply:
    return LostReply(
        f"{problem.message} It is unknown whether the job was queued (prompt id {job.prompt_id}).",
        problem.hint,
    )


def _rejected(http: Http, reply: Reply, job: Job) -> EngineError:
    rejected = responses.rejection(http.document(reply, "/prompt"))
    return PromptRejected(
        f"ComfyUI rejected the workflow: {error_text.rejection(job.prompt, rejected)}.",
        "Correct these inputs with params and call again.",
    )
