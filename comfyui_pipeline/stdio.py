"""From the bytes on stdin to the one JSON response, within the host's time limit.

Parses the call, makes the packages importable and runs the command. Every failure ends here as
``{"status": "error", "error": "…", "code": "…"}`` (codes: ``errors``). This module, ``call_record``,
``errors``, what these import from ``bounded`` and ``input_server``, and ``process`` (except
``threads``) also run on Python 3.8: a host may have an old Python, which then starts the ``.venv``'s.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.errors import (
    CallStopped,
    DeadlineExceeded,
    IncompleteCall,
    TooDeep,
    ToolError,
    unexpected,
)
from comfyui_pipeline.process import dependencies, reexec, time_limit
from comfyui_pipeline.process.signals import Signals, Stopped
from comfyui_pipeline.process.stdin import EXAMPLE_CALL, QUIET_SECONDS
from comfyui_pipeline.process.stdout import ResponseWriter, success
from input_server.env_file import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfyui_pipeline.call_record import CallRecord
    from comfyui_pipeline.process.stdin import CallReader
    from comfyui_pipeline.process.stdout import Response

ENTRY_POINT = Path(__file__).resolve().parent.parent / "comfyui_plugin.py"


def answer_call(
    reader: CallReader, response_fd: int, project: Path, argv: Sequence[str], started: float
) -> int:
    """Run the call that ``reader`` reads and write the response; return the exit status.

    ``project``: the folder with config.env, the manifest, workflows and results. ``started``: when
    the process began (``time.monotonic()``); all time limits count from there.
    """
    writer = ResponseWriter(response_fd, exit_code="--exit-code" in argv)
    started -= reexec.seconds_before_start()
    try:
        signals = Signals()
        response = _respond(reader, writer, project, argv, started, signals)
        signals.ignore()  # nothing may interrupt writing the response
    except (Stopped, KeyboardInterrupt):
        response = writer.failure(CallStopped("The call was stopped before it finished."))
    try:
        return writer.send(response)
    except Exception as error:  # the result has a value that cannot be written as JSON
        return writer.send(writer.failure(unexpected(error)))


def _respond(
    reader: CallReader,
    writer: ResponseWriter,
    project: Path,
    argv: Sequence[str],
    started: float,
    signals: Signals,
) -> Response:
    limit = time_limit.host_limit(project)
    watchdog = Watchdog(writer, started + limit - time_limit.HOST_MARGIN)
    try:
        raw = _read(reader, watchdog.moment - time_limit.READING_MARGIN)
        outcome = dependencies.python_to_use_instead(project) or _perform(
            raw, project, started, watchdog, writer.record
        )
        if isinstance(outcome, Path):
            command = [str(outcome), str(ENTRY_POINT), *argv]
            return reexec.answer_with(command, raw, signals, started + limit, started)
    except RecursionError:
        return writer.failure(
            TooDeep(
                "The call or its workflow is nested too deeply (values inside values, or a very long "
                "chain of nodes).",
                "Send plain values and shorter chains.",
            )
        )
    except ToolError as error:
        return writer.failure(error)
    except Exception as error:
        return writer.failure(unexpected(error))
    return success(outcome)


def _read(reader: CallReader, until: float) -> bytes:
    """Return the call. Raises IncompleteCall; on a terminal only the host's limit applies."""
    interactive = sys.stdin is not None and sys.stdin.isatty()
    quiet = float("inf") if interactive else QUIET_SECONDS
    try:
        return reader.read(max(until, time.monotonic() + 1.0), quiet=quiet)
    except IncompleteCall as error:
        raise IncompleteCall(
            error.message,
            f"Write one JSON object and close stdin. A correct call: {EXAMPLE_CALL}",
        ) from None


def _perform(
    raw: bytes, project: Path, started: float, watchdog: Watchdog, record: CallRecord
) -> Mapping[str, Any] | Path:
    """Return the result of the call, or the Python that has to run it instead of this one."""
    from comfyui_pipeline.call import read

    call = read(raw)
    if (project / CONFIG_FILE).is_file() or call.needs_server:
        python = dependencies.make_importable(project)
        if python is not None:
            return python
    from comfyui_pipeline import dispatch, settings

    chosen = settings.load(project, os.environ)
    watchdog.advance(started + chosen.timeout + time_limit.WATCHDOG_GRACE)
    return dispatch.perform(call, chosen, started, record)


class Watchdog:
    """Responds and ends the process at ``moment`` (``time.monotonic()``) unless that has happened."""

    def __init__(self, writer: ResponseWriter, moment: float) -> None:
        self.moment = moment
        self._writer = writer
        self._changed = threading.Condition()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def advance(self, moment: float) -> None:
        """Respond at ``moment`` if that is earlier."""
        with self._changed:
            self.moment = min(self.moment, moment)
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while self.moment > time.monotonic():
                self._changed.wait(self.moment - time.monotonic())
        error = DeadlineExceeded(
            "No result within this call's time limit, because a server or a file does not respond.",
            'The job may still be running at ComfyUI: check it there, or call {"info": "queue"}.',
        )
        os._exit(self._writer.send(self._writer.failure(error)))
