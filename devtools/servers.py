"""Run the project's own servers as child processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 60.0


class NotReady(Exception):
    """A server exited or printed nothing before it was ready."""


@contextmanager
def running_server(
    arguments: Sequence[str], environment: Mapping[str, str], project: Path
) -> Iterator[str]:
    """Run ``python ARGUMENTS --stop-with-stdin`` in ``project`` inside the block; yields its URL.

    The server ends when its stdin closes: Windows would kill it, and leave its temporary folder.

    A ready server prints ``… http://HOST:PORT`` as its first line on stdout. Raises NotReady.
    """
    child = subprocess.Popen(
        [sys.executable, *arguments, "--stop-with-stdin"],
        cwd=project,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        encoding="utf-8",
    )
    try:
        yield _address(child, " ".join(arguments))
    finally:
        _end(child)


def _address(child: subprocess.Popen[str], name: str) -> str:
    first: list[str] = []
    out = child.stdout
    if out is None:
        raise NotReady(f"{name} has no stdout")
    reader = threading.Thread(target=lambda: first.append(out.readline()), daemon=True)
    reader.start()
    reader.join(READY_SECONDS)
    if not first or "http" not in first[0]:
        raise NotReady(f"`python {name}` did not become ready; its output is above.")
    threading.Thread(target=out.read, daemon=True).start()
    return first[0][first[0].index("http") :].strip()


def _end(child: subprocess.Popen[str]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(READY_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(READY_SECONDS)
