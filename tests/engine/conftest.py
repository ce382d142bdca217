"""Engines over both transports, and the fake server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfyui_pipeline.engine import http, library_websocket, server_url, websocket
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.requests_http import RequestsTransport
from comfyui_pipeline.engine.socket_http import SocketTransport
from comfyui_pipeline.engine.timeouts import Timeouts
from tests.faulty import fake
from tests.waiting import TIMEOUT

__all__ = ["fake"]

NewEngine = Callable[..., ComfyUI]


def engine_over_sockets(url: str, **options: Any) -> ComfyUI:
    transport = SocketTransport(*_transport_options(url, options))
    return ComfyUI(url, "tests", transport=transport, open_socket=websocket.open_socket, **options)


def engine_over_libraries(url: str, **options: Any) -> ComfyUI:
    transport = RequestsTransport(*_transport_options(url, options))
    return ComfyUI(
        url, "tests", transport=transport, open_socket=library_websocket.open_socket, **options
    )


def _transport_options(url: str, options: Any) -> tuple[Any, ...]:
    return server_url.parse(url), options.get("headers") or {}, options.get("timeout", 30), 8


NEW_ENGINES = {"sockets": engine_over_sockets, "libraries": engine_over_libraries}


@pytest.fixture(params=NEW_ENGINES.values(), ids=NEW_ENGINES)
def new_engine(request: pytest.FixtureRequest) -> NewEngine:
    """A function that builds an engine, once on plain sockets and once on requests."""
    builder: NewEngine = request.param
    return builder


@pytest.fixture
def engine(new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComfyUI]:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    engine = new_engine(
        fake.url, timeout=TIMEOUT, timeouts=Timeouts(ask_after=0.3, poll_interval=0.05), log=print
    )
    yield engine
    engine.close()
