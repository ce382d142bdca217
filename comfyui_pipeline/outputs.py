"""Results, brought here side by side while the run still goes on, each looked at before it counts."""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from types import TracebackType

from comfyui_pipeline.bounded import truncate
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Files, Output
from comfyui_pipeline.errors import EngineError, MediaError, OutputMissing, ToolError
from comfyui_pipeline.media import file_names, file_types, result_files
from comfyui_pipeline.process import threads
from comfyui_pipeline.report import ResultOutput
from comfyui_pipeline.result_urls import is_servable, url_for_file
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, replace

MAX_PARALLEL = 6
"""Results fetched at once."""
SAVED = "output"
LONG_TEXT = 2000
"""Characters; a longer text of a node becomes a file, and its beginning stands in the answer."""
TEXTS = "texts"
"""Folder of such files below the folder of results."""
MOST_IN_TEXT = 20
"""Encoded files of one text that are stored."""
UNSERVED = "the file server never serves a file of this name"


@dataclass(frozen=True, slots=True)
class FetchedOutputs:
    """What was brought here, in the order of the run's outputs.

    ``failed``: file name -> why it is not here. ``gone``: the server names files that it no longer
    has. ``unwanted``: mere previews that were left where they are.
    """

    outputs: tuple[ResultOutput, ...] = ()
    failed: Mapping[str, ToolError] | None = None
    missing: OutputMissing | None = None
    unwanted: int = 0


class OutputFetcher:
    """Brings the outputs of one run. Leaving the ``with`` block stops what is still under way."""

    def __init__(self, files: Files, graph: Graph, settings: Settings, record: CallRecord) -> None:
        self._files = files
        self._graph = graph
        self._settings = settings
        self._record = record
        self._pool = ThreadPoolExecutor(MAX_PARALLEL)
        self._jobs: dict[Output, Future[tuple[ResultOutput, ...]]] = {}

    def __enter__(self) -> OutputFetcher:
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

    def collect(self, outputs: Sequence[Output], until: float, *, previews: bool) -> FetchedOutputs:
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
        delivered: list[ResultOutput] = []
        failed: dict[str, ToolError] = {}
        gone = None
        for output in wanted:
            name = output.filename or f"the text of node {output.node_id}"
            try:
                threads.wait_for([self._jobs[output]], until)
                delivered += self._jobs[output].result(max(0.0, until - time.monotonic()))
            except ToolError as error:
                failed[name] = error
                gone = error if isinstance(error, OutputMissing) else gone
            except NotYet:
                failed[name] = MediaError("It had not arrived in time.", "Call again.")
            except Exception as error:
                failed[name] = _unforeseen(error)
        return FetchedOutputs(tuple(delivered), failed, gone, len(skipped))

    def here(self, seconds: float) -> tuple[ResultOutput, ...]:
        """What has come so far, waited for at most so long."""
        done = wait(self._jobs.values(), timeout=seconds).done
        good = [job.result() for job in self._jobs.values() if job in done and not job.exception()]
        return tuple(one for delivered in good for one in delivered)

    def _begin(self, output: Output) -> None:
        if output not in self._jobs:
            self._jobs[output] = self._pool.submit(self._bring, output)

    def _bring(self, output: Output) -> tuple[ResultOutput, ...]:
        """One output, and what was encoded in it; each is on record as soon as it is stored."""
        delivered = self._brought(output)
        for one in delivered:
            if one.file:
                self._record.stored(one.url or one.path or one.file)
        return delivered

    def _brought(self, output: Output) -> tuple[ResultOutput, ...]:
        """One output; a second try where the first broke off."""
        if output.filename and output.text is not None and self._files.size(output) is None:
            output = replace(output, filename="")
        if not output.filename:
            return self._text(output)
        try:
            return (self._file(output),)
        except OutputMissing:
            raise
        except (EngineError, MediaError):
            return (self._file(output),)

    def _text(self, output: Output) -> tuple[ResultOutput, ...]:
        """A text; a long one is a file too, and so is each file that is encoded in it."""
        files: list[ResultOutput] = []

        def note(part: str) -> str:
            stored = self._encoded(output, part) if len(files) < MOST_IN_TEXT else None
            if stored is None:
                return f"({max(1, len(part) >> 10)} KB of encoded data left out)"
            files.append(stored)
            return f"(stored as {stored.file})"

        text = truncate.without_encoded_files(output.text or "", note)
        one = ResultOutput(output.node_id, self._title(output), "text", text=text)
        if len(text) > LONG_TEXT:
            one = self._long_text(output, text)
        return (one, *files)

    def _long_text(self, output: Output, text: str) -> ResultOutput:
        content = text.encode("utf-8", "replace")
        begins = text[:LONG_TEXT] + "…"
        try:
            stored = self._stored(content, output, ".txt")
        except MediaError as error:
            note = f"only its beginning is here: {error}"
            return ResultOutput(output.node_id, self._title(output), "text", text=begins, note=note)
        return replace(self._delivered(output, stored), kind="text", text=begins)

    def _encoded(self, output: Output, part: str) -> ResultOutput | None:
        """A file of a known kind in base64 or a data: URI, stored; None for anything else."""
        content = truncate.decoded(part)
        if content is None or not file_types.is_known(content):
            return None
        try:
            stored = self._stored(content, output, file_types.of_bytes(content).extension)
        except MediaError:
            return None
        return self._delivered(output, stored)

    def _stored(self, content: bytes, output: Output, extension: str) -> result_files.StoredFile:
        digest = hashlib.sha256(content).hexdigest()[:12]
        name = file_names.safe_name(f"node {output.node_id[:40]} {digest}{extension}")
        root, memory = self._settings.output_dir, self._settings.memory
        return result_files.store([content], root, TEXTS, name, memory=memory)

    def _file(self, output: Output) -> ResultOutput:
        there = self._on_this_machine(output)
        if there is not None:
            path, root = there
            stored = result_files.found(path, root, self._settings.memory)
            return self._delivered(output, stored, self._settings.server_output_mount or ("", ""))
        return self._delivered(output, self._fetched(output))

    def _delivered(
        self, output: Output, stored: result_files.StoredFile, mount: tuple[str, str] | None = None
    ) -> ResultOutput:
        """``mount``: under which alias, and which folder of it, the file is served."""
        alias, folder = mount or (self._settings.output_alias, "")
        below = folder + stored.relative
        kind = stored.kind.kind
        url = url_for_file(self._settings.links, alias, below, stored.path, kind)
        return ResultOutput(
            output.node_id,
            self._title(output),
            stored.kind.kind,
            preview=output.folder_type != SAVED,
            file=stored.relative,
            path=str(stored.path),
            url=url,
            bytes=stored.size,
            width=stored.kind.width,
            height=stored.kind.height,
            frames=stored.kind.frames,
            seconds=stored.kind.seconds,
            sha256=stored.sha256,
            note=stored.kind.note or None,
            no_url=None if url or is_servable(below) else UNSERVED,
        )

    def _fetched(self, output: Output) -> result_files.StoredFile:
        folder = output.subfolder
        if output.folder_type != SAVED:
            folder = f"previews/{folder}".rstrip("/")
        with self._files.fetch(output) as incoming:
            return result_files.store(
                incoming.chunks,
                self._settings.output_dir,
                folder,
                output.filename,
                length=incoming.length,
                memory=self._settings.memory,
                checked=True,
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


def _unforeseen(error: Exception) -> MediaError:
    traceback.print_exception(error, file=sys.stderr)
    return MediaError(
        f"A fault inside the tool kept it away ({type(error).__name__}).",
        "It is still at ComfyUI; please report this.",
    )
