"""The front door: one JSON object on stdin, one JSON object on stdout, nothing else.

    echo '{"info": "workflows"}' | python comfyui_plugin.py
    echo '{"workflow": "invert_image", "image": "https://…"}' | python comfyui_plugin.py --exit-code
    python comfyui_plugin.py convert workflow.json --object-info http://127.0.0.1:8188 > prompt.json

Exit status 0 whenever the JSON was written; with ``--exit-code`` 1 when it says "error".
"""

import contextlib
import os
import sys
import time
from typing import Any

STARTED = time.monotonic()


def main() -> int:
    # A link to this file, `python -I` and PYTHONSAFEPATH leave its folder out of the path.
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120
    if sys.argv[1:2] == ["convert"]:
        return _convert()
    answer_fd = _keep_stdout()
    try:
        from comfyui_pipeline.process import stdin
    except (ImportError, SyntaxError) as error:
        return _cannot_start(answer_fd, error)
    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "Type one JSON object, then end the input (Ctrl-D; Ctrl-Z on Windows).", file=sys.stderr
        )
    # Reading begins before the other imports, so that the host never writes into a closed pipe
    # (VCPToolBox Plugin.js: an unhandled EPIPE).
    reader = stdin.CallReader()
    from comfyui_pipeline import stdio

    return stdio.answer_call(reader, answer_fd, sys.argv[1:], STARTED)


def _cannot_start(answer_fd: int, error: Exception) -> int:
    """Say so in JSON where the rest cannot be imported: Python 3.6, or a file that is missing."""
    import json

    version = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - Python 3.6 runs this too
    text = (
        "The tool cannot start with Python "
        + version
        + " ("
        + type(error).__name__
        + "). It needs "
        "Python 3.10 or newer and all of its files: run `python3 run.py setup` in the plugin's folder."
    )
    os.write(answer_fd, json.dumps({"status": "error", "error": text}).encode() + b"\n")
    return 0


def _convert() -> int:
    """A command for people: no call on stdin, no envelope around what it prints."""
    from comfyui_pipeline import convert_command

    return convert_command.main(sys.argv[2:])


def _keep_stdout() -> int:
    """Give a private copy of stdout, and send everything else that is printed to stderr.

    The copy is not inherited by children. Works with closed descriptors: each is the null device
    then, or the copy, or a file that is opened, would get the number of one.
    """
    lowest = os.open(os.devnull, os.O_RDWR)
    while lowest <= 2:
        os.set_inheritable(lowest, True)
        lowest = os.open(os.devnull, os.O_RDWR)
    os.close(lowest)
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    sys.stderr = _Quiet(sys.stderr or open(2, "w", closefd=False))  # noqa: SIM115
    return answer_fd


class _Quiet:
    """stderr, except that nothing fails when nobody can take what is written there."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


if __name__ == "__main__":
    STATUS = main()
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(STATUS)  # the answer is out: a thread that still waits for a server holds nobody up
