"""Jobs that are interrupted: by the server, by another client, by the host, by the time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import requests

from tests.pipeline.servers import Server, slow
from tests.waiting import TIMEOUT, with_more_time


def started(plugin: Any, server: Server, **env: str) -> subprocess.Popen[bytes]:
    plugin.workflow("slow", slow(40))
    return plugin.start({"workflow": "slow"}, COMFYUI_BASE_URL=server.url, **env)


def answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    return json.loads(out)


def test_a_killed_server_is_an_error(plugin: Any, server: Server) -> None:
    process = started(plugin, server)
    server.until(lambda queue: bool(queue["queue_running"]))
    server.process.kill()
    answered = answer(process)
    assert answered["status"] == "error"
    assert "went down while it ran this job" in answered["error"]


def test_a_cleared_queue_ends_the_call(plugin: Any, server: Server) -> None:
    blocker = {"prompt": slow(40), "prompt_id": "blocker"}
    requests.post(f"{server.url}/prompt", json=blocker, timeout=TIMEOUT).raise_for_status()
    process = started(plugin, server)
    server.until(lambda queue: bool(queue["queue_pending"]))
    requests.post(f"{server.url}/queue", json={"clear": True}, timeout=TIMEOUT)
    answered = answer(process)
    assert answered["status"] == "error"
    assert "queue" in answered["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
def test_a_terminated_call_cancels_its_job(plugin: Any, server: Server) -> None:
    process = started(plugin, server)
    server.until(lambda queue: bool(queue["queue_running"]))
    process.terminate()
    assert "stopped" in answer(process)["error"]
    server.until(lambda queue: not queue["queue_running"])
    (entry,) = requests.get(f"{server.url}/history", timeout=TIMEOUT).json().values()
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def test_a_call_returns_at_its_time_limit_with_the_state_of_the_job(
    plugin: Any, server: Server
) -> None:
    def check(seconds: float) -> None:
        requests.post(f"{server.url}/interrupt", timeout=TIMEOUT)
        server.until(lambda queue: not queue["queue_running"])
        error = answer(started(plugin, server, COMFYUI_TIMEOUT=f"{seconds}"))["error"]
        running = [item[1] for item in server.queue()["queue_running"]]
        assert len(running) == 1
        assert running[0] in error
        assert "still running" in error

    with_more_time(check, 2, 10, 30)
