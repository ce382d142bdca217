"""A call ends within its time limit and the one of the host."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.process import time_limit
from tests.stdio.processes import RUN, set_host_limit
from tests.waiting import with_more_time


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [(5000, 5.0), ("7000", 7.0), (0, 60.0), (-1, 60.0), ("x", 60.0), (None, 60.0), (1e999, 60.0)],
)
def test_the_time_limit_of_the_host_is_read_from_the_manifest(
    tmp_path: Path, stated: Any, seconds: float
) -> None:
    manifest = {"communication": {"timeout": stated}}
    (tmp_path / time_limit.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    assert time_limit.host_limit(tmp_path) == seconds


def test_an_invalid_manifest_means_the_default_of_the_host(tmp_path: Path) -> None:
    assert time_limit.host_limit(tmp_path) == 60.0
    (tmp_path / time_limit.MANIFEST).write_text("[" * 99_999, "utf-8")
    assert time_limit.host_limit(tmp_path) == 60.0


@pytest.mark.parametrize(
    ("limit", "timeout", "seconds"),
    [(60, 10, 12), (60, 45, 12), (60, 50, 7), (60, 55, 2), (5, 5, 0)],
)
def test_fetching_after_the_deadline_ends_before_the_watchdog(
    limit: float, timeout: float, seconds: float
) -> None:
    assert time_limit.fetch_grace(limit, timeout) == seconds
    if timeout <= limit - 5:  # the highest allowed
        assert timeout + seconds + time_limit.REPORT_SECONDS <= limit - time_limit.HOST_MARGIN


@pytest.mark.parametrize("slow", ["/api/jobs", "/view"])
def test_with_the_highest_timeout_the_pipeline_responds_and_not_the_watchdog(
    plugin: Any, fake: Any, slow: str
) -> None:
    """A server that stops responding after the deadline, to a cancel or to a download."""
    name = plugin.workflow("it", RUN)

    def check(limit: float) -> None:
        fake.stop()
        fake.start()
        fake.script.slow = {slow: "silent"}
        fake.script.never_ends = slow != "/view"
        image = {"filename": "a.png", "subfolder": "", "type": "output"}
        done = {"status_str": "success", "messages": [["execution_success", {}]]}
        outputs = {"2": {"images": [image]}}
        fake.script.history = {"ID": {"outputs": outputs, "status": done}}
        set_host_limit(plugin, limit)
        env = {"COMFYUI_BASE_URL": fake.url, "COMFYUI_TIMEOUT": f"{limit - 5:g}"}
        call = {"workflow": name, "on_timeout": "cancel"}
        error = plugin.call(call, **env).error
        assert "something on the way does not answer" not in error
        assert fake.script.posted[0]["prompt_id"] in error

    with_more_time(check, 10, 30, 60)


@contextmanager
def silent_server() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for connection in held:
            connection.close()


def test_a_server_that_never_responds_does_not_delay_the_response_past_the_limit(
    plugin: Any,
) -> None:
    set_host_limit(plugin, 9)
    with silent_server() as url:
        response = plugin.call({"workflow": "invert_image"}, COMFYUI_BASE_URL=url)
    assert response.error
    assert response.status == 0


@pytest.mark.parametrize(("argument", "status"), [((), 0), (("--exit-code",), 1)])
def test_the_watchdog_responds_when_the_tool_hangs(
    plugin: Any, argument: tuple[str, ...], status: int
) -> None:
    set_host_limit(plugin, 4)
    hanging = plugin.folder / "comfyui_pipeline" / "info.py"
    hanging.write_text("import time\ntime.sleep(600)\n", "utf-8")
    response = plugin.call({"info": "workflows"}, *argument)
    assert "within this call's time limit" in response.error
    assert response.status == status


def test_the_watchdog_responds_soon_after_the_configured_timeout(plugin: Any) -> None:
    """The host's limit is ten minutes here: without the setting this would take as long."""
    hanging = plugin.folder / "comfyui_pipeline" / "dispatch.py"
    hanging.write_text("import time\ndef perform(*_): time.sleep(900)\n", "utf-8")
    response = plugin.call({"info": "queue"}, COMFYUI_TIMEOUT="1")
    assert "within this call's time limit" in response.error
