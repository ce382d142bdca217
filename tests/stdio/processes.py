"""Start the plugin as a process with any descriptors and limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parents[2]
INFO = b'{"info": "workflows"}'
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def start_process(plugin: Any, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
    env = {**plugin.environment, **options.pop("env", {})}
    options = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        **options,
    }
    command = argv or (sys.executable, "comfyui_plugin.py")
    process = subprocess.Popen(command, cwd=plugin.folder, env=env, **options)
    STARTED.append(process)
    return process


STARTED: list[subprocess.Popen[bytes]] = []


def write_stdin(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def response_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the response while stdin is still open."""
    assert process.stdout is not None
    with process:
        out = process.stdout.read()
        assert process.wait() == 0
    document: dict[str, Any] = json.loads(out)
    return document


def set_host_limit(plugin: Any, seconds: float) -> None:
    """Set the time limit of the host, in seconds."""
    path = plugin.folder / "plugin-manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["communication"]["timeout"] = seconds * 1000
    path.write_text(json.dumps(manifest), "utf-8")


def write_venv_python(plugin: Any, script: str) -> None:
    """Create a `.venv` whose Python is this shell script."""
    python = plugin.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    python.chmod(0o755)


RUN = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
}
