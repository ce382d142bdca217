"""What the pipeline asks of whoever runs a workflow, and the values that travel between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, Protocol

from input_server.light_dataclasses import dataclass, field

Prompt = Mapping[str, Mapping[str, Any]]
"""Prompt format: node id -> ``{"class_type", "inputs", "_meta"}``."""

NodeSchema = Mapping[str, Any]
"""One class of ``/object_info``, as the server gives it."""

ModelFolder = Literal["checkpoints", "loras", "vae", "controlnet", "upscale_models"]


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to run, under an id that the caller chose."""

    prompt: Prompt
    prompt_id: str
    extra_data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a run at one moment. ``value`` of ``maximum`` is the node's own count."""

    stage: Literal["queued", "running", "saving"]
    node_id: str | None = None
    value: float | None = None
    maximum: float | None = None
    position: int | None = None  # runs ahead of this one in the queue


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a run is. ``position``: how many are before it, while it waits."""

    stage: Literal["queued", "running", "ended", "unknown"]
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One result of one node: a file at the server, or a text.

    Both where a text looks like a file's path: it is one if that file is not there. ``content``:
    the file itself where the server sent it over the socket and keeps no copy.
    """

    node_id: str
    key: str  # the ui key it came under: images, gifs, audio, text, ...
    filename: str = ""
    subfolder: str = ""
    folder_type: str = "output"  # ComfyUI's `type`: output | temp | input
    text: str | None = None
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a run ended. ``complete`` is false when the call had to answer before the end, ``begun``
    when nothing of it had run by then.
    """

    prompt_id: str
    outputs: tuple[Output, ...]
    complete: bool = True
    node_errors: Mapping[str, str] = field(default_factory=dict)  # node id -> reason it did not run
    cached: frozenset[str] = frozenset()
    started: bool = True


@dataclass(frozen=True, slots=True)
class FileStream:
    """A result's bytes as they arrive; ``length`` in bytes where the server says it."""

    chunks: Iterator[bytes]
    length: int | None


class JobHandle(Protocol):
    """A queued run. Leaving the ``with`` block closes its socket; it does not cancel the run."""

    @property
    def prompt_id(self) -> str: ...

    def wait(
        self,
        deadline: float,
        progress: Callable[[Progress], None],
        on_output: Callable[[Output], None],
    ) -> JobResult:
        """Wait for the true end, at most until ``deadline`` (``time.monotonic()``, seconds).

        ``progress`` is told how far it is, ``came`` each output as soon as its node has ended (not
        surely all of them; the result has all). At the deadline: a result with ``complete=False``
        and the outputs known so far. Raises RunFailed, RunLost, ServerSilent, ServerUnreachable.
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
        """Open one result for reading. Raises OutputGone."""
        ...

    def size(self, output: Output) -> int | None:
        """A result's bytes, None when it is not there."""
        ...

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        """Put a file into the input folder; gives its value."""
        ...

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        """Put a copy of ``original`` there that has the alpha of the PNG ``layer``; gives its value."""
        ...

    def input_size(self, value: str) -> int | None:
        """The bytes of a file in the input folder, None when it is not there."""
        ...

    def read_input(self, value: str) -> bytes | None:
        """The content of a file in the input folder, None when it is not there."""
        ...


class Engine(Protocol):
    """A server that runs prompts. Every method raises EngineError's children, and only those."""

    def schemas(self, class_types: Collection[str]) -> dict[str, NodeSchema]:
        """The schemas of these classes; a class that the server lacks is absent."""
        ...

    def catalog(self) -> dict[str, NodeSchema]:
        """The schemas of every class that the server has: megabytes, so only when one is sought."""
        ...

    def queue(self, job: Job) -> JobHandle:
        """Queue the prompt and give its run, subscribed before it was sent. Raises PromptRejected."""
        ...

    def state(self, prompt_id: str) -> JobState:
        """Where a run is now."""
        ...

    def job(self, prompt_id: str) -> Job | None:
        """What was queued under this id, as the server remembers it."""
        ...

    def follow(self, job: Job) -> JobHandle:
        """A run that was queued earlier, by asking only."""
        ...

    @property
    def files(self) -> Files:
        """The files of its folders."""
        ...

    def cancel(self, prompt_id: str) -> bool:
        """Take this run out of the queue, or interrupt it when it is the one running.

        Gives whether the server took that request.
        """
        ...

    def models(self, folder: str) -> list[str]:
        """File names in one of the server's model folders (``checkpoints``, ``loras``, ``vae``…)."""
        ...

    def embeddings(self) -> list[str]: ...

    def queue_state(self) -> Mapping[str, Any]:
        """``/queue`` as the server gives it: ``queue_running`` and ``queue_pending``."""
        ...

    def system(self) -> Mapping[str, Any]:
        """``/system_stats`` as the server gives it."""
        ...

    def close(self) -> None: ...
