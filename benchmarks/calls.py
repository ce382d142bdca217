"""Start-up: CPU and wall time of whole processes, as multiples of ``python -c pass``, beside Node.

Medians of alternating rounds; on a busy machine only ratios within one run mean anything. Goals, in
CPU time: ``{"info": "workflows"}`` 2.5 times ``pass``; a trivial run (EmptyImage, ImageScale,
SaveImage on a local server) 8 times, and 120 ms more wall time.

Floor of the first: 3.2 times, with bytecode, Python 3.11. Of this, ``re``, ``typing``,
``contextlib``, ``threading``, ``json`` and ``pathlib`` alone take 2.3 (measured as one import line).
Tried: ``light_dataclasses`` instead of ``dataclasses`` (5.1 to 3.4), no report and no protocol for
lists (3.5 to 3.2), fewer garbage collections (0.1). Left: our own 30 modules take 0.6, reading and
parsing the workflow files 0.2; below 2.5 the tool would have to do without ``typing`` and ``pathlib``.

The second is reached narrowly (7.8 quiet, 8.0 to 9.0 beside other work; 9.6 before Pillow loaded only
the formats in use, 19 with requests and websocket-client). Next: ``concurrent.futures``, which imports
``logging`` (5 ms), and Pillow, whose ``Image.open`` always loads five formats (7 ms). From the server's
last message to the response it takes 7.5 ms, besides fetching files.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import print_row
from devtools.isolated import project_copy, without_settings
from devtools.servers import running_server

ROUNDS = 25
TRIVIAL = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255},
    },
    "2": {
        "class_type": "ImageScale",
        "inputs": {
            "image": ["1", 0],
            "upscale_method": "nearest-exact",
            "width": 32,
            "height": 32,
            "crop": "disabled",
        },
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bench"}},
}
PASS, INFO, RUN = "python -c pass", 'plugin {"info": "workflows"}', "plugin, a trivial run"
NODE = "node -e 0"
GOALS = {INFO: "goal: CPU 2.5 x", RUN: "goal: CPU 8 x, wall +120 ms"}


@dataclass(frozen=True)
class Times:
    """Milliseconds of one process; CPU (user and system) is 0 where the system does not say."""

    cpu: float
    wall: float


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, project_copy() as project:
        (project / "workflows" / "trivial.json").write_text(json.dumps(TRIVIAL), "utf-8")
        environment = {
            **without_settings(os.environ),
            "COMFYUI_OUTPUT_DIR": folder,
            "FILE_SERVER_ACCESS_KEY": "bench",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with running_server(
            ["-m", "embedded_comfyui", "--port", "0"], environment, project
        ) as comfyui:
            environment["COMFYUI_BASE_URL"] = comfyui
            figures = measure(commands(project), environment)
    print_figures(figures)
    return 0


def commands(project: Path) -> dict[str, tuple[list[str], bytes]]:
    """What is measured: name -> command line and stdin."""
    plugin = [sys.executable, str(project / "comfyui_plugin.py"), "--exit-code"]
    measured = {
        PASS: ([sys.executable, "-c", "pass"], b""),
        INFO: (plugin, b'{"info": "workflows"}'),
        RUN: (plugin, b'{"workflow": "trivial"}'),
    }
    node = shutil.which("node")
    return {**measured, NODE: ([node, "-e", "0"], b"")} if node else measured


def measure(
    measured: Mapping[str, tuple[Sequence[str], bytes]], environment: Mapping[str, str]
) -> dict[str, Times]:
    """The median times of each command over ROUNDS rounds, each round trying all of them.

    A round before them writes the bytecode.
    """
    spent: dict[str, list[Times]] = {name: [] for name in measured}
    for number in range(ROUNDS + 1):
        for name, (command, call) in measured.items():
            times = run(command, call, environment)
            if number:
                spent[name].append(times)
    return {
        name: Times(
            statistics.median(one.cpu for one in times),
            statistics.median(one.wall for one in times),
        )
        for name, times in spent.items()
    }


def run(command: Sequence[str], call: bytes, environment: Mapping[str, str]) -> Times:
    """Run one process to its end. Raises CalledProcessError."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(call)
        stdin.seek(0)
        started, before = time.perf_counter(), _children_cpu()
        subprocess.run(
            command, stdin=stdin, env=dict(environment), stdout=subprocess.DEVNULL, check=True
        )
        return Times(_children_cpu() - before, (time.perf_counter() - started) * 1000)


def _children_cpu() -> float:
    """Milliseconds of all children that have ended; the server is still running."""
    if sys.platform == "win32":
        return 0.0
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1000


def print_figures(figures: Mapping[str, Times]) -> None:
    bare = figures[PASS]
    print_row("", "CPU ms", "x pass", "wall ms", "x pass", "above pass")
    for name, times in figures.items():
        cpu = (f"{times.cpu:.1f}", f"{times.cpu / bare.cpu:.1f}") if bare.cpu else ("-", "-")
        wall = (f"{times.wall:.1f}", f"{times.wall / bare.wall:.1f}")
        above = f"{times.wall - bare.wall:+.0f}"
        print_row(name, *cpu, *wall, above, note=GOALS.get(name, ""))
