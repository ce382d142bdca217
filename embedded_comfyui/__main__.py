"""``python -m embedded_comfyui [--port N] [--listen HOST] [--base-directory DIR] [--stop-with-stdin]``"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from embedded_comfyui import serve_in_thread


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m embedded_comfyui",
        description="A small server with ComfyUI's protocol that runs model-free nodes.",
    )
    parser.add_argument(
        "--port", type=int, default=8188, help="0 chooses a free port (default 8188)"
    )
    parser.add_argument("--listen", default="127.0.0.1", help="address (default 127.0.0.1)")
    parser.add_argument(
        "--base-directory",
        type=Path,
        help="folder for input, output and temp (default: a temporary one)",
    )
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="exit when stdin is closed, for a supervisor"
    )
    chosen = parser.parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = serve_in_thread(chosen.base_directory, chosen.listen, chosen.port)
    except OSError as problem:
        print(
            f"Cannot listen on {chosen.listen}:{chosen.port}: {problem.strerror}", file=sys.stderr
        )
        return 1
    with server:
        print(f"ComfyUI-speaking server on {server.url}", flush=True)
        if chosen.stop_with_stdin:  # not before: a pending read of stdin blocks imports on Windows
            threading.Thread(target=_end_with_stdin, args=(ended,), daemon=True).start()
        while not ended.wait(1.0):  # a bounded wait lets Windows deliver Ctrl-C
            pass
    return 0


def _end_with_stdin(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    sys.exit(main())
