"""The command line ``python -m input_server``: serves, or runs the subcommand ``mounts`` or ``link``."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from pathlib import Path

from . import link_command, mounts_command
from .auth.deny_list import DenyList
from .errors import ConfigError
from .http.metrics_dir import shared_metrics_dir
from .log import log_line
from .mounts.cleanup import start_cleanup_thread
from .settings import (
    PACKAGE,
    Config,
    is_loopback,
    read,
    refuse_example_keys,
    results_mount_warning,
    short_key_warnings,
)


@dataclass(frozen=True)
class Subcommand:
    """``run`` returns the exit status and raises ConfigError."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Config], int]


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "mounts": Subcommand(
        "list, add, remove, measure and clean mounts",
        mounts_command.add_arguments,
        mounts_command.run,
    ),
    "link": Subcommand("print a signed link", link_command.add_arguments, link_command.run),
}
"""What the program does other than serve. The server may be running meanwhile."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status. A missing package is reported on stderr."""
    if isinstance(sys.stdout, TextIOWrapper):  # its code page may lack letters of a file name
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(_parse(argv))
    except ModuleNotFoundError as missing:
        requirements = PACKAGE / "requirements.txt"
        print(
            f"The package {missing.name} is missing. Run: {sys.executable} -m pip install -r {requirements}",
            file=sys.stderr,
        )
        return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m input_server",
        description="Serves the mounts of COMFYUI_MOUNTS under COMFYUI_ACCESS_KEY.",
    )
    parser.add_argument(
        "--host", help="IP address to listen on (default INPUT_SERVER_HOST, or 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=_port, help="port; 0 chooses a free one (default FILE_SERVER_PORT)"
    )
    parser.add_argument("--unix", type=Path, help="listen on a Unix socket instead")
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="exit when stdin is closed, for a supervisor"
    )
    parser.add_argument(
        "--bridge",
        action="store_true",
        help="a bridge is in front: its secret is the first line of stdin, and it sends the files",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="|".join(SUBCOMMANDS))
    for name, subcommand in SUBCOMMANDS.items():
        subcommand.add_arguments(subparsers.add_parser(name, help=subcommand.help))
    chosen = parser.parse_args(argv)
    if chosen.unix and not hasattr(socket, "AF_UNIX"):
        parser.error("this system's Python has no Unix sockets; use --host and --port")
    return chosen


def _run(chosen: argparse.Namespace) -> int:
    """Run the subcommand, or check the settings and serve."""
    try:
        config = read({})
        if chosen.command:
            return SUBCOMMANDS[chosen.command].run(chosen, config)
        host = chosen.host or config.host
        DenyList(config.deny_file, log_line)  # raises for a list that cannot be read
        if chosen.bridge:
            refuse_example_keys(config, "the host")
        elif chosen.unix is None:
            refuse_example_keys(config, host)
    except (ConfigError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    if chosen.bridge or (chosen.unix is None and not is_loopback(host)):
        for warning in short_key_warnings(config):
            log_line(warning)
    if unserved := results_mount_warning(config):
        log_line(f"Warning: {unserved}")
    with shared_metrics_dir(config.workers):
        return _serve(config, host, chosen)


def _port(text: str) -> int:
    """Parse a port from 0 to 65535."""
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _serve(config: Config, host: str, chosen: argparse.Namespace) -> int:
    from .application import create_app
    from .http.server import serve
    from .http.sockets import listen, listen_unix

    secret = sys.stdin.readline().strip() if chosen.bridge else ""
    if chosen.bridge and not secret:
        print("The bridge exited before it sent its secret.", file=sys.stderr)
        return 2
    port = config.port if chosen.port is None else chosen.port
    try:
        unix = chosen.unix
        listener = listen_unix(unix) if unix else listen(host, port, config.stall_seconds)
    except OSError as problem:
        where = chosen.unix or f"{host}:{port}"
        print(f"Cannot listen on {where}: {problem.strerror or problem}", file=sys.stderr)
        return 1
    shown = f"[{host}]" if ":" in host else host
    where = str(chosen.unix) if chosen.unix else f"http://{shown}:{listener.getsockname()[1]}"
    try:
        serve(
            config,
            listener,
            partial(create_app, config, secret),
            partial(_on_start, config, where),
            stop_with_stdin=chosen.stop_with_stdin,
        )
    finally:
        if chosen.unix:
            _remove_socket(chosen.unix, with_folder=chosen.bridge)
    return 0


def _on_start(config: Config, where: str) -> None:
    """Start the hourly cleanup and announce the server; its supervisor may have ended already."""
    start_cleanup_thread(config.table(_discard), log_line)  # the workers log problems of the mounts
    with suppress(OSError):
        print(f"File server on {where}", flush=True)


def _discard(_text: str) -> None:
    """Log nothing."""


def _remove_socket(path: Path, *, with_folder: bool) -> None:
    """Delete the socket, and the folder that a bridge created for it."""
    with suppress(OSError):
        path.unlink()
        if with_folder:
            path.parent.rmdir()
