"""A call ends in time, also when the server does not."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.waiting import TIMEOUT


@contextmanager
def frozen_server() -> Iterator[tuple[str, threading.Event]]:
    """Takes every connection and never says a word; the event: the first one has come."""
    reached = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                    reached.set()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", reached
        for connection in held:
            connection.close()


def test_a_frozen_server_does_not_keep_the_answer_from_the_host(plugin: Any) -> None:
    manifest = plugin.folder / "plugin-manifest.json"
    told = json.loads(manifest.read_text("utf-8"))
    told["communication"]["timeout"] = 9000
    manifest.write_text(json.dumps(told), "utf-8")
    with frozen_server() as (url, _):
        answered = plugin.call({"workflow": "invert_image"}, COMFYUI_BASE_URL=url)
    assert "time limit" in answered.error
    assert answered.status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
def test_a_call_that_is_asked_to_stop_still_answers(plugin: Any) -> None:
    with frozen_server() as (url, reached):
        process = plugin.start({"workflow": "invert_image"}, COMFYUI_BASE_URL=url)
        assert reached.wait(TIMEOUT)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert "stopped" in json.loads(out)["error"]
    assert process.returncode == 0
