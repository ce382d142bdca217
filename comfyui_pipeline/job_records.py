"""The last jobs that this installation queued, in the cache folder, one small file for each.

They answer what ``last`` means, which job a caller's own ``job_id`` named, and whether the same call
is running already. A file is written once and never changed, so that calls at the same time do not
disturb each other; without the folder everything else works.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from input_server.atomic import write_atomic
from input_server.light_dataclasses import dataclass

MAX_RECORDS = 100
"""Jobs of one server that are kept; the oldest are deleted."""
MAX_BYTES = 8192
LONGEST = 500
"""Characters of an id or a name in a record."""
LONGEST_JOB_ID = 200


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One queued job. ``digest``: of its prompt, without random seeds; ``at``: seconds (epoch)."""

    prompt_id: str
    workflow: str = ""
    job_id: str = ""
    digest: str = ""
    process: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class JobRecords:
    """The records of one server. ``folder``: None where nothing is kept."""

    folder: Path | None

    def add(self, prompt_id: str, workflow: str, *, job_id: str = "", digest: str = "") -> None:
        """Keep a job that was just queued."""
        if self.folder is None:
            return
        now = time.time_ns()
        entry = {
            "prompt_id": prompt_id[:LONGEST],
            "workflow": workflow[:LONGEST],
            "job_id": job_id[:LONGEST_JOB_ID],
            "digest": digest,
            "process": os.getpid(),
            "at": now / 1e9,
        }
        name = f"{now:020d}-{digest[:16]}-{os.urandom(4).hex()}.json"
        try:
            write_atomic(self.folder / name, json.dumps(entry).encode())
            for old in self._names()[:-MAX_RECORDS]:
                with suppress(FileNotFoundError):
                    (self.folder / old).unlink()
        except OSError as error:
            print(f"the job is not kept in {self.folder.name}: {error.strerror}", file=sys.stderr)

    def newest_first(self) -> list[JobRecord]:
        """The jobs that are known, the last one first."""
        found = (self._read(name) for name in reversed(self._names()))
        return [record for record in found if record is not None]

    def last(self) -> JobRecord | None:
        """The job that was queued last."""
        found = (self._read(name) for name in reversed(self._names()))
        return next((record for record in found if record is not None), None)

    def of_digest(self, digest: str) -> Iterator[JobRecord]:
        """The jobs whose prompts have this digest, the last one first, each read when it is taken."""
        names = [name for name in reversed(self._names()) if f"-{digest[:16]}-" in name]
        found = (self._read(name) for name in names)
        return (record for record in found if record is not None and record.digest == digest)

    def _names(self) -> list[str]:
        if self.folder is None:
            return []
        try:
            return sorted(n for n in os.listdir(self.folder) if n[:1] != "." and n[-5:] == ".json")  # noqa: PTH208
        except OSError:
            return []

    def _read(self, name: str) -> JobRecord | None:
        folder = self.folder or Path()
        try:
            with (folder / name).open("rb") as file:
                entry = json.loads(file.read(MAX_BYTES))
            return JobRecord(
                prompt_id=_text(entry, "prompt_id"),
                workflow=_text(entry, "workflow"),
                job_id=_text(entry, "job_id"),
                digest=_text(entry, "digest"),
                process=int(entry["process"]),
                at=float(entry["at"]),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def records_for(cache_dir: Path, base_url: str, *, embedded: bool = False) -> JobRecords:
    """The records of one server, by its URL; none of the embedded server, which ends with the call."""
    if embedded:
        return JobRecords(None)
    server = hashlib.sha256(base_url.encode()).hexdigest()[:16]
    return JobRecords(cache_dir / f"jobs-{server}")


def digest(prompt: Mapping[str, Mapping[str, Any]], random: frozenset[tuple[str, str]]) -> str:
    """A digest of a prompt, in which ``random`` inputs (node id, name) do not count."""
    values = {
        node_id: [
            node.get("class_type"),
            {n: v for n, v in node.get("inputs", {}).items() if (node_id, n) not in random},
        ]
        for node_id, node in prompt.items()
    }
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value
