"""Progress of a job on stderr: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.engine.protocol import Progress
from input_server.light_dataclasses import dataclass, field

if TYPE_CHECKING:
    from tqdm import tqdm as Tqdm

LOG_INTERVAL = 3.0
"""Seconds between two lines of a log."""


@contextmanager
def show_on_stderr() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows each progress message: in a bar on a terminal, else as log lines."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield LogLines()
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()


@dataclass(slots=True)
class LogLines:
    """Prints a line at most every ``LOG_INTERVAL`` seconds."""

    last: float = field(default_factory=lambda: time.monotonic())

    def __call__(self, progress: Progress) -> None:
        text = _text(progress)
        now = time.monotonic()
        if text and now - self.last >= LOG_INTERVAL:
            print(text, file=sys.stderr, flush=True)
            self.last = now


class Bar:
    """A progress bar for the node that is running; it restarts with each node."""

    def __init__(self) -> None:
        self._bar: Tqdm[Any] | None = None
        self._node: str | None = None

    def __call__(self, progress: Progress) -> None:
        from tqdm import tqdm

        bar = self._bar
        if bar is None:
            bar = self._bar = tqdm(total=None, file=sys.stderr, leave=False, dynamic_ncols=True)
        if progress.node_id != self._node:
            self._node = progress.node_id
            bar.reset(total=progress.maximum)
        if progress.maximum:
            bar.total, bar.n = progress.maximum, progress.value or 0
        bar.set_description_str(_text(progress) or progress.stage, refresh=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _text(progress: Progress) -> str:
    if progress.stage == "queued":
        return f"waiting in the queue behind {progress.position}" if progress.position else ""
    if progress.node_id and progress.maximum:
        return f"node {progress.node_id}: {progress.value:g} of {progress.maximum:g}"
    return f"node {progress.node_id}" if progress.node_id else ""
