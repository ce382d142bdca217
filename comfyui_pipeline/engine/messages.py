"""The WebSocket messages of one job (ComfyUI server.py, execution.py, main.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.engine import error_text, responses
from comfyui_pipeline.engine.json_shape import as_object, check_depth
from comfyui_pipeline.engine.protocol import Job, Output, Progress
from input_server.light_dataclasses import dataclass, field

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
SIGNATURES = (
    (".png", 0, b"\x89PNG\r\n\x1a\n"),
    (".jpg", 0, b"\xff\xd8\xff"),
    (".webp", 8, b"WEBP"),
)
"""Extension, offset and bytes of the images that nodes send."""
MAX_IMAGES_BYTES = 128 * 2**20
"""Of all images that one job sends over the WebSocket; they are held in memory until its end."""
RUNNING_TYPES = frozenset({"executing", "executed", "progress", "progress_state"})


@dataclass(slots=True)
class JobEvents:
    """What the messages have said so far. ``images``: node id -> images it sent itself."""

    outputs: dict[str, tuple[Output, ...]] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    images: dict[str, list[bytes]] = field(default_factory=dict)
    success: bool = False
    ended: bool = False
    started: bool = False  # one of its nodes has run


class Listener:
    """Reads the messages of one job as they arrive.

    ``progress`` is called with how far it is, ``on_output`` with each output as soon as its node has
    ended.
    """

    def __init__(
        self, job: Job, progress: Callable[[Progress], None], on_output: Callable[[Output], None]
    ) -> None:
        self.events = JobEvents()
        self.progress = progress
        self._job = job
        self._on_output = on_output
        self._node: str | None = None
        self._image_bytes = 0
        linked = {
            str(value[0])
            for node in job.prompt.values()
            for value in node.get("inputs", {}).values()
            if isinstance(value, list) and value
        }
        self._end_nodes = frozenset(job.prompt) - linked

    @property
    def node(self) -> str | None:
        """The node that runs now, as far as the messages say."""
        return self._node

    def read(self, message: str | bytes) -> bool:
        """Note what a message says; False when it is not about this job."""
        if isinstance(message, bytes):
            return self._read_image(message)
        try:
            document = as_object(json.loads(message))
            check_depth(document)
        except (ValueError, RecursionError):
            return False
        data = as_object(document.get("data"))
        kind = str(document.get("type"))
        if kind == "executing" and "prompt_id" not in data and data.get("node") is not None:
            # The first message on a socket that was opened while the job runs.
            self._node, self.events.started = str(data["node"]), True
        if data.get("prompt_id") != self._job.prompt_id:
            return False
        self.events.started = self.events.started or kind in RUNNING_TYPES
        self._read_event(kind, data)
        return True

    def _read_event(self, kind: str, data: Mapping[str, Any]) -> None:
        node, events = data.get("node"), self.events
        if kind == "executing":
            self._node = None if node is None else str(node)
            events.ended = node is None
            if node is not None:
                self.progress(Progress("running", str(node)))
        elif kind == "executed":
            events.outputs[str(node)] = responses.node_outputs(str(node), data.get("output"))
            for output in events.outputs[str(node)]:
                self._on_output(output)
        elif kind == "execution_cached":
            events.cached.update(responses.cached_nodes(data))
        elif kind == "execution_success":
            events.success = True
        elif kind == "execution_error":
            error = responses.execution_error(data)
            events.errors[error.node_id] = error_text.execution_error(self._job.prompt, error)
        elif kind == "progress":
            value, maximum = finite(data.get("value")), finite(data.get("max"))
            self.progress(Progress("running", str(node), value or 0.0, maximum))

    def _read_image(self, message: bytes) -> bool:
        """Keep an image of a node whose output is not linked: it sends its result only here.

        A sampler's previews are JPEG too, with metadata as we request it (main.py
        ``hijack_progress``); a node that sends its result itself sends none with it.
        """
        kind, rest = int.from_bytes(message[:4], "big"), message[8:]
        node = self._node
        if kind == PREVIEW_WITH_METADATA:
            length = int.from_bytes(message[4:8], "big")
            try:
                metadata = as_object(json.loads(rest[:length]))
            except (ValueError, RecursionError):
                return False
            if metadata.get("prompt_id") != self._job.prompt_id:
                return False
            node, rest = str(metadata.get("node_id")), rest[length:]
        elif kind != PREVIEW or node is None:
            return False
        extension = _extension(rest)
        is_preview = kind == PREVIEW_WITH_METADATA and extension == ".jpg"
        if node in self._end_nodes and extension and not is_preview:
            self._image_bytes += len(rest)
            if self._image_bytes <= MAX_IMAGES_BYTES:
                self.events.images.setdefault(node, []).append(rest)
            else:
                self.events.errors[node] = (
                    f"it sent more than {MAX_IMAGES_BYTES >> 20} MB of images over the WebSocket; the "
                    "rest was left out, save them with SaveImage instead"
                )
        return True

    def sent_images(self, outputs: Mapping[str, tuple[Output, ...]]) -> Iterator[Output]:
        """The images that came over the WebSocket, of nodes without a file in ``outputs``."""
        for node, images in self.events.images.items():
            if any(output.filename for output in outputs.get(node, ())):
                continue
            for number, content in enumerate(images, start=1):
                name = f"websocket_{node.replace(':', '-')}_{number:05}_{_extension(content)}"
                yield Output(node, "websocket", filename=name, content=content)


def _extension(image: bytes) -> str:
    """``.png``, ``.jpg`` or ``.webp``; "" for anything else."""
    return next((ext for ext, at, begin in SIGNATURES if image.startswith(begin, at)), "")
