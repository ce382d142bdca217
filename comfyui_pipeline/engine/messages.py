"""What the frames of a socket tell of one run (ComfyUI server.py, execution.py, main.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from comfyui_pipeline.bounded.numbers import finite
from comfyui_pipeline.engine import error_text, history
from comfyui_pipeline.engine.http import as_list, as_object, check_depth
from comfyui_pipeline.engine.protocol import Job, Output, Progress
from input_server.light_dataclasses import dataclass, field

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
PNG = b"\x89PNG\r\n\x1a\n"
"""Previews of a sampler come as JPEG; a node that sends its result over the socket sends PNG."""
MOST_PICTURE_BYTES = 128 * 2**20
"""Of all pictures that one run sends over the socket; they are kept in memory until its end."""
SIGNS_OF_WORK = frozenset({"executing", "executed", "progress", "progress_state"})


@dataclass(slots=True)
class Seen:
    """What has been told so far. ``pictures``: node id -> what it sent over the socket itself."""

    outputs: dict[str, Any] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, list[bytes]] = field(default_factory=dict)
    success: bool = False
    ended: bool = False
    started: bool = False  # anything of it has run


class Listener:
    """Takes the frames of one run as they come.

    ``progress`` hears how far it is, ``came`` each result as soon as its node has ended.
    """

    def __init__(
        self, job: Job, progress: Callable[[Progress], None], on_output: Callable[[Output], None]
    ) -> None:
        self.seen = Seen()
        self.progress = progress
        self._job = job
        self._on_output = on_output
        self._node: str | None = None  # the one that runs now
        self._picture_bytes = 0
        fed = {
            str(value[0])
            for node in job.prompt.values()
            for value in node.get("inputs", {}).values()
            if isinstance(value, list) and value
        }
        self._ends = frozenset(job.prompt) - fed

    @property
    def node(self) -> str | None:
        """The node that runs now, as far as the frames say."""
        return self._node

    def take(self, frame: str | bytes) -> bool:
        """Note what a frame tells; False when it tells nothing of this run."""
        if isinstance(frame, bytes):
            return self._take_picture(frame)
        try:
            message = as_object(json.loads(frame))
            check_depth(message)
        except (ValueError, RecursionError):
            return False
        data = as_object(message.get("data"))
        kind = str(message.get("type"))
        if kind == "executing" and "prompt_id" not in data and data.get("node") is not None:
            # What a socket is told that was opened while the run was on; it tells no progress.
            self._node, self.seen.started = str(data["node"]), True
        if data.get("prompt_id") != self._job.prompt_id:
            return False
        self.seen.started = self.seen.started or kind in SIGNS_OF_WORK
        self._take_message(kind, data)
        return True

    def _take_message(self, kind: str, data: Mapping[str, Any]) -> None:
        node, seen = data.get("node"), self.seen
        if kind == "executing":
            self._node = None if node is None else str(node)
            seen.ended = node is None
            if node is not None:
                self.progress(Progress("running", str(node)))
        elif kind == "executed":
            seen.outputs[str(node)] = data.get("output")
            for output in history.outputs(self._job.prompt, {str(node): data.get("output")}):
                self._on_output(output)
        elif kind == "execution_cached":
            seen.cached.update(str(cached) for cached in as_list(data.get("nodes")))
        elif kind == "execution_success":
            seen.success = True
        elif kind == "execution_error":
            told = error_text.execution_error(self._job.prompt, data)
            seen.errors[str(data.get("node_id"))] = told
        elif kind == "progress":
            value, maximum = finite(data.get("value")), finite(data.get("max"))
            self.progress(Progress("running", str(node), value or 0.0, maximum))

    def _take_picture(self, frame: bytes) -> bool:
        """Keep a PNG of a node that feeds no other: a saver that sends its result here alone."""
        kind, rest = int.from_bytes(frame[:4], "big"), frame[8:]
        node = self._node
        if kind == PREVIEW_WITH_METADATA:
            length = int.from_bytes(frame[4:8], "big")
            try:
                told = as_object(json.loads(rest[:length]))
            except (ValueError, RecursionError):
                return False
            if told.get("prompt_id") != self._job.prompt_id:
                return False
            node, rest = str(told.get("node_id")), rest[length:]
        elif kind != PREVIEW or node is None:
            return False
        if node in self._ends and rest.startswith(PNG):
            self._picture_bytes += len(rest)
            if self._picture_bytes <= MOST_PICTURE_BYTES:
                self.seen.pictures.setdefault(node, []).append(rest)
            else:
                self.seen.errors[node] = (
                    f"it sent more than {MOST_PICTURE_BYTES >> 20} MB of pictures over the socket; "
                    "the rest was left out, save them with SaveImage instead"
                )
        return True

    def sent_pictures(self, told: Mapping[str, Any]) -> Iterator[Output]:
        """The pictures that came over the socket, of nodes that have no other result in ``told``."""
        for node, pictures in self.seen.pictures.items():
            if told.get(node):
                continue
            for number, content in enumerate(pictures, start=1):
                name = f"websocket_{node.replace(':', '-')}_{number:05}_.png"
                yield Output(node, "websocket", filename=name, content=content)
