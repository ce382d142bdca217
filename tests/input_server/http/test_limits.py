"""Limits and defaults of the transport."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from input_server import application as application_parts
from input_server.application import create_app
from input_server.errors import ConfigError
from input_server.http import asgi
from input_server.http import server as serve
from input_server.http.asgi import App
from input_server.http.asgi_send import ResponseSender
from input_server.http.handler import FileServer
from input_server.http.metrics import Metrics
from input_server.http.request import HttpRequest
from input_server.http.response import HttpResponse, text_response
from input_server.http.send_limits import ChunkedBodies
from input_server.http.sockets import listen
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFileCache
from input_server.settings import Config, read
from input_server.urls import parse
from tests.input_server.running import KEY


def config(base: Path, **more: str) -> Config:
    (base / "m").mkdir(exist_ok=True)
    return read(
        {
            "COMFYUI_MOUNTS": f"m:{base / 'm'}",
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS_FILE": str(base / "mounts.json"),
            "INPUT_SERVER_CACHE_DIR": str(base / "copies"),
            **more,
        },
        base,
    )


# -- arguments of granian ------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[[Config], dict[str, Any]]:
    """Start a server that does nothing, and return the arguments of granian."""

    def start(settings: Config) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def make(_listener: object, _begun: object, **given: Any) -> Any:
            found.update(given)
            return SimpleNamespace(serve=lambda **_: None)

        monkeypatch.setattr(serve, "Server", make)
        with socket.socket() as listener:
            serve.serve(settings, listener, partial(create_app, settings), lambda: None)
        return found

    return start


def test_limits_passed_to_granian(
    tmp_path: Path, started: Callable[[Config], dict[str, Any]]
) -> None:
    found = started(config(tmp_path))
    assert found["http"].value == "1", "with HTTP/2 one connection could carry hundreds of requests"
    assert found["websockets"] is False
    assert found["runtime_blocking_threads"] == 1
    assert found["backlog"] == 1024
    assert found["workers"] == 1
    assert found["workers_kill_timeout"] == 5
    assert found["respawn_failed_workers"] is True
    assert found["http1_settings"].header_read_timeout == 10_000
    assert found["http1_settings"].max_buffer_size == 256 * 1024
    assert found["http1_settings"].pipeline_flush is False


def test_settings_are_passed_to_granian(
    tmp_path: Path, started: Callable[[Config], dict[str, Any]]
) -> None:
    settings = {"INPUT_SERVER_HEAD_SECONDS": "7", "INPUT_SERVER_WORKERS": "3"}
    found = started(config(tmp_path, **settings))
    assert found["http1_settings"].header_read_timeout == 7000
    assert found["workers"] == 3


def test_defaults_of_transport_settings(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert (found.head_seconds, found.stall_seconds) == (10, 60)
    assert (found.workers, found.cache_mb, found.access_log) == (1, 256, False)


@pytest.mark.parametrize("text", ["²", "-1", "+5", "1_0", "3601", "9" * 5000, "5 5", "1e1"])
def test_a_number_in_a_setting_is_plain_digits_within_bounds(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="INPUT_SERVER_HEAD_SECONDS"):
        config(tmp_path, INPUT_SERVER_HEAD_SECONDS=text)


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1024, 20_000, 8192, 16_384),
        (1024, 4096, 2048, 4096),
        (4096, 4096, 2048, None),
        (100, 100, 50, None),
        (20, 20, 16, None),
        (1024, -1, 8192, 16_384),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="Windows has no such limit")
def test_half_of_the_descriptors_is_for_connections(
    tmp_path: Path,
    started: Callable[[Config], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    connections: int,
    raised: int | None,
) -> None:
    import resource

    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert started(config(tmp_path))["backpressure"] == connections
    assert limits == ([] if raised is None else [(raised, hard)])


@pytest.mark.parametrize(
    ("descriptors", "workers", "limit"),
    [(1023, 1, None), (1024, 1, 96), (1024, 2, 48), (1024, 16, 8)],
)
def test_limit_of_natively_sent_files_by_descriptors_and_workers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    descriptors: int,
    workers: int,
    limit: int | None,
) -> None:
    monkeypatch.setattr(application_parts, "descriptor_limit", lambda: descriptors)
    monkeypatch.setattr("input_server.http.send_limits.open_regular_files", lambda: 2**20)
    settings = replace(config(tmp_path), workers=workers)
    bodies = application_parts._native_bodies(settings, OpenFileCache())
    if limit is None:
        assert bodies is None
    else:
        assert bodies is not None
        assert [bodies.admit() for _ in range(limit + 1)] == [True] * limit + [False]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
def test_the_system_ends_stalled_connections() -> None:
    with listen("127.0.0.1", 0, 7) as listener:
        level = socket.IPPROTO_TCP
        assert listener.getsockopt(level, socket.TCP_USER_TIMEOUT) == 7000
        assert listener.getsockopt(level, socket.TCP_NODELAY) == 1


# -- delays ------------------------------------------------------------------------------------


def application(base: Path, answer: Callable[..., HttpResponse], **more: str) -> App:
    server = FileServer(config(base, **more), by_asgi=True)
    server.answer = answer  # type: ignore[method-assign]
    return App(server, Metrics(dict), ResponseSender(ChunkedBodies(), None, 60.0))


async def ask(app: App, query: str = "") -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    target = f"/comfyui_server/pw={KEY}/files/m/a.png"
    scope = {
        "type": "http",
        "method": "GET",
        "path": target,
        "query_string": query.encode(),
        "headers": [],
        "client": ("192.0.2.1", 1),
    }
    await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    return int(sent[0]["status"])


def test_at_most_sixty_four_responses_are_delayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(tmp_path, lambda _asked, **_: text_response(401, "no", "wrong key", 1.5))
    delays: list[float] = []

    async def send_all() -> None:
        go = asyncio.Event()

        async def sleep(seconds: float) -> None:
            delays.append(seconds)
            await go.wait()

        monkeypatch.setattr(asgi.asyncio, "sleep", sleep)
        waiting = [asyncio.ensure_future(ask(app)) for _ in range(65)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        go.set()
        await asyncio.gather(*waiting)

    asyncio.run(send_all())
    assert delays == [1.5] * 64


@pytest.mark.skipif(os.name != "posix", reason="on Windows no file is held open")
def test_a_file_idle_for_five_seconds_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    (tmp_path / "a.bin").write_bytes(b"a")
    files = OpenFileCache()
    file = files.acquire(Mount("m", tmp_path), ("a.bin",))
    files.release(file)
    for passed, again in ((4.5, True), (5.5, False)):
        now[0] += passed
        files.sweep()
        found = files.acquire(Mount("m", tmp_path), ("a.bin",))
        files.release(found)
        assert (found is file) is again
        assert files.count == 1
    files.close()


def test_a_replaced_file_stays_open_for_the_stall_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("input_server.http.handler.OpenFileCache", lambda *what: given.append(what))
    settings = config(tmp_path, INPUT_SERVER_STALL_SECONDS="90")
    FileServer(settings, by_asgi=True)
    FileServer(settings)
    assert given[0][1] == given[1][1] == 90
    assert given[0][0] == (256 if os.name == "posix" else 0)
    assert given[1][0] == 0, "in a host, the host opens the files"


# -- offloading to a proxy -------------------------------------------------------------------------


OFFLOAD = {"INPUT_SERVER_OFFLOAD": "x-accel:/protected"}


def headers(
    base: Path, sent: Mapping[str, str], size: int = 1000, **more: str
) -> tuple[int, Mapping[str, str]]:
    server = FileServer(config(base, **more))
    (base / "m" / "a.bin").write_bytes(bytes(size))
    route = parse(f"/comfyui_server/pw={KEY}/files/m/a.bin")
    reply = server.answer(HttpRequest("GET", route, {}, sent, "192.0.2.1"))
    if reply.file is not None:
        server.files.release(reply.file)
    return reply.status, reply.headers


@pytest.mark.parametrize(
    ("max_cached", "redirected"),
    [("1000", False), ("999", True), ("", True), ("²", True), ("-1", True), ("9" * 30, False)],
)
def test_a_proxy_sends_files_above_its_cache_limit_itself(
    tmp_path: Path, max_cached: str, redirected: bool
) -> None:
    _, found = headers(tmp_path, {"x-offload-keeps": max_cached}, **OFFLOAD)
    assert ("X-Accel-Redirect" in found) is redirected
    assert ("ETag" in found) is not redirected
    assert found.get("X-Accel-Expires") == (None if redirected else "5")


def test_a_range_is_not_cached_by_a_proxy(tmp_path: Path) -> None:
    sent = {"x-offload-keeps": "5000", "range": "bytes=0-9"}
    status, found = headers(tmp_path, sent, **OFFLOAD)
    assert (status, "X-Accel-Expires" in found) == (206, False)


def test_without_a_proxy_no_response_has_offload_headers(tmp_path: Path) -> None:
    _, found = headers(tmp_path, {"x-offload-keeps": "1"})
    assert not [name for name in found if name.startswith("X-Accel")]
    assert found["Content-Length"] == "1000"
