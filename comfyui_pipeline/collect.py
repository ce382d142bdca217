"""Results, brought here side by side while the run still goes on, each looked at before it counts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from comfyui_pipeline.engine.base import Files, Output
from comfyui_pipeline.errors import EngineError, MediaError, OutputGone, ToolError
from comfyui_pipeline.links import of_file
from comfyui_pipeline.media import store
from comfyui_pipeline.report import Delivered
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.graph import Graph

SIDE_BY_SIDE = 6
"""Results fetched at once."""
SAVED = "output"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was brought here, in the order of the run's outputs.

    ``failed``: file name -> why it is not here. ``gone``: the server names files that it no longer
    has. ``unwanted``: mere previews that were left where they are.
    """

    delivered: tuple[Delivered, ...] = ()
    failed: Mapping[str, ToolError] | None = None
    gone: OutputGone | None = None
    unwanted: int = 0


class Collector:
    """Brings the outputs of one run. Leaving the ``with`` block stops what is still under way."""

    def __init__(self, files: Files, graph: Graph, settings: Settings) -> None:
        self._files = files
        self._graph = graph
        self._settings = settings
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE)
        self._jobs: dict[Output, Future[Delivered]] = {}

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, output: Output) -> None:
        """Begin to bring an output that has just come; previews wait for the end."""
        if output.folder_type == SAVED:
            self._begin(output)

    def collect(self, outputs: Sequence[Output], until: float, *, previews: bool) -> Collected:
        """All outputs of the run, those already here included; saved ones come before previews.

        Previews are brought only when no file was saved, or when they are asked for. ``until``:
        ``time.monotonic()`` after which what is not here counts as failed.
        """
        files = [output for output in outputs if output.filename]
        saved = [output for output in files if output.folder_type == SAVED]
        skipped = [] if previews or not saved else [o for o in files if o not in saved]
        wanted = sorted(
            (output for output in dict.fromkeys(outputs) if output not in skipped),
            key=lambda output: output.folder_type != SAVED,
        )
        for output in wanted:
            self._begin(output)
        delivered, failed, gone = [], {}, None
        for output in wanted:
            try:
                delivered.append(self._jobs[output].result(max(0.0, until - time.monotonic())))
            except ToolError as error:
                failed[output.filename] = error
                gone = error if isinstance(error, OutputGone) else gone
            except NotYet:
                failed[output.filename] = MediaError("It had not arrived in time.", "Call again.")
        return Collected(tuple(delivered), failed, gone, len(skipped))

    def here(self, seconds: float) -> tuple[Delivered, ...]:
        """What has come so far, waited for at most so long."""
        done = wait(self._jobs.values(), timeout=seconds).done
        return tuple(job.result() for job in done if job.exception() is None)

    def _begin(self, output: Output) -> None:
        if output not in self._jobs:
            self._jobs[output] = self._pool.submit(self._bring, output)

    def _bring(self, output: Output) -> Delivered:
        """One output; a second try where the first broke off."""
        if output.filename and output.text is not None and self._files.size(output) is None:
            output = replace(output, filename="")
        if not output.filename:
            return Delivered(output.node_id, self._title(output), "text", text=output.text)
        try:
            return self._file(output)
        except OutputGone:
            raise
        except (EngineError, MediaError):
            return self._file(output)

    def _file(self, output: Output) -> Delivered:
        there = self._on_this_machine(output)
        if there is not None:
            path, root = there
            stored = store.found(path, root)
            alias, folder = self._settings.server_output_mount or ("", "")
            below = folder + stored.relative
        else:
            stored = self._fetched(output)
            alias = self._settings.output_alias
            below = stored.relative
        return Delivered(
            output.node_id,
            self._title(output),
            stored.kind.kind,
            preview=output.folder_type != SAVED,
            file=stored.relative,
            path=str(stored.path),
            url=of_file(self._settings.links, alias, below, stored.path, stored.kind.kind),
            bytes=stored.size,
            width=stored.kind.width,
            height=stored.kind.height,
            frames=stored.kind.frames,
            seconds=stored.kind.seconds,
            sha256=stored.sha256,
        )

    def _fetched(self, output: Output) -> store.Stored:
        folder = output.subfolder
        if output.folder_type != SAVED:
            folder = f"previews/{folder}".rstrip("/")
        with self._files.fetch(output) as incoming:
            return store.store(
                incoming.chunks,
                self._settings.output_dir,
                folder,
                output.filename,
                length=incoming.length,
            )

    def _on_this_machine(self, output: Output) -> tuple[Path, Path] | None:
        """The file in the server's own output folder and that folder, when both are here.

        The folder is believed to be the server's when it holds such a file of the very size that
        the server tells.
        """
        root = self._settings.server_output_dir
        if root is None or output.folder_type != SAVED or output.content is not None:
            return None
        try:
            root = root.resolve()
            path = (root / output.subfolder / output.filename).resolve()
            inside = path.is_relative_to(root) and path.is_file()
            if inside and path.stat().st_size == self._files.size(output):
                return path, root
        except (OSError, ValueError, RuntimeError):
            return None
        return None

    def _title(self, output: Output) -> str:
        node = self._graph.nodes.get(output.node_id)
        return (node.title or node.class_type) if node else ""
