"""Memory and CPU time of processes (proc(5), wait4(2)). Linux only."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process that has ended: its peak in MB, how long it took and how long it computed, both in
    seconds.
    """

    peak: float
    seconds: float
    computed: float


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: IO[bytes],
    stdout: IO[bytes],
    timeout: float,
) -> Usage:
    """Run a child to its end, which is after ``timeout`` seconds at the latest; what it writes to
    stderr is dropped.
    """
    if sys.platform == "win32":
        raise OSError("wait4(2) is needed")
    begun = time.perf_counter()
    child = subprocess.Popen(
        list(command), stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env=dict(environment)
    )
    killer = threading.Timer(timeout, child.kill)
    killer.start()
    _, status, usage = os.wait4(child.pid, 0)
    killer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    computed = usage.ru_utime + usage.ru_stime
    return Usage(usage.ru_maxrss / 1024, time.perf_counter() - begun, computed)


def used(processes: Iterable[int]) -> float:
    """MB that these processes use together, what they share counted once."""
    return sum(_kilobytes(process, "smaps_rollup", "Pss:") for process in processes) / 1024


def peak(process: int) -> float:
    """MB that a running process used at the most so far."""
    return _kilobytes(process, "status", "VmHWM:") / 1024


def children(process: int) -> set[int]:
    """The ids of a process's children, those that any of its threads started."""
    found: set[int] = set()
    for tasks in Path(f"/proc/{process}/task").iterdir():
        found.update(int(child) for child in (tasks / "children").read_text("ascii").split())
    return found


def _kilobytes(process: int, file: str, label: str) -> float:
    for line in Path(f"/proc/{process}/{file}").read_text("ascii").splitlines():
        if line.startswith(label):
            return float(line.split()[1])
    return 0.0
