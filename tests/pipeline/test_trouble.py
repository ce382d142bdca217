"""Trouble while a run is on: the server dies, the queue is cleared, the host stops the call."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

PROJECT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 30.0


@dataclass(frozen=True)
class Server:
    """An embedded server in a process of its own, so that it can be killed."""

    process: subprocess.Popen[str]
    url: str

    def queue(self) -> dict[str, list[Any]]:
        return requests.get(f"{self.url}/queue", timeout=20).json()

    def until(self, seen: Callable[[dict[str, list[Any]]], bool]) -> None:
        """Ask for the queue until it looks as wanted."""
        end = time.monotonic() + PATIENCE
        while not seen(self.queue()):
            assert time.monotonic() < end, "the queue never came to look like that"
            time.sleep(0.02)


@pytest.fixture
def server() -> Iterator[Server]:
    command = [sys.executable, "-m", "embedded_comfyui", "--port", "0"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().split()[-1])
        process.kill()


def slow(rounds: int) -> dict[str, Any]:
    """A run of some seconds: large pictures blurred again and again."""
    size = {"width": 2048, "height": 2048, "batch_size": 1, "color": 255}
    nodes: dict[str, Any] = {"0": {"class_type": "EmptyImage", "inputs": size}}
    for number in range(rounds):
        inputs = {"image": [str(number), 0], "blur_radius": 31, "sigma": 9.0}
        nodes[str(number + 1)] = {"class_type": "ImageBlur", "inputs": inputs}
    saver = {"images": [str(rounds), 0], "filename_prefix": "slow"}
    return {**nodes, "save": {"class_type": "SaveImage", "inputs": saver}}


def started(plugin: Any, server: Server, **env: str) -> subprocess.Popen[bytes]:
    plugin.workflow("slow", slow(40))
    return plugin.start({"workflow": "slow"}, COMFYUI_BASE_URL=server.url, **env)


def answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return json.loads(out)


def test_a_server_that_is_killed_mid_run_ends_in_an_error(plugin: Any, server: Server) -> None:
    process = started(plugin, server)
    server.until(lambda queue: bool(queue["queue_running"]))
    server.process.kill()
    answered = answer(process)
    assert answered["status"] == "error"
    assert "went away while it was running" in answered["error"]


def test_a_queue_cleared_by_somebody_else_ends_the_call(plugin: Any, server: Server) -> None:
    blocker = {"prompt": slow(40), "prompt_id": "blocker"}
    requests.post(f"{server.url}/prompt", json=blocker, timeout=20).raise_for_status()
    process = started(plugin, server)
    server.until(lambda queue: bool(queue["queue_pending"]))
    requests.post(f"{server.url}/queue", json={"clear": True}, timeout=20)
    answered = answer(process)
    assert answered["status"] == "error"
    assert "queue" in answered["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
def test_a_stopped_call_takes_its_run_with_it(plugin: Any, server: Server) -> None:
    process = started(plugin, server)
    server.until(lambda queue: bool(queue["queue_running"]))
    process.terminate()
    assert "stopped" in answer(process)["error"]
    server.until(lambda queue: not queue["queue_running"])
    (entry,) = requests.get(f"{server.url}/history", timeout=20).json().values()
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def test_a_call_answers_at_its_own_limit_and_says_where_the_run_is(
    plugin: Any, server: Server
) -> None:
    process = started(plugin, server, COMFYUI_TIMEOUT="2")
    server.until(lambda queue: bool(queue["queue_running"]))
    ((_, prompt_id, *_),) = server.queue()["queue_running"]
    error = answer(process)["error"]
    assert prompt_id in error
    assert "still going on" in error
