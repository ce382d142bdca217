"""What the pipeline needs from a server that runs workflows, and the values exchanged with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from input_server.light_dataclasses import dataclass, field

if TYPE_CHECKING:
    from comfyui_pipeline.engine.responses import Queue
    from comfyui_pipeline.workflow.replacements import Replacements

Prompt = Mapping[str, Mapping[str, Any]]
"""Prompt format: node id -> ``{"class_type", "inputs", "_meta"}``."""

Cancellation = Literal["stopped", "requested", "ended", "unknown"]
"""What became of a job that was to be cancelled: it will not run any more; it still runs and was asked
to stop; it had ended by itself; the server did not say."""

NodeSchema = Mapping[str, Any]
"""One class of ``/object_info``, as the server sends it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to run, under an id that the caller chose."""

    prompt: Prompt
    prompt_id: str
    extra_data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is at one moment. ``value`` of ``maximum`` is the node's own count."""

    stage: Literal["queued", "running", "saving"]
    node_id: str | None = None
    value: float | None = None
    maximum: float | None = None
    position: int | None = None  # jobs ahead of this one in the queue


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job is. ``position``: how many jobs are ahead of it while it waits.

    ``ending``: how it ended, where that is known.
    """

    stage: Literal["queued", "running", "ended", "unknown"]
    position: int | None = None
    ending: Literal["", "success", "cancelled", "failed"] = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One result of one node: a file at the server, or a text.

    Both where a text looks like the path of a file: it is the result if there is no such file.
    ``content``: the file itself where the server sent it over the WebSocket and stores no copy.
    """

    node_id: str
    key: str  # of the node's ui result: images, gifs, audio, text, ...
    filename: str = ""
    subfolder: str = ""
    folder_type: str = "output"  # ComfyUI's `type`: output | temp | input
    text: str | None = None
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended. ``complete`` is false when the call had to return before the end, ``started``
    when none of its nodes had run by then. ``silent``: seconds for which a running job had reported
    nothing, where that is longer than usual. ``seconds``: how long the job ran, where that is known.
    """

    prompt_id: str
    outputs: tuple[Output, ...]
    complete: bool = True
    node_errors: Mapping[str, str] = field(default_factory=dict)  # node id -> why it did not run
    cached: frozenset[str] = frozenset()
    started: bool = True
    silent: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FileStream:
    """A file's bytes as they arrive; ``length`` in bytes where the server says it."""

    chunks: Iterator[bytes]
    length: int | None


class JobHandle(Protocol):
    """A queued job. Leaving the ``with`` block closes its WebSocket; it does not cancel the job."""

    @property
    def prompt_id(self) -> str: ...

    def wait(
        self,
        deadline: float,
        progress: Callable[[Progress], None],
        on_output: Callable[[Output], None],
    ) -> JobResult:
        """Wait for the job's end, at most until ``deadline`` (``time.monotonic()``, seconds).

        ``progress`` is called with how far it is, ``on_output`` with each output as soon as its node
        has ended (perhaps not with all; the result has all). At the deadline: a result with
        ``complete=False`` and the outputs known so far. Raises JobFailed, JobLost, JobStalled,
        ServerUnreachable.
        """
        ...

    def __enter__(self) -> JobHandle: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Files(Protocol):
    """The files in a server's folders. ``value``: ``sub/name.png``, as a loader node takes it."""

    def fetch(self, output: Output) -> AbstractContextManager[FileStream]:
        """Open one output for reading. Raises OutputMissing."""
        ...

    def size(self, output: Output) -> int | None:
        """Bytes of an output, None when it does not exist."""
        ...

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        """Put a file into the input folder; returns its value."""
        ...

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        """Put a copy of ``original`` there that has the alpha of the PNG ``layer``; returns its value."""
        ...

    def input_size(self, value: str) -> int | None:
        """Bytes of a file in the input folder, None when it does not exist."""
        ...

    def read_input(self, value: str) -> bytes | None:
        """The content of a file in the input folder, None when it does not exist."""
        ...


class Engine(Protocol):
    """A server that runs prompts. Every method raises subclasses of EngineError, and only those."""

    def schemas(self, class_types: Collection[str]) -> dict[str, NodeSchema]:
        """The schemas of these node types; types that the server does not have are absent."""
        ...

    def catalog(self) -> dict[str, NodeSchema]:
        """The schemas of all node types of the server: megabytes, so only to search them."""
        ...

    def replacements(self) -> Replacements:
        """Node types that the server replaces by others in what it is sent; empty where it has none."""
        ...

    def queue(self, job: Job) -> JobHandle:
        """Queue the prompt, subscribed to its messages before it is sent. Raises PromptRejected."""
        ...

    def state(self, prompt_id: str) -> JobState:
        """Where a job is now."""
        ...

    def job(self, prompt_id: str) -> Job | None:
        """The job that was queued under this id, as far as the server still has it."""
        ...

    def progress(self, job: Job, seconds: float) -> Progress | None:
        """How far a running job of this program is, as far as its messages say within ``seconds``."""
        ...

    def follow(self, job: Job) -> JobHandle:
        """A job that was queued earlier, by polling."""
        ...

    @property
    def files(self) -> Files:
        """The files of its folders."""
        ...

    def cancel(self, prompt_id: str) -> Cancellation:
        """Remove this job from the queue, or interrupt it when it runs; never another one.

        A job that runs stops at its next step only, perhaps a minute later.
        """
        ...

    def models(self, folder: str) -> list[str]:
        """File names in one of the server's model folders (``checkpoints``, ``loras``, ``vae``…)."""
        ...

    def metadata(self, folder: str, name: str) -> dict[str, str]:
        """What the header of a model file says about it; empty where it says nothing."""
        ...

    def model_folders(self) -> list[str]:
        """Names of the server's model folders; empty where it does not list them."""
        ...

    def embeddings(self) -> list[str]: ...

    def queue_state(self) -> Queue:
        """The jobs in the queue."""
        ...

    def system(self) -> Mapping[str, Any]:
        """``/system_stats``: ``system`` and ``devices`` with their plain values."""
        ...

    def free(self) -> None:
        """Unload all models, after the job that runs, if any."""
        ...

    def close(self) -> None: ...
