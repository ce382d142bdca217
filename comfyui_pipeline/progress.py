"""How far a run is, for a person at stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from comfyui_pipeline.engine.base import Progress

if TYPE_CHECKING:
    from tqdm import tqdm as Bars

EVERY_SECONDS = 3.0


class Teller(Protocol):
    """Told of each step; used as a context that ends with the run."""

    def __call__(self, progress: Progress) -> None: ...

    def __enter__(self) -> Teller: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def at_stderr() -> Teller:
    """A bar where somebody watches, else lines for a log."""
    return Bar() if sys.stderr is not None and sys.stderr.isatty() else Lines()


@dataclass(slots=True)
class Lines:
    """A line at most every few seconds."""

    last: float = field(default_factory=lambda: time.monotonic())

    def __call__(self, progress: Progress) -> None:
        told = _told(progress)
        now = time.monotonic()
        if told and now - self.last >= EVERY_SECONDS:
            print(told, file=sys.stderr, flush=True)
            self.last = now

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return


class Bar:
    """A bar for the node that runs, started anew with each."""

    def __init__(self) -> None:
        self._bar: Bars[Any] | None = None
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
        bar.set_description_str(_told(progress) or progress.stage, refresh=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _told(progress: Progress) -> str:
    if progress.stage == "queued":
        return f"waiting in the queue behind {progress.position}" if progress.position else ""
    if progress.node_id and progress.maximum:
        return f"node {progress.node_id}: {progress.value:g} of {progress.maximum:g}"
    return f"node {progress.node_id}" if progress.node_id else ""
