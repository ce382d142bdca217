"""An embedded server in a separate process, and a slow workflow (used by tests here)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.waiting import TIMEOUT, wait_until

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """An embedded server in a separate process, so that it can be killed."""

    process: subprocess.Popen[str]
    url: str

    def queue(self) -> dict[str, list[Any]]:
        return requests.get(f"{self.url}/queue", timeout=TIMEOUT).json()

    def until(self, seen: Callable[[dict[str, list[Any]]], bool]) -> None:
        """Request the queue until ``seen(queue)`` is true."""
        wait_until(lambda: seen(self.queue()), "the queue never reached the expected state")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("comfyui")
    command = [
        sys.executable,
        "-m",
        "embedded_comfyui",
        "--port",
        "0",
        "--base-directory",
        str(base),
    ]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().split()[-1])
        process.kill()


def slow(rounds: int, color: int = 255, side: int = 2048) -> dict[str, Any]:
    """A workflow that takes some seconds: a large image blurred ``rounds`` times."""
    size = {"width": side, "height": side, "batch_size": 1, "color": color}
    nodes: dict[str, Any] = {"0": {"class_type": "EmptyImage", "inputs": size}}
    for number in range(rounds):
        inputs = {"image": [str(number), 0], "blur_radius": 31, "sigma": 9.0}
        nodes[str(number + 1)] = {"class_type": "ImageBlur", "inputs": inputs}
    saver = {"images": [str(rounds), 0], "filename_prefix": "slow"}
    return {**nodes, "save": {"class_type": "SaveImage", "inputs": saver}}
