"""A closed port of this machine while ComfyUI answers at another one."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from comfyui_pipeline.engine import http
from comfyui_pipeline.engine.http import Http, Refused
from comfyui_pipeline.errors import ServerUnreachable
from tests.faulty import FakeServer


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def error_with(url: str, *ports: int) -> ServerUnreachable:
    client = Http(url, 5, local_ports=ports, deadline=time.monotonic() + 20)
    with pytest.raises(ServerUnreachable) as error:
        client.get("/queue")
    client.close()
    return error.value


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.001)


def test_a_comfyui_at_another_local_port_is_named(comfyui: Any) -> None:
    port = int(comfyui.url.rpartition(":")[2])
    error = error_with(f"http://127.0.0.1:{closed_port()}", closed_port(), port)
    assert f"A ComfyUI answers at http://127.0.0.1:{port}." in error.message
    assert f"COMFYUI_BASE_URL to http://127.0.0.1:{port} " in error.hint


def test_another_program_at_that_port_is_not_named(fake: FakeServer) -> None:
    for body in (b"", b"[]", b'{"system": {}}', b"x" * 200_000):
        fake.script.broken = {"/system_stats": (200, body)}
        error = error_with(f"http://127.0.0.1:{closed_port()}", fake.port)
        assert "answers" not in str(error)
        assert isinstance(error, Refused)


def test_ports_of_other_machines_are_not_tried(fake: FakeServer) -> None:
    error = error_with(f"http://127.0.0.1.invalid:{closed_port()}", fake.port)
    assert "answers" not in str(error)
    assert fake.script.requested_paths == []
