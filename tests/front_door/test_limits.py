"""A call ends in time, also when the server does not."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
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


def test_a_frozen_server_does_not_keep_the_answer_from_the_host(plugin: Any) -> None:
    manifest = plugin.folder / "plugin-manifest.json"
    told = json.loads(manifest.read_text("utf-8"))
    told["communication"]["timeout"] = 9000
    manifest.write_text(json.dumps(told), "utf-8")
    begun = time.monotonic()
    with frozen_server() as url:
        answered = plugin.call({"workflow": "invert_image"}, COMFYUI_BASE_URL=url)
    assert answered.error
    assert answered.status == 0
    assert time.monotonic() - begun < 9


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
def test_a_call_that_is_asked_to_stop_still_answers(plugin: Any) -> None:
    with frozen_server() as url:
        process = plugin.start({"workflow": "invert_image"}, COMFYUI_BASE_URL=url)
        port = int(url.rpartition(":")[2])
        assert port
        time.sleep(1.0)  # the process gives no sign of having reached the socket
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert "stopped" in json.loads(out)["error"]
    assert process.returncode == 0
