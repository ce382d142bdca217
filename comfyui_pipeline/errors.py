"""Every error that can reach the caller, each with a stable code.

    class                       code
    ToolError                   tool_error          base class: anything we can explain
    ├── CallError               invalid_call        JSON, a key, a value or a command of the call
    ├── IncompleteCall          incomplete_call     stdin did not deliver a complete call in time
    ├── TooDeep                 too_deep            the call or its workflow is nested too deeply
    ├── CallStopped             call_stopped        a signal ended the call
    ├── SettingsError           invalid_settings    config.env or the environment
    ├── PackagesMissing         packages_missing    Python is too old, or packages are not installed
    ├── WorkflowError           invalid_workflow    the workflow file cannot be read or run
    │   └── PatchError          invalid_change      a change that does not fit the workflow
    ├── MediaError              file_error          an input file, or a result that cannot be stored
    │   └── DownloadRefused     download_refused    a URL, size or type that downloads do not allow
    ├── EngineError             server_error        the ComfyUI server
    │   ├── ServerUnreachable   server_unreachable  no response, or not a response of ComfyUI
    │   ├── PromptRejected      prompt_rejected     the server refused the prompt before running it
    │   ├── JobFailed           job_failed          a node raised, or the job was interrupted
    │   ├── JobStalled          job_stalled         the job counts as running at a server that does nothing
    │   ├── JobLost             job_lost            removed from the queue, or the server restarted
    │   ├── OutputMissing       output_missing      the server no longer has the file of an output
    │   └── JobTimeout          job_timeout         the job is unfinished at the call's deadline
    ├── BatchFailed             batch_failed        every part of a batch failed
    ├── DeadlineExceeded        deadline_exceeded   the watchdog had to respond for a stuck call
    └── InternalError           internal_error      a bug in this tool

Finer codes, given where the error is raised (``DETAIL_CODES``): ``workflow_not_found``,
``unknown_node``, ``unknown_input``, ``ambiguous``, ``invalid_value`` and ``file_required``.

The JSON response carries the code next to the text; programs branch on it, so a code never changes.
The text has two sentences: what happened to what, and what to do now. Runs on older Pythons than
the rest (see ``stdio``).
"""

from __future__ import annotations

DETAIL_CODES = {
    "workflow_not_found": "no workflow has that name",
    "unknown_node": "a change names a node that the workflow does not have",
    "unknown_input": "a change names an input that its node does not have",
    "ambiguous": "a name of the call matches several workflows, nodes, inputs or choices",
    "invalid_value": "a value that the input does not accept",
    "file_required": "the workflow needs a file that the call does not give",
}
"""Codes for errors that a program may want to tell from others of their class."""


class QueuedBefore(Exception):
    """No error: the job of this call's ``job_id`` is queued already, as ``prompt_id``."""

    def __init__(self, prompt_id: str) -> None:
        super().__init__(prompt_id)
        self.prompt_id = prompt_id


class ToolError(Exception):
    """An error whose text is written for the caller.

    ``message``: what happened to what. ``hint``: what to do now; may be empty. Neither may contain a
    secret or a traceback. ``code``: the class's own, or one of ``DETAIL_CODES``.
    """

    code: str = "tool_error"

    def __init__(self, message: str, hint: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class CallError(ToolError):
    """The call is not JSON, has an unknown command or a value of the wrong type."""

    code = "invalid_call"


class IncompleteCall(ToolError):
    """stdin did not deliver a complete call in time; the text says what is missing."""

    code = "incomplete_call"


class TooDeep(ToolError):
    """Values or node chains of the call are nested deeper than Python's recursion limit allows."""

    code = "too_deep"


class CallStopped(ToolError):
    """A signal ended the call; nothing more is sent to the server."""

    code = "call_stopped"


class SettingsError(ToolError):
    """A setting is invalid. The text has its name, its value unless secret, and what is valid."""

    code = "invalid_settings"


class PackagesMissing(ToolError):
    """No Python on this machine has what the call needs; the text says what to run."""

    code = "packages_missing"


class WorkflowError(ToolError):
    """A workflow file is missing, unreadable or in a form that cannot be run."""

    code = "invalid_workflow"


class PatchError(WorkflowError):
    """A change names a node or an input that does not exist, or a value that cannot fit."""

    code = "invalid_change"


class MediaError(ToolError):
    """An input file could not be read or placed, or a result could not be stored."""

    code = "file_error"


class DownloadRefused(MediaError):
    """A download was refused for its URL, size, duration or content."""

    code = "download_refused"


class EngineError(ToolError):
    """Something failed at the ComfyUI server or on the way to it."""

    code = "server_error"


class ServerUnreachable(EngineError):
    """The server does not respond, or what responds is not ComfyUI."""

    code = "server_unreachable"


class PromptRejected(EngineError):
    """The server refused the prompt before running it (HTTP 400 of ``POST /prompt``)."""

    code = "prompt_rejected"


class JobFailed(EngineError):
    """A node raised an error, or the job was interrupted at the server."""

    code = "job_failed"


class JobLost(EngineError):
    """The job no longer exists at the server, so it cannot finish.

    ``not_started``: the server was restarted before any node of it ran, so queueing it once more
    repeats nothing.
    """

    code = "job_lost"

    def __init__(self, message: str, hint: str = "", *, not_started: bool = False) -> None:
        super().__init__(message, hint)
        self.not_started = not_started


class JobStalled(EngineError):
    """The server runs nothing although jobs wait, or has neither answered nor reported anything."""

    code = "job_stalled"


class JobTimeout(EngineError):
    """The job had not finished at the call's deadline; it may still be running."""

    code = "job_timeout"


class OutputMissing(EngineError):
    """The server names an output whose file it no longer has (a cached job, deleted since)."""

    code = "output_missing"


class BatchFailed(ToolError):
    """Every part of a batch failed; the text has the error of each."""

    code = "batch_failed"


class DeadlineExceeded(ToolError):
    """The call exceeded the host's time limit, so that the watchdog responded in its place."""

    code = "deadline_exceeded"


class InternalError(ToolError):
    """An unexpected exception: a bug in this tool. The traceback goes to stderr."""

    code = "internal_error"


def unexpected(error: BaseException) -> InternalError:
    """An InternalError that names the place of ``error``, whose traceback is printed to stderr."""
    import sys
    import traceback
    from pathlib import Path

    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return InternalError(
        f"Internal error ({type(error).__name__}{where}).",
        "Please report it with your call and the traceback on stderr.",
    )
