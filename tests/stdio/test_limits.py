"""A call ends in time, also when the server does not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def frozen_server() -> Iterator[str]:
    """Takes every connection and never says a word."""
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


def hurried(plugin: Any, milliseconds: int) -> None:
    manifest = plugin.folder / "plugin-manifest.json"
    told = json.loads(manifest.read_text("utf-8"))
    told["communication"]["timeout"] = milliseconds
    manifest.write_text(json.dumps(told), "utf-8")


def test_a_frozen_server_does_not_keep_the_answer_from_the_host(plugin: Any) -> None:
    hurried(plugin, 9000)
    with frozen_server() as url:
        answered = plugin.call({"workflow": "invert_image"}, COMFYUI_BASE_URL=url)
    assert answered.error
    assert answered.status == 0


@pytest.mark.parametrize(("argument", "status"), [((), 0), (("--exit-code",), 1)])
def test_the_watchdog_answers_for_what_hangs_in_the_tool_itself(
    plugin: Any, argument: tuple[str, ...], status: int
) -> None:
    hurried(plugin, 4000)
    hanging = plugin.folder / "comfyui_pipeline" / "info.py"
    hanging.write_text("import time\ntime.sleep(600)\n", "utf-8")
    answered = plugin.call({"info": "workflows"}, *argument)
    assert "within this call's time limit" in answered.error
    assert answered.status == status


def test_the_watchdog_comes_soon_after_a_deadline_that_is_set(plugin: Any) -> None:
    """The host's limit is ten minutes here: without the setting this would take as long."""
    hanging = plugin.folder / "comfyui_pipeline" / "dispatch.py"
    hanging.write_text("import time\ndef perform(*_): time.sleep(900)\n", "utf-8")
    answered = plugin.call({"info": "queue"}, COMFYUI_TIMEOUT="1")
    assert "within this call's time limit" in answered.error
