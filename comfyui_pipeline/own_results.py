"""Results of earlier jobs as input files: by file name, by the id of their job, or as ``last``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfyui_pipeline import job_results, prompt_ids, queued_jobs
from comfyui_pipeline.engine.protocol import Engine, Output
from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.job_records import JobRecords
from comfyui_pipeline.job_results import ResultFile
from comfyui_pipeline.media import allowed_folders
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.file_types import InputKind
from comfyui_pipeline.media.sources import LocalFile, ServerFile
from comfyui_pipeline.settings import Settings
from input_server.content_type import TYPES
from input_server.light_dataclasses import dataclass

MAX_SCANNED = 50_000
"""Files of the output folder that a name is looked for among."""
MAX_LISTED = 8
SAVED = "output"
FITTING: dict[InputKind, tuple[str, ...]] = {
    "image": ("image",),
    "animation": ("image",),
    "mask": ("image",),
    "video": ("video", "image"),
    "audio": ("audio", "video"),
}
"""Kinds of files that an input takes, the best first; any where it is not listed."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result that a value means. ``note``: which one, where the value does not say it."""

    source: LocalFile | ServerFile
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one server. ``deadline``: ``time.monotonic()``."""

    settings: Settings
    engine: Engine
    deadline: float

    def find(self, value: str, shown: str, kind: InputKind) -> Found | None:
        """The result of a file name, ``sub/a.png`` or ``a.png``, or of a job; None for none.

        Raises MediaError and EngineError's children where the value names a job without such a
        result.
        """
        return self._of_name(value, shown) or self._of_job(value, shown, kind)

    # -- by file name ------------------------------------------------------------------------------

    def _of_name(self, value: str, shown: str) -> Found | None:
        """The newest file of this name, in the folders of this machine or at the server."""
        found = sorted(self._local(value), key=_modified, reverse=True)
        if found:
            path = found[0]
            root = next(r for r in self._roots() if path.is_relative_to(r))
            name = path.relative_to(root).as_posix()
            folders = AllowedFolders(None, shown=(root,))
            source = LocalFile(allowed_folders.resolve(str(path), shown, folders), shown)
            newest = f", the newest of {len(found)} with this name" if len(found) > 1 else ""
            exact = name == value and not newest
            return Found(source, name, "" if exact else f'"{shown}" is the result {name}{newest}.')
        at_server = f"{value} [{SAVED}]"
        if "[" in value or self.engine.files.input_size(at_server) is None:
            return None
        note = f'"{shown}" is the file of this name in ComfyUI\'s output folder.'
        return Found(ServerFile(at_server, shown, fetched=True), value, note)

    def _local(self, value: str) -> Iterator[Path]:
        """Files of exactly this path below an output folder; of a name alone, in all its subfolders."""
        for root in self._roots():
            if "/" in value:
                if _is_file(root / value):
                    yield root / value
            else:
                yield from _files_named(root, value)

    def _roots(self) -> list[Path]:
        settings = self.settings
        roots = [settings.output_dir, settings.server_output_dir]
        real = dict.fromkeys(root.resolve() for root in roots if root is not None)
        return [r for r in real if not any(r != o and r.is_relative_to(o) for o in real)]

    # -- by job ------------------------------------------------------------------------------------

    def _of_job(self, value: str, shown: str, kind: InputKind) -> Found | None:
        """The first fitting output of the job that a value names."""
        records = queued_jobs.records(self.settings)
        if prompt_ids.is_last(value):
            prompt_id: str | None = prompt_ids.resolve(value, "", records)
        elif "." in value.strip(prompt_ids.QUOTES) or "/" in value:
            return None
        else:
            prompt_id = prompt_ids.named(value, prompt_ids.clean(value), records)
        if prompt_id is None:
            return None
        what = f"a result of {_job_name(prompt_id, records)}"
        for file in _fitting(job_results.files_of(records, prompt_id), kind):
            try:
                folders = AllowedFolders(None, shown=tuple(self._roots()))
                path = allowed_folders.resolve(file.path, shown, folders)
            except MediaError:  # deleted since
                continue
            return Found(LocalFile(path, shown), path.name, f'"{shown}" is {path.name}, {what}.')
        output = self._at_server(prompt_id, records, kind)
        name = f"{output.subfolder}/{output.filename}".lstrip("/")
        source = ServerFile(f"{name} [{output.folder_type}]", shown, fetched=True)
        return Found(source, output.filename, f'"{shown}" is {name}, {what}.')

    def _at_server(self, prompt_id: str, records: JobRecords, kind: InputKind) -> Output:
        """The first fitting output that the server lists. Raises MediaError and EngineError's."""
        state = self.engine.state(prompt_id)
        if state.stage == "unknown":
            raise prompt_ids.unknown(prompt_id, records)
        job = self.engine.job(prompt_id)
        if state.stage != "ended" or job is None:
            raise MediaError(
                f"The job with the prompt id {prompt_id} has not ended yet, so that it has no result.",
                f'Wait for it first: {{"command": "result", "prompt_id": "{prompt_id}", "wait": "60"}}.',
            )
        with self.engine.follow(job) as handle:
            outputs = handle.wait(self.deadline, lambda _: None, lambda _: None).outputs
        files = [output for output in outputs if output.filename]
        by_name = {
            ResultFile(o.filename, _kind_of(o.filename), o.folder_type != SAVED): o for o in files
        }
        for file in _fitting(list(by_name), kind):
            return by_name[file]
        listed = ", ".join(output.filename for output in files[:MAX_LISTED]) or "none"
        raise MediaError(
            f"The job with the prompt id {prompt_id} has no file that this input takes. Its files: "
            f"{listed}.",
            "Give another file.",
        )


def _fitting(files: Sequence[ResultFile], kind: InputKind) -> list[ResultFile]:
    """The files that an input takes: saved ones before previews, the best kind first."""
    kinds = FITTING.get(kind)
    fitting = [file for file in files if kinds is None or file.kind in kinds]
    return sorted(fitting, key=lambda f: (f.preview, kinds.index(f.kind) if kinds else 0))


def _job_name(prompt_id: str, records: JobRecords) -> str:
    name = next((r.workflow for r in records.newest_first() if r.prompt_id == prompt_id), "")
    return f"workflow {name} (prompt id {prompt_id})" if name else f"prompt id {prompt_id}"


def _kind_of(name: str) -> str:
    return TYPES.get(os.path.splitext(name)[1].lower(), "file").partition("/")[0]  # noqa: PTH122


def _files_named(root: Path, name: str) -> Iterator[Path]:
    """Files of a name in a folder and its subfolders; hidden folders and links are left out."""
    wanted = name.casefold()
    seen = 0
    for folder, folders, files in os.walk(root):
        folders[:] = [inner for inner in folders if inner[:1] != "."]
        seen += len(files)
        if seen > MAX_SCANNED:
            return
        for file in files:
            if file[:1] != "." and file.casefold() == wanted:
                path = Path(folder, file)
                if not path.is_symlink():
                    yield path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
