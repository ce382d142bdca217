"""How long a tool call takes, as whole processes, in alternating rounds.

Times are medians in milliseconds; only ratios within one run mean anything on a busy machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from devtools.isolated import project_copy, without_settings
from devtools.servers import running_server

ROUNDS = 15


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, project_copy() as project:
        environment = {
            **without_settings(os.environ),
            "COMFYUI_OUTPUT_DIR": folder,
            "FILE_SERVER_ACCESS_KEY": "bench",
        }
        with running_server(
            ["-m", "embedded_comfyui", "--port", "0"], environment, project
        ) as comfyui:
            environment["COMFYUI_BASE_URL"] = comfyui
            figures = measure(environment, project)
    bare = figures["python -c pass"]
    for name, figure in figures.items():
        print(f"{name:32} {figure:7.1f} ms   {figure / bare:5.1f} × bare Python")
    return 0


def measure(environment: Mapping[str, str], project: Path) -> dict[str, float]:
    """The median time of each command over ROUNDS rounds, each round trying all of them."""
    plugin = [sys.executable, str(project / "comfyui_plugin.py"), "--exit-code"]
    commands = {
        "python -c pass": ([sys.executable, "-c", "pass"], {}),
        'plugin {"info": "workflows"}': (plugin, {"info": "workflows"}),
        "plugin resize_image": (plugin, {"workflow": "resize_image", "width": "64"}),
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, (command, call) in commands.items():
            begun = time.perf_counter()
            subprocess.run(
                command,
                input=json.dumps(call).encode(),
                env=dict(environment),
                stdout=subprocess.DEVNULL,
                check=True,
            )
            spent[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(times) for name, times in spent.items()}
