"""A process that outlives a call: free the server's memory once it has been idle for long enough.

Every call that queues a job starts one (``free_memory``), and it ends when a later call has queued
another, which starts its own. ``python -m comfyui_pipeline.idle_watch PROJECT``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from comfyui_pipeline import queued_jobs, settings
from comfyui_pipeline.errors import EngineError
from comfyui_pipeline.process.dependencies import make_importable
from comfyui_pipeline.server_connection import connect
from comfyui_pipeline.settings import Settings

POLL_SECONDS = 5.0
"""Between two looks at the queue."""
ANSWER_SECONDS = 30.0
MAX_FAILURES = 20
"""Looks in a row that fail, after which the server counts as stopped."""
MAX_SECONDS = 2 * 86_400.0
"""After which the process ends in any case."""


def watch(chosen: Settings, poll_seconds: float = POLL_SECONDS) -> bool:
    """Wait until nothing was queued for ``free_after`` seconds, then free the memory; True if it was.

    False when a later call watches instead, or the server has stopped.
    """
    began, idle_since = time.time(), time.monotonic()
    end, failures = idle_since + MAX_SECONDS, 0
    while time.monotonic() < end and failures < MAX_FAILURES:
        newest = queued_jobs.records(chosen).last()
        if newest is not None and newest.at > began:
            return False
        try:
            with connect(chosen, time.monotonic() + ANSWER_SECONDS) as engine:
                queue = engine.queue_state()
                if queue.running or queue.pending:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since >= (chosen.free_after or 0):
                    engine.free()
                    return True
            failures = 0
        except EngineError:
            failures += 1
        time.sleep(poll_seconds)
    return False


def main(project: Path) -> int:
    make_importable(project)
    return 0 if watch(settings.load(project, os.environ)) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
