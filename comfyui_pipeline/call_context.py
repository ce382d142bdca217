"""What every stage of one call needs: the call, the settings, the server, the deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.settings import Settings
from input_server.light_dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Milliseconds per stage, in the order of the stages."""

    stages: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the duration of the ``with`` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = round((time.perf_counter() - start) * 1000)
            self.stages[stage] = self.stages.get(stage, 0) + spent


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call in progress. Times are ``time.monotonic()``.

    ``started``: when the process started. ``deadline``: until when the job may be waited for.
    ``record``: the jobs queued and the files stored so far.
    """

    call: ToolCall
    settings: Settings
    engine: Engine
    record: CallRecord
    started: float
    deadline: float
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def response_deadline(self) -> float:
        """When everything in the response must have been fetched."""
        return self.started + self.settings.timeout + self.settings.fetch_grace

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the process started."""
        return round((time.monotonic() - self.started) * 1000)
