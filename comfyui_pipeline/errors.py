"""Every error that can reach the person who made the call.

    ToolError                   anything we can explain
    ├── CallError               the call itself: JSON, a key, a value, a command
    ├── CallStopped             a signal ended the call before this was done
    ├── SettingsError           config.env or the environment
    ├── WorkflowError           the workflow file: not there, not readable, not runnable
    │   └── PatchError          a change that does not fit the workflow
    ├── MediaError              an input picture, or a result that cannot be stored
    │   └── DownloadRefused     an address, a size or a kind that the guard does not let in
    └── EngineError             the ComfyUI server
        ├── ServerUnreachable   no answer, or not an answer of ComfyUI's
        ├── PromptRejected      the server refused the prompt before running it
        ├── RunFailed           a node raised, or the run was interrupted
        ├── ServerSilent        it is said to run, but nothing moves any more
        ├── RunLost             the run is gone: removed from the queue, or the server restarted
        ├── OutputGone          a result's file is no longer at the server
        └── RunTimeout          still running when this call had to answer

An error is two sentences for its reader: what happened to what, and what to do now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


class ToolError(Exception):
    """An error made for its reader.

    ``message`` says what happened, to what; ``hint`` says what to do now (may be empty).
    Neither may hold a secret or a traceback.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class CallError(ToolError):
    """The call itself is wrong: not JSON, an unknown command, a value of the wrong type."""


class CallStopped(ToolError):
    """A signal ended the call; nothing further is sent to the server."""


class SettingsError(ToolError):
    """A setting is wrong. Names the key, the value (never a key's secret) and what would be right."""


class WorkflowError(ToolError):
    """A workflow file is missing, unreadable or in a form that cannot be run."""


class PatchError(WorkflowError):
    """A change names a node or an input that does not exist, or a value that cannot fit."""


class MediaError(ToolError):
    """A file could not be brought in or stored."""


class DownloadRefused(MediaError):
    """The guard did not let a download through: its address, size, time or content."""


class EngineError(ToolError):
    """Something went wrong at, or on the way to, the ComfyUI server."""


class ServerUnreachable(EngineError):
    """The server does not answer, or what answers is not ComfyUI."""


class PromptRejected(EngineError):
    """The server refused the prompt before running it (HTTP 400 of ``POST /prompt``)."""


class JobFailed(EngineError):
    """A node raised an error, or somebody interrupted the run."""


class JobLost(EngineError):
    """The run no longer exists at the server and can not end any more.

    ``untouched``: the server was restarted before anything of it had begun, so that it may be
    queued again without doing anything twice.
    """

    def __init__(self, message: str, hint: str = "", *, not_started: bool = False) -> None:
        super().__init__(message, hint)
        self.not_started = not_started


class JobStalled(EngineError):
    """The run counts as running, but the server has said nothing of it for too long."""


class JobTimeout(EngineError):
    """The run had not ended when this call had to answer; it may still be running."""


class OutputMissing(EngineError):
    """The server names a result whose file it no longer has: a cached run's, deleted since."""


FAILURE_HINTS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"out ?of ?memory|OutOfMemoryError|Allocation on device|not enough memory|MPS backend",
            "The graphics card's memory did not suffice: lower {sizes}, choose a smaller model, or "
            "let ComfyUI unload its models (POST /free), then call again.",
        ),
        (
            r"No space left|disk (is )?full|ENOSPC",
            "The disk of the ComfyUI machine is full: free some space there, then call again.",
        ),
        (
            r"No such file|FileNotFound|does not exist|cannot find the (file|path)",
            "A file is missing on the ComfyUI machine: look which one the message names; for a model, "
            "put it into its models folder.",
        ),
        (
            r"HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader|invalid load key|UnpicklingError|"
            r"SafetensorError|PytorchStreamReader",
            "A model file is damaged or was downloaded in part: download it again.",
        ),
        (
            r"mat1 and mat2|size mismatch|Error\(s\) in loading state_dict|shape .{0,80} is invalid|"
            r"must match the size|expected .{0,80} channels",
            "Models that do not belong together are combined (checkpoint, LoRA, ControlNet, VAE or "
            "text encoder of different families), or pictures of different sizes: choose fitting ones.",
        ),
        (
            r"UnidentifiedImage|cannot identify image|truncated|broken data stream",
            "ComfyUI could not read a picture: give it again, as PNG or JPEG.",
        ),
        (
            r"Permission ?denied|PermissionError|read-only",
            "ComfyUI may not write or read that file on its machine: look at its folder's rights.",
        ),
        (
            r"CUDA error|cudnn|cublas|device-side assert|illegal memory access|HIP error",
            "The graphics driver failed: restart ComfyUI, then call again.",
        ),
        (
            r"Unauthorized|401|api[_ ]?key|insufficient|credits|Payment Required|402",
            "The partner service wants an account: set COMFYUI_API_KEY, or fill up its credits.",
        ),
        (
            r"Connection|timed? ?out|Max retries|resolve host|getaddrinfo",
            "The node could not reach something on the network from the ComfyUI machine: check that.",
        ),
    )
)
"""What a failing node says -> what to do now; the first that matches counts."""

DEFAULT_HINT = "Change that node's inputs, or look into ComfyUI's console."
SIZES = ("width", "height", "batch_size", "length")


def hint_for(message: str, prompt: Mapping[str, Mapping[str, object]]) -> str:
    """What to do about a node's failure; names the present sizes where they are the cause."""
    message = message[:20_000]
    for pattern, advice in FAILURE_HINTS:
        if pattern.search(message):
            return advice.format(sizes=_sizes(prompt))
    return DEFAULT_HINT


def _sizes(prompt: Mapping[str, Mapping[str, object]]) -> str:
    """``width (now 2048), height (now 2048)``: the largest number under each name."""
    told = []
    for name in SIZES:
        numbers = []
        for node in prompt.values():
            inputs = node.get("inputs")
            value = inputs.get(name) if isinstance(inputs, dict) else None
            if isinstance(value, int) and not isinstance(value, bool):
                numbers.append(value)
        if numbers and (max(numbers) > 1 or name in ("width", "height")):
            told.append(f"{name} (now {max(numbers)})")
    return ", ".join(told) or "the size or the number of pictures"
