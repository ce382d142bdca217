"""The files that the answers of the last jobs named, next to the records of these jobs.

By them a later call finds the results of a job on this machine, also after a restart of the server
and for files that the server never stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from comfyui_pipeline.job_records import JobRecords
from input_server.atomic import write_atomic
from input_server.light_dataclasses import dataclass

MAX_JOBS = 100
"""Jobs whose files are kept; the oldest are deleted."""
MAX_FILES = 50
"""Files of one job that are kept."""
MAX_BYTES = 128 * 1024
SUFFIX = ".files"


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One file of a job's answer. ``kind``: image, video, audio, …; ``path``: on this machine."""

    path: str
    kind: str
    preview: bool = False


def keep(records: JobRecords, prompt_id: str, files: Iterable[ResultFile]) -> None:
    """Keep the files of a job that an answer names."""
    found = [{"path": f.path, "kind": f.kind, "preview": f.preview} for f in files]
    folder = records.folder
    if folder is None or not found:
        return
    entry = json.dumps({"prompt_id": prompt_id, "files": found[:MAX_FILES]}).encode()
    if len(entry) > MAX_BYTES:
        return
    try:
        write_atomic(folder / f"{time.time_ns():020d}-{_digest(prompt_id)}{SUFFIX}", entry)
        for old in _names(folder)[:-MAX_JOBS]:
            with suppress(FileNotFoundError):
                (folder / old).unlink()
    except OSError as error:
        print(f"the results are not kept in {folder.name}: {error.strerror}", file=sys.stderr)


def files_of(records: JobRecords, prompt_id: str) -> list[ResultFile]:
    """The files that the last answer about a job named; they may be deleted since."""
    folder = records.folder
    if folder is None:
        return []
    end = f"-{_digest(prompt_id)}{SUFFIX}"
    for name in reversed(_names(folder)):
        if name.endswith(end) and (found := _read(folder / name, prompt_id)):
            return found
    return []


def is_kept(records: JobRecords, prompt_id: str) -> bool:
    """Whether an answer has named files of a job, which has ended then."""
    end = f"-{_digest(prompt_id)}{SUFFIX}"
    return records.folder is not None and any(n.endswith(end) for n in _names(records.folder))


def _digest(prompt_id: str) -> str:
    return hashlib.sha256(prompt_id.encode("utf-8", "replace")).hexdigest()[:16]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(n for n in os.listdir(folder) if n[:1] != "." and n.endswith(SUFFIX))  # noqa: PTH208
    except OSError:
        return []


def _read(path: Path, prompt_id: str) -> list[ResultFile]:
    try:
        with path.open("rb") as file:
            entry: Any = json.loads(file.read(MAX_BYTES))
        if entry["prompt_id"] != prompt_id:
            return []
        return [
            ResultFile(str(f["path"]), str(f["kind"]), bool(f["preview"])) for f in entry["files"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
