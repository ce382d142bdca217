"""``python -m input_server [--host H] [--port N] [--stop-with-stdin]``"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from input_server.config import Config, read
from input_server.mounts import ConfigError
from input_server.serve import serve


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m input_server",
        description="Serves the mounts of COMFYUI_MOUNTS under COMFYUI_ACCESS_KEY.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="0 takes a free one (default FILE_SERVER_PORT)")
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="end when stdin closes, for a supervisor"
    )
    chosen = parser.parse_args(argv)
    try:
        config = read({})
    except ConfigError as problem:
        print(problem, file=sys.stderr)
        return 2
    port = config.port if chosen.port is None else chosen.port
    try:
        asyncio.run(_run(config, chosen.host, port, stop_with_stdin=chosen.stop_with_stdin))
    except OSError as problem:
        print(f"Cannot listen on {chosen.host}:{port}: {problem.strerror}", file=sys.stderr)
        return 1
    return 0


async def _run(config: Config, host: str, port: int, *, stop_with_stdin: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    if stop_with_stdin:
        threading.Thread(target=_wait_for_stdin, args=(end,), daemon=True).start()
    ticking = asyncio.ensure_future(_tick())
    shown = f"[{host}]" if ":" in host else host
    try:
        await serve(
            config,
            host,
            port,
            lambda taken: print(f"File server on http://{shown}:{taken}", flush=True),
            stop,
        )
    finally:
        ticking.cancel()


def _wait_for_stdin(end: Callable[[], None]) -> None:
    sys.stdin.read()
    end()


async def _tick() -> None:
    """Wakes the loop, since on Windows a signal is only seen between two events."""
    while True:
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
