"""Throughput of this file server, Express's ``res.sendFile`` and nginx, side by side.

One worker each, the same two files, ``wrk`` with 16 connections, alternating rounds. Prints medians of
the ratios within each round. Needs wrk and node; nginx is optional.

Goal: 3 x Express 5 at both sizes. On two quiet cores, shared with wrk:

- 40 KB: 3.07 x; 2.85 x when Python took 29 us of each request instead of 23. Next: add metrics up in
  plain integers, and hand them to prometheus-client when the page is requested (about 4 us).
- 1.5 MB: 2.6 x, where nginx with sendfile reaches 2.4 x. At 3.7 GB/s wrk needs 0.6 of a core to read, and
  copying in the kernel takes most of the rest: with two cores no server gets much further. Tried without
  gain: the body as one bytes object (a third of the rate), TCP_NOTSENT_LOWAT of 2 MB (5 % less), no
  garbage collection (within the noise). Next: sendfile(2) in granian, which saves one copy.
"""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.nginx import nginx_in_front
from benchmarks.table import print_row
from devtools.isolated import PROJECT, project_copy, without_settings
from devtools.servers import running_server

ROUNDS, SECONDS, CONNECTIONS = 5, 3, 16
FILES = {"40 KB": 40_000, "1.5 MB": 1_500_000}
NODE = PROJECT / "tests" / "node"
EXPRESS = """
const app = require(process.argv[1])();
app.get("/m/:name", (req, res) => res.sendFile(req.params.name, { root: process.argv[2] }));
const server = app.listen(0, "127.0.0.1", () =>
  console.log("Express on http://127.0.0.1:" + server.address().port));
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server; ``url`` is that of its files."""

    name: str
    url: str


def main() -> int:
    missing = [tool for tool in ("wrk", "node") if shutil.which(tool) is None]
    if missing:
        print(f"Install {' and '.join(missing)} to run this.", file=sys.stderr)
        return 1
    if not (NODE / "node_modules" / "express5").is_dir():
        print("Run `npm install` in tests/node first, for Express.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        mount = Path(folder) / "m"
        mount.mkdir()
        for name, size in FILES.items():
            (mount / _name(name)).write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(size - 8))
        contenders = _contenders(Path(folder), mount, stack)
        measured = _measure(contenders)
    _print(contenders, measured)
    return 0


def _name(label: str) -> str:
    return f"{label.replace(' ', '')}.png"


def _contenders(base: Path, mount: Path, stack: ExitStack) -> list[Contender]:
    ours, key = stack.enter_context(_own_server(mount, {}))
    found = [
        Contender("Express 5, res.sendFile", f"{stack.enter_context(_express(mount))}/m"),
        Contender("this file server", f"{ours}/comfyui_server/pw={key}/files/m"),
    ]
    if shutil.which("nginx") is None:
        print("nginx is not installed; its rows are left out.", file=sys.stderr)
        return found
    behind, key = stack.enter_context(
        _own_server(
            mount,
            {
                "INPUT_SERVER_OFFLOAD": "x-accel:/protected",
                "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
            },
        )
    )
    front, bare = stack.enter_context(nginx_in_front(base, mount, behind))
    found.append(Contender("nginx alone", f"{bare}/m"))
    found.append(
        Contender("nginx before this file server", f"{front}/comfyui_server/pw={key}/files/m")
    )
    return found


@contextmanager
def _own_server(mount: Path, settings: dict[str, str]) -> Iterator[tuple[str, str]]:
    key = secrets.token_urlsafe(12)
    environment = {
        **without_settings(os.environ),
        "COMFYUI_MOUNTS": f"m:{mount}",
        "COMFYUI_OUTPUT_DIR": str(mount),
        "COMFYUI_OUTPUT_MOUNT": "m",
        "COMFYUI_ACCESS_KEY": key,
        "INPUT_SERVER_CACHE_DIR": str(mount.parent / "copies"),
        **settings,
    }
    with (
        project_copy() as project,
        running_server(["-m", "input_server", "--port", "0"], environment, project) as url,
    ):
        yield url, key


@contextmanager
def _express(mount: Path) -> Iterator[str]:
    """Run Express in production mode; yields its URL."""
    child = subprocess.Popen(
        ["node", "-e", EXPRESS, str(NODE / "node_modules" / "express5"), str(mount)],
        env={**os.environ, "NODE_ENV": "production"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        if child.stdout is None:
            raise RuntimeError("node has no stdout")
        yield child.stdout.readline().split()[-1]
    finally:
        child.terminate()
        child.wait(10)


def _measure(contenders: Sequence[Contender]) -> dict[tuple[str, str], list[float]]:
    """Return requests per second by contender and file, one figure per round."""
    measured: dict[tuple[str, str], list[float]] = {}
    for number in range(ROUNDS + 1):
        for label in FILES:
            for contender in contenders:
                rate = _wrk(f"{contender.url}/{_name(label)}")
                if number:  # the first round warms up
                    measured.setdefault((contender.name, label), []).append(rate)
    return measured


def _wrk(url: str) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]
    output = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    if "Non-2xx" in output:
        raise RuntimeError(f"{url} responds with errors")
    return float(output.partition("Requests/sec:")[2].split()[0])


def _print(contenders: Sequence[Contender], measured: dict[tuple[str, str], list[float]]) -> None:
    base = {"nginx before this file server": "nginx alone"}
    print_row(f"requests/s, one worker each, wrk -c{CONNECTIONS}", *FILES)
    for contender in contenders:
        rates = [statistics.median(measured[contender.name, label]) for label in FILES]
        print_row(contender.name, *(f"{rate:,.0f}" for rate in rates))
    for contender in contenders[1:]:
        other = base.get(contender.name, contenders[0].name)
        ratios = [
            statistics.median(
                a / b
                for a, b in zip(
                    measured[contender.name, label], measured[other, label], strict=True
                )
            )
            for label in FILES
        ]
        print_row(f"{contender.name} / {other}", *(f"{ratio:.2f}" for ratio in ratios))
