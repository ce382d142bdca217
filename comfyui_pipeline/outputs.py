"""Fetch a job's outputs while it runs, check and store them. The counterpart of ``inputs.py``."""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotDone
from pathlib import Path
from types import TracebackType

from comfyui_pipeline.bounded import encoded_files
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.delivery import Delivery
from comfyui_pipeline.engine.protocol import Output
from comfyui_pipeline.errors import EngineError, MediaError, OutputMissing, ToolError
from comfyui_pipeline.media import copies, file_names, file_types, result_files
from comfyui_pipeline.process import threads
from comfyui_pipeline.result_urls import is_servable, url_for_file
from comfyui_pipeline.workflow.graph import Graph
from input_server.light_dataclasses import dataclass, field, replace

MAX_PARALLEL_FETCHES = 6
"""Outputs that are fetched at the same time."""
SAVED = "output"
"""ComfyUI's ``type`` of files that a node saved; previews have the type ``temp``."""
LONG_TEXT = 2000
"""Characters; a longer text becomes a file, and the response holds its beginning."""
TEXTS = "texts"
"""Subfolder of the output folder for such files."""
MAX_FILES_IN_TEXT = 20
"""Encoded files of one text that are stored."""
BROWSER_FORMATS = frozenset({"png", "jpeg", "gif", "webp", "avif", "bmp"})
"""Formats of images that browsers show."""
NOT_SERVABLE = "the file server does not serve files of this name"


@dataclass(frozen=True, slots=True)
class ResultOutput:
    """One output as the response holds it: the fields are its JSON fields.

    ``path`` is on this machine; ``bytes``, ``width`` and ``height`` (pixels), ``seconds`` (duration
    of videos, audio and animated images) are None where unknown. ``note``: a remark on this file;
    ``no_url``: why it has no URL although an access key is set. ``shown_as``: set for an image that
    browsers cannot show: the file of a PNG of it, which is an output of its own, or "".
    """

    node_id: str
    title: str
    kind: str
    file: str | None = None
    path: str | None = None
    url: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None
    sha256: str | None = None
    text: str | None = None
    preview: bool = False
    note: str | None = None
    no_url: str | None = None
    shown_as: str | None = None


@dataclass(frozen=True, slots=True)
class FetchedOutputs:
    """Outputs in the order in which the job listed them.

    ``failed``: file name -> why it could not be fetched. ``missing``: set when the server lists files
    that it no longer has. ``skipped_previews``: previews that were not fetched.
    """

    outputs: tuple[ResultOutput, ...] = ()
    failed: Mapping[str, ToolError] = field(default_factory=dict)
    missing: OutputMissing | None = None
    skipped_previews: int = 0


