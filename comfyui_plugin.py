"""Entry point: reads one JSON object from stdin and writes one JSON object to stdout.

    echo '{"info": "workflows"}' | python comfyui_plugin.py
    echo '{"workflow": "invert_image", "image": "https://…"}' | python comfyui_plugin.py --exit-code
    python comfyui_plugin.py convert workflow.json --object-info http://127.0.0.1:8188 > prompt.json

The exit status is 0 when the JSON was written; with ``--exit-code`` it is 1 for an error.
"""

import contextlib
import gc
import os
import sys
import time
from typing import Any

STARTED = time.monotonic()


def main() -> int:
    gc.set_threshold(20_000)  # imports allocate a lot and free little: 5 % of a short call
    # Python does not add this folder when started by symlink, with -I or with PYTHONSAFEPATH.
    folder = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    sys.path.insert(0, folder)
    # Installed by pip, this file is among other packages, and the user's files are in the current folder.
    is_checkout = os.path.isfile(os.path.join(folder, "plugin-manifest.json"))  # noqa: PTH113, PTH118
    project = folder if is_checkout else os.getcwd()  # noqa: PTH109
    if sys.argv[1:2] == ["convert"]:
        return _convert(project)
    response_fd = _reserve_stdout()
    try:
        from comfyui_pipeline.process import stdin
    except (ImportError, SyntaxError) as error:
        return _cannot_start(response_fd, error)
    if sys.stdin is not None and sys.stdin.isatty():
        print(
            "Type one JSON object, then end the input (Ctrl-D; Ctrl-Z on Windows).", file=sys.stderr
        )
    # Start reading before the other imports, so that the host never writes into a closed pipe
    # (VCPToolBox Plugin.js does not handle EPIPE).
    reader = stdin.CallReader()
    from pathlib import Path

    from comfyui_pipeline import stdio

    return stdio.answer_call(reader, response_fd, Path(project), sys.argv[1:], STARTED)


def _cannot_start(response_fd: int, error: Exception) -> int:
    """Write an error response when the package cannot be imported (Python 3.6, a missing file)."""
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
    response = {"status": "error", "error": text, "code": "packages_missing"}
    os.write(response_fd, json.dumps(response).encode() + b"\n")
    return 0


def _convert(project: str) -> int:
    """Run the command line ``convert``, which reads no call and prints no JSON response."""
    from pathlib import Path

    from comfyui_pipeline import convert_command

    return convert_command.main(sys.argv[2:], Path(project))


def _reserve_stdout() -> int:
    """Return a private duplicate of stdout and redirect descriptor 1 to stderr.

    Children do not inherit the duplicate. Closed standard descriptors are first opened on the null
    device, so that neither the duplicate nor a file opened later gets the number 0, 1 or 2.
    """
    lowest = os.open(os.devnull, os.O_RDWR)
    while lowest <= 2:
        os.set_inheritable(lowest, True)
        lowest = os.open(os.devnull, os.O_RDWR)
    os.close(lowest)
    response_fd = os.dup(1)
    os.dup2(2, 1)
    sys.stderr = _SafeStderr(sys.stderr or open(2, "w", closefd=False))  # noqa: SIM115
    return response_fd


class _SafeStderr:
    """stderr that ignores write errors, such as a closed pipe."""

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


def run_and_exit() -> None:
    """Run one call and end the process; the command ``comfyui-plugin`` of an installed package."""
    status = main()
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(status)  # do not wait for threads that still wait for a server


if __name__ == "__main__":
    run_and_exit()
