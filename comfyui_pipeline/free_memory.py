"""Free the server's memory: the command ``free``, and what COMFYUI_FREE_MEMORY requests after a job."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comfyui_pipeline.arguments import RUN
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Engine
from comfyui_pipeline.errors import EngineError, ToolError
from comfyui_pipeline.info import free_memory
from comfyui_pipeline.settings import Settings
from comfyui_pipeline.text_result import text_result

SECONDS = 3.0
"""How long the command waits for the memory to be free: the server's worker does it, not the request."""
POLL_SECONDS = 0.25


def free(
    _call: ToolCall, _settings: Settings, engine: Engine, _started: float, _record: CallRecord
) -> Mapping[str, Any]:
    """Unload all models, at once or after the job that runs. Raises EngineError."""
    before = engine.system()
    running = bool(engine.queue_state().running)
    engine.free()
    if running:
        text = "ComfyUI unloads its models when the running job has ended."
        return text_result(f"{text} Now: {free_memory(before)}.", freed=False)
    after, end = engine.system(), time.monotonic() + SECONDS
    while not _more(before, after) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        after = engine.system()
    text = f"ComfyUI has unloaded its models. Before: {free_memory(before)}. Now: {free_memory(after)}."
    return text_result(text, freed=True, devices=after.get("devices", []))


def _more(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a device has at least 1 MB more free."""
    pairs = zip(before.get("devices", []), after.get("devices", []), strict=False)
    return any(
        (new.get("vram_free") or 0) - (old.get("vram_free") or 0) > 2**20 for old, new in pairs
    )


@contextmanager
def freed_afterwards(call: ToolCall, settings: Settings, engine: Engine) -> Iterator[None]:
    """Do what COMFYUI_FREE_MEMORY requests after a call that runs a job or fetches one."""
    try:
        yield
    except ToolError:
        _after(call, settings, engine)
        raise
    _after(call, settings, engine)


def _after(call: ToolCall, settings: Settings, engine: Engine) -> None:
    seconds = settings.free_after
    if seconds is None or settings.embedded or call.dry_run or call.command not in (*RUN, "result"):
        return
    try:
        queue = engine.queue_state()
        if seconds == 0 and not (queue.running or queue.pending):
            engine.free()
            return
        _start_watch(settings.cache_dir.parent)
    except (EngineError, OSError) as error:
        print(f"the server's memory was not freed: {error}", file=sys.stderr)


def _start_watch(project: Path) -> None:
    """Start the process that frees the memory later, when this call has ended (``idle_watch``)."""
    flags: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    started = subprocess.Popen(
        [sys.executable, "-m", "comfyui_pipeline.idle_watch", str(project)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        **flags,
    )
    started.returncode = 0  # it outlives this process, which must not warn about that
