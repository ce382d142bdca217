"""From raw bytes to the one answer: parse, find the packages, run the command, before the limit.

Everything that can go wrong ends here as ``{"status": "error", "error": "…"}``. This module and
``answer``, ``bounds``, ``errors``, ``limits``, ``numbers``, ``packages``, ``record``, ``relay``,
``signals`` and ``stdin`` run on Python 3.8 too: the host may have an old one, in whose place the
``.venv``'s answers.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.process import dependencies, reexec, time_limit
from comfyui_pipeline.process.signals import Signals, Stopped
from comfyui_pipeline.process.stdin import QUIET_SECONDS, IncompleteCall
from comfyui_pipeline.process.stdout import ResponseWriter, success

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfyui_pipeline.call_record import CallRecord
    from comfyui_pipeline.process.stdin import CallReader
    from comfyui_pipeline.process.stdout import Response

PROJECT_DIR = Path(__file__).resolve().parent.parent
CONFIG_FILE = "config.env"
GRACE = 15.0
"""Seconds between the pipeline's own deadline and the moment the watchdog answers in its place."""
READING_MARGIN = 2.0
"""Seconds before that moment at which a call that is still incomplete is given up."""
EXAMPLE = '{"workflow": "text2img_api", "prompt": "a red fox in the snow"}'


def answer_call(reader: CallReader, answer_fd: int, argv: Sequence[str], started: float) -> int:
    """Answer the call that ``reader`` reads on ``answer_fd``; gives the exit status.

    ``started``: when the process began, ``time.monotonic()``. Every limit counts from there.
    """
    answer = ResponseWriter(answer_fd, exit_code="--exit-code" in argv)
    started -= reexec.seconds_before_start()
    try:
        signals = Signals()
        envelope = _envelope(reader, answer, argv, started, signals)
        signals.ignore()  # from here on nothing may break off the answer
    except (Stopped, KeyboardInterrupt):
        envelope = answer.failure("The call was stopped before it was done.")
    try:
        return answer.send(envelope)
    except Exception as error:  # a value that JSON lacks
        return answer.send(answer.failure(_words(error)))


def _envelope(
    reader: CallReader,
    answer: ResponseWriter,
    argv: Sequence[str],
    started: float,
    signals: Signals,
) -> Response:
    limit = time_limit.host_limit(PROJECT_DIR)
    watchdog = Watchdog(answer, started + limit - time_limit.HOST_MARGIN)
    try:
        raw = _read(reader, watchdog.moment - READING_MARGIN)
        outcome = dependencies.python_to_use_instead(PROJECT_DIR) or _perform(
            raw, started, watchdog, answer.record
        )
        if isinstance(outcome, Path):
            return reexec.answer_with(
                outcome, PROJECT_DIR, raw, argv, signals, started + limit, started
            )
    except RecursionError:
        return answer.failure(
            "Something in this call or its workflow is nested too deeply: values inside values, or a "
            "chain of very many nodes. Send plain values and shorter chains."
        )
    except Exception as error:
        return answer.failure(_words(error))
    return success(outcome)


def _read(reader: CallReader, until: float) -> bytes:
    """The call. Raises Incomplete; a person at a terminal may take as long as the host's limit."""
    typed = sys.stdin is not None and sys.stdin.isatty()
    quiet = float("inf") if typed else QUIET_SECONDS
    try:
        return reader.read(max(until, time.monotonic() + 1.0), quiet=quiet)
    except IncompleteCall as error:
        raise IncompleteCall(
            f"{error} Write one JSON object and close stdin. A correct call: {EXAMPLE}"
        ) from None


def _perform(
    raw: bytes, started: float, watchdog: Watchdog, record: CallRecord
) -> Mapping[str, Any] | Path:
    """What the call asks for, or the Python that has to answer in our place."""
    from comfyui_pipeline import arguments

    call = arguments.parse(raw)
    if (PROJECT_DIR / CONFIG_FILE).is_file() or call.needs_packages:
        python = dependencies.make_importable(PROJECT_DIR)
        if python is not None:
            return python
    from comfyui_pipeline import commands, settings

    chosen = settings.load(PROJECT_DIR, os.environ)
    watchdog.advance(started + chosen.timeout + GRACE)
    return commands.perform(call, chosen, started, record)


class Watchdog:
    """Answers and ends the process at ``moment`` (``time.monotonic()``) when nothing else has."""

    def __init__(self, answer: ResponseWriter, moment: float) -> None:
        self.moment = moment
        self._answer = answer
        self._changed = threading.Condition()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def advance(self, moment: float) -> None:
        """Answer at ``moment`` where that is earlier."""
        with self._changed:
            self.moment = min(self.moment, moment)
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while self.moment > time.monotonic():
                self._changed.wait(self.moment - time.monotonic())
        late = (
            "No result within this call's time limit: something on the way does not answer. "
            "The run may still be going on at ComfyUI; look at it there, or call again with "
            '{"info": "queue"}.'
        )
        status = self._answer.send(self._answer.failure(late))
        os._exit(status)


def _words(error: Exception) -> str:
    """An error for its reader; what is not foreseen goes to stderr in full."""
    if isinstance(error, (ToolError, dependencies.PackagesMissing, IncompleteCall)):
        return str(error)
    import traceback

    traceback.print_exc(file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"An unforeseen fault inside the tool ({type(error).__name__} in {Path(frame.filename).name}, "
        f"line {frame.lineno}). The details went to stderr. Please report it with the call you made."
    )