class OutputFetcher:
    """Fetches the outputs of one job. Leaving the ``with`` block drops fetches that have not begun."""

    def __init__(self, context: CallContext, graph: Graph, delivery: Delivery) -> None:
        self._context = context
        self._files = context.engine.files
        self._settings = context.settings
        self._graph = graph
        self._with_previews = bool(delivery.previews)
        strip = delivery.strip_metadata
        strip = context.settings.strip_metadata if strip is None else strip
        self._copies = copies.CopyRequest(delivery.format, delivery.quality, strip)
        self._pool = ThreadPoolExecutor(MAX_PARALLEL_FETCHES)
        self._fetches: dict[Output, Future[tuple[ResultOutput, ...]]] = {}

    def __enter__(self) -> OutputFetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def add(self, output: Output) -> None:
        """Begin to fetch an output that was just produced; previews wait for ``fetch``."""
        if output.folder_type == SAVED:
            self._begin(output)

    def fetch(self, outputs: Sequence[Output], until: float) -> FetchedOutputs:
        """Fetch all outputs of the job, saved ones before previews.

        Previews are fetched when no file was saved, or when the call requests them. What has not
        arrived by ``until`` (``time.monotonic()``) counts as failed.
        """
        files = [output for output in outputs if output.filename]
        saved = [output for output in files if output.folder_type == SAVED]
        previews = self._with_previews or not saved
        skipped = [] if previews else [output for output in files if output not in saved]
        chosen = sorted(
            (output for output in dict.fromkeys(outputs) if output not in skipped),
            key=lambda output: output.folder_type != SAVED,
        )
        for output in chosen:
            self._begin(output)
        fetched: list[ResultOutput] = []
        failed: dict[str, ToolError] = {}
        for output in chosen:
            try:
                fetched += self._wait_for(output, until)
            except ToolError as error:
                failed[output.filename or f"the text of node {output.node_id}"] = error
        missing = next((e for e in failed.values() if isinstance(e, OutputMissing)), None)
        return FetchedOutputs(tuple(fetched), failed, missing, len(skipped))

    def finished(self, seconds: float) -> tuple[ResultOutput, ...]:
        """Return the outputs fetched so far, after waiting at most ``seconds`` for those begun."""
        done = wait(self._fetches.values(), timeout=seconds).done
        fetched = [f.result() for f in self._fetches.values() if f in done and not f.exception()]
        return tuple(output for outputs in fetched for output in outputs)

    def _begin(self, output: Output) -> None:
        if output not in self._fetches:
            self._fetches[output] = self._pool.submit(self._fetch_and_record, output)

    def _wait_for(self, output: Output, until: float) -> tuple[ResultOutput, ...]:
        """The fetched output. Raises ToolError's children only."""
        future = self._fetches[output]
        try:
            threads.wait_for([future], until)
            return future.result(max(0.0, until - time.monotonic()))
        except ToolError:
            raise
        except NotDone:
            raise MediaError("It did not arrive in time.", "Call again.") from None
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            raise MediaError(
                f"An internal error prevented fetching it ({type(error).__name__}).",
                "It is still on the ComfyUI server; please report this.",
            ) from error

    def _fetch_and_record(self, output: Output) -> tuple[ResultOutput, ...]:
        """Fetch one output and put its files on record as soon as they are stored."""
        fetched = self._fetch_one(output)
        for stored in fetched:
            if stored.file:
                self._context.record.add_file(stored.url or stored.path or stored.file)
        return fetched

    def _fetch_one(self, output: Output) -> tuple[ResultOutput, ...]:
        """Fetch one output, with one retry unless the server says that it is missing."""
        if output.filename and output.text is not None and self._files.size(output) is None:
            output = replace(output, filename="")
        if not output.filename:
            return self._text(output)
        try:
            return self._file(output)
        except OutputMissing:
            raise
        except (EngineError, MediaError):
            return self._file(output)

    # -- texts -------------------------------------------------------------------------------------

    def _text(self, output: Output) -> tuple[ResultOutput, ...]:
        """A text; a long one is stored as a file, and so is each file encoded in it."""
        files: list[ResultOutput] = []

        def replacement(part: str) -> str:
            stored = self._encoded_file(output, part) if len(files) < MAX_FILES_IN_TEXT else None
            if stored is None:
                return f"({max(1, len(part) >> 10)} KB of encoded data left out)"
            files.append(stored)
            return f"(stored as {stored.file})"

        text = encoded_files.without_encoded_files(output.text or "", replacement)
        if len(text) > LONG_TEXT:
            return (self._long_text(output, text), *files)
        return (ResultOutput(output.node_id, self._title(output), "text", text=text), *files)

    def _long_text(self, output: Output, text: str) -> ResultOutput:
        beginning = text[:LONG_TEXT] + "…"
        try:
            stored = self._store_bytes(text.encode("utf-8", "replace"), output, ".txt")
        except MediaError as error:
            return ResultOutput(
                output.node_id,
                self._title(output),
                "text",
                text=beginning,
                note=f"only its beginning is available: {error}",
            )
        return replace(self._result_output(output, stored), kind="text", text=beginning)

    def _encoded_file(self, output: Output, part: str) -> ResultOutput | None:
        """Store the file of a known type in base64 or a data: URI; None for anything else."""
        content = encoded_files.decoded(part)
        if content is None or not file_types.is_known(content):
            return None
        try:
            stored = self._store_bytes(content, output, file_types.detect_bytes(content).extension)
        except MediaError:
            return None
        return self._result_output(output, stored)

    def _store_bytes(
        self, content: bytes, output: Output, extension: str
    ) -> result_files.StoredFile:
        digest = hashlib.sha256(content).hexdigest()[:12]
        name = file_names.safe_name(f"node {output.node_id[:40]} {digest}{extension}")
        root, memory = self._settings.output_dir, self._settings.memory
        return result_files.store([content], root, TEXTS, name, memory=memory)

    # -- files -------------------------------------------------------------------------------------

    def _file(self, output: Output) -> tuple[ResultOutput, ...]:
        local = self._on_this_machine(output)
        if local is None:
            stored, mount = self._download(output), None
        else:
            path, root = local
            stored = result_files.use_existing(path, root, self._settings.memory)
            mount = self._settings.server_output_mount or ("", "")
        if output.folder_type == SAVED and self._copies.applies_to(stored.kind):
            return (self._copy(output, stored, mount),)
        result = self._result_output(output, stored, mount)
        if stored.kind.kind != "image" or stored.kind.format in BROWSER_FORMATS:
            return (result,)
        shown = self._as_png(output, stored)
        if shown is None:
            return (replace(result, shown_as=""),)
        return replace(result, shown_as=shown.file), shown

    def _as_png(self, output: Output, stored: result_files.StoredFile) -> ResultOutput | None:
        """A PNG of an image that browsers cannot show; None where Pillow cannot decode it."""
        settings, request = self._settings, copies.CopyRequest("png")
        try:
            made = copies.make_copy(
                stored.path, stored.relative, request, settings.output_dir, settings.memory
            )
        except MediaError:
            return None
        return self._result_output(output, made)

    def _copy(
        self, output: Output, stored: result_files.StoredFile, mount: tuple[str, str] | None
    ) -> ResultOutput:
        """The copy that the call requests; the original with a note where that fails."""
        settings = self._settings
        try:
            made = copies.make_copy(
                stored.path, stored.relative, self._copies, settings.output_dir, settings.memory
            )
        except MediaError as error:
            original = self._result_output(output, stored, mount)
            return replace(original, note=f"the original, as no copy is possible: {error}")
        return self._result_output(output, made)

    def _download(self, output: Output) -> result_files.StoredFile:
        folder = output.subfolder
        if output.folder_type != SAVED:
            folder = f"previews/{folder}".rstrip("/")
        with self._files.fetch(output) as stream:
            return result_files.store(
                stream.chunks,
                self._settings.output_dir,
                folder,
                output.filename,
                length=stream.length,
                memory=self._settings.memory,
                checked=True,
            )

    def _on_this_machine(self, output: Output) -> tuple[Path, Path] | None:
        """The file in the server's output folder, and that folder, when both are on this machine.

        COMFYUI_SERVER_OUTPUT_DIR is taken for the server's folder only where it holds a file of the
        size that the server reports.
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

    def _result_output(
        self, output: Output, stored: result_files.StoredFile, mount: tuple[str, str] | None = None
    ) -> ResultOutput:
        """``mount``: the alias and the subfolder of that mount under which the file is served."""
        alias, folder = mount or (self._settings.output_alias, "")
        served_as = folder + stored.relative
        kind = stored.kind
        url = url_for_file(self._settings.links, alias, served_as, stored.path, kind.kind)
        return ResultOutput(
            output.node_id,
            self._title(output),
            kind.kind,
            preview=output.folder_type != SAVED,
            file=stored.relative,
            path=str(stored.path),
            url=url,
            bytes=stored.size,
            width=kind.width,
            height=kind.height,
            frames=kind.frames,
            seconds=kind.seconds,
            sha256=stored.sha256,
            note=kind.note or None,
            no_url=None if url or is_servable(served_as) else NOT_SERVABLE,
        )

    def _title(self, output: Output) -> str:
        node = self._graph.nodes.get(output.node_id)
        return (node.title or node.class_type) if node else ""
