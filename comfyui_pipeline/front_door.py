"""From raw bytes to the one answer: parse, find the packages, run the command, before the limit.

Everything that can go wrong ends here as ``{"status": "error", "error": "…"}``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from comfyui_pipeline import packages, settings, tool_call
from comfyui_pipeline.answer import Answer
from comfyui_pipeline.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLUGIN_FOLDER = Path(__file__).resolve().parent.parent
GRACE = 15.0
"""Seconds between the pipeline's own deadline and the moment the watchdog answers in its place."""


class Stopped(BaseException):
    """SIGTERM arrived. A BaseException, so that no library's ``except Exception`` swallows it."""


def answer_call(raw: bytes, answer_fd: int, argv: Sequence[str], started: float) -> int:
    """Answer one call on ``answer_fd``; gives the exit status. ``started`` is monotonic, seconds."""
    answer = Answer(answer_fd, exit_code="--exit-code" in argv)
    _heed_signals()
    limit = settings.host_limit(PLUGIN_FOLDER)
    _watch(answer, started + limit - 2.0)
    try:
        return answer.send(_serve(raw, answer, argv, started))
    except ToolError as error:
        return answer.send_error(str(error))
    except (Stopped, KeyboardInterrupt):
        return answer.send_error("The call was stopped before it was done.")
    except packages.Missing as missing:
        return answer.send_error(str(missing))
    except RecursionError:
        return answer.send_error(
            "The call is nested too deeply. Send plain values and short lists."
        )
    except Exception as error:
        return answer.send_error(_unforeseen(error))


def _serve(raw: bytes, answer: Answer, argv: Sequence[str], started: float) -> Mapping[str, Any]:
    call = tool_call.parse(raw)
    limit = settings.host_limit(PLUGIN_FOLDER)
    if (PLUGIN_FOLDER / settings.CONFIG_FILE).is_file() or call.needs_packages:
        python = packages.prepare(PLUGIN_FOLDER)
        if python is not None:
            sys.exit(
                answer.relay(packages.run_with(python, PLUGIN_FOLDER, raw, argv, started + limit))
            )
    chosen = settings.load(PLUGIN_FOLDER, os.environ)
    from comfyui_pipeline import commands

    _watch(answer, min(started + chosen.timeout + GRACE, started + limit - 2.0))
    return commands.perform(call, chosen, started, answer.record)


def _watch(answer: Answer, moment: float) -> None:
    """Answer and end the process at ``moment`` when nothing else has by then."""

    def bark() -> None:
        while (left := moment - time.monotonic()) > 0:
            time.sleep(left)
        answer.send_error(
            "No result within this call's time limit: something on the way does not answer. "
            "The run may still be going on at ComfyUI; look at it there, or call again with "
            '{"info": "queue"}.'
        )
        os._exit(1 if answer.exit_code else 0)

    threading.Thread(target=bark, name="watchdog", daemon=True).start()


def _heed_signals() -> None:
    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def _unforeseen(error: Exception) -> str:
    import traceback

    traceback.print_exc(file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"An unforeseen fault inside the tool ({type(error).__name__} in {Path(frame.filename).name}, "
        f"line {frame.lineno}). The details went to stderr. Please report it with the call you made."
    )
