"""The front door: one JSON object on stdin, one JSON object on stdout, nothing else.

    echo '{"info": "workflows"}' | python comfyui_plugin.py
    echo '{"workflow": "invert_image", "image": "https://…"}' | python comfyui_plugin.py --exit-code
    python comfyui_plugin.py convert workflow.json --object-info http://127.0.0.1:8188 > prompt.json

Exit status 0 whenever the JSON was written; with ``--exit-code`` 1 when it says "error".
"""

import os
import sys
import time

STARTED = time.monotonic()


def main() -> int:
    if sys.argv[1:2] == ["convert"]:
        return _convert()
    # Before anything else: keep the real stdout for the answer, and read stdin to its end, so that
    # the host never writes into a closed pipe (VCPToolBox Plugin.js: an unhandled EPIPE).
    answer_fd = _keep_stdout()
    raw = _read_stdin()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    from comfyui_pipeline import front_door

    return front_door.answer_call(raw, answer_fd, sys.argv[1:], STARTED)


def _convert() -> int:
    """A command for people: no call on stdin, no envelope around what it prints."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    from comfyui_pipeline import convert_command

    return convert_command.main(sys.argv[2:])


MAX_CALL = 32 * 2**20
"""Bytes of one call that are kept. What comes beyond is read and dropped, and the call refused."""


def _keep_stdout() -> int:
    """Give a private copy of stdout, and send everything else that is printed to stderr.

    The copy is not inherited by children. Works with a closed stdout or stderr.
    """
    try:
        answer_fd = os.dup(1)
    except OSError:
        answer_fd = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return answer_fd


def _read_stdin() -> bytes:
    """All of stdin, at most one byte more than MAX_CALL; the rest is drained."""
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        print(
            "Type one JSON object, then end the input (Ctrl-D; Ctrl-Z on Windows).", file=sys.stderr
        )
    raw = sys.stdin.buffer.read(MAX_CALL + 1)
    while len(raw) > MAX_CALL and sys.stdin.buffer.read(2**20):
        pass
    return raw


if __name__ == "__main__":
    STATUS = main()
    sys.stderr.flush()
    os._exit(STATUS)  # the answer is out: a thread that still waits for a server holds nobody up
