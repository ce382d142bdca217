"""Clients that read slowly or not at all: memory stays bounded, and other clients do not wait."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_server.http import send_limits
from input_server.http.asgi import App
from input_server.http.asgi_send import ResponseSender
from input_server.http.chunked_body import BodyAborted, send_chunks
from input_server.http.handler import FileServer
from input_server.http.metrics import Metrics
from input_server.http.response import HttpResponse, Piece
from input_server.http.send_limits import (
    ChunkedBodies,
    ChunkedBody,
    NativeBodies,
    TooManyBodies,
    open_regular_files,
)
from input_server.http.sockets import UNSENT_BYTES, listen
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFile, OpenFileCache
from input_server.settings import read
from tests.input_server.running import KEY, Running, memory, processes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
READERS = 600
ALLOWED = 150 * 2**20
SIZES = {"1.bin": 2**20, "20.bin": 20 * 2**20, "200.bin": 200 * 2**20}
BOUNDED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    resource = pytest.importorskip("resource", reason="only POSIX limits descriptors this way")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4000)), hard))
    folder = tmp_path_factory.mktemp("slow") / "m"
    folder.mkdir()
    for name, size in SIZES.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    (folder / "small.txt").write_text("small", "utf-8")
    with Running(folder) as server:
        yield server


def request(name: str, field: str = "") -> bytes:
    head = f"GET /comfyui_server/pw={KEY}/files/m/{name} HTTP/1.1\r\nHost: x\r\n{field}\r\n"
    return head.encode()


def reader(port: int, sent: bytes) -> socket.socket:
    """Send a request on a connection whose receive buffer is as small as the system allows."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.settimeout(50)
    wire.connect(("127.0.0.1", port))
    wire.sendall(sent)
    return wire


PART = "Range: bytes=1-\r\n"
PARTS = "Range: bytes=0-300000, 400000-700000\r\n"
ASKED = {
    "complete files": [request(name) for name in SIZES],
    "parts": [request(name, PART) for name in SIZES],
    "several parts": [request("1.bin", PARTS)],
    "many on one connection": [request("1.bin") * 20, request("20.bin", PART) * 20],
    "all of these": [request("1.bin"), request("200.bin", PART), request("20.bin") * 9],
}


@LINUX
@pytest.mark.parametrize("what", ASKED)
def test_six_hundred_slow_readers_take_little_memory_and_delay_no_other_client(
    running: Running, what: str
) -> None:
    pids = processes(running.process.pid)
    assert running.get("small.txt").text == "small"
    idle = memory(pids)
    with contextlib.ExitStack() as stack:
        wires = []
        for number in range(READERS):
            sent = ASKED[what][number % len(ASKED[what])]
            wires.append(stack.enter_context(reader(running.port, sent)))
        for wire in wires:
            assert wire.recv(1000).split()[1] in (b"200", b"206")
        most = 0
        for _ in range(3):  # read a little now and then
            most = max(most, settled_memory(pids))
            assert running.get("small.txt").text == "small"
            for wire in wires:
                assert wire.recv(500)
        assert most - idle < ALLOWED, f"{(most - idle) / 2**20:.0f} MB"
    assert running.get("small.txt").text == "small"


def settled_memory(pids: list[int]) -> int:
    """Return the memory once it has not grown for half a second."""
    most, since = 0, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = memory(pids)
        if now > most + 2**20:
            most, since = now, time.monotonic()
        time.sleep(0.05)
    return most


@LINUX
def test_a_slow_reader_gets_every_byte(running: Running) -> None:
    content = os.urandom(3 * 2**20)
    (running.folder / "random.bin").write_bytes(content)
    with contextlib.ExitStack() as stack:
        for _ in range(80):  # more than native code sends at once
            stack.enter_context(reader(running.port, request("200.bin")))
        expected = {"": content, PART: content[1:]}
        for field, body in expected.items():
            wire = stack.enter_context(reader(running.port, request("random.bin", field)))
            received = b""
            while b"\r\n\r\n" not in received or len(received) < len(body):
                received += wire.recv(65536)
            head, _, start = received.partition(b"\r\n\r\n")
            while len(start) < len(body):
                start += wire.recv(65536)
            assert hashlib.sha256(start).digest() == hashlib.sha256(body).digest(), head


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="not on Windows")
def test_the_socket_limits_unsent_bytes() -> None:
    with listen("127.0.0.1", 0, 60) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            unsent = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert unsent == UNSENT_BYTES == 512 * 1024


# -- chunk sizes --------------------------------------------------------------------------


def test_chunks_begin_small_and_grow_while_the_client_keeps_up() -> None:
    places = ChunkedBodies()
    with places.admit("a") as stream:
        sizes = []
        for _ in range(7):
            sizes.append(stream.next_size() // 1024)
            stream.adapt(0.01)
        assert sizes == [16, 32, 64, 128, 256, 256, 256]
        stream.adapt(0.2)
        assert stream.next_size() == 256 * 1024, "neither fast nor slow"
        stream.adapt(1.5)
        assert stream.next_size() == 4 * 1024


def test_a_chunk_that_was_queued_at_once_does_not_change_the_size() -> None:
    places = ChunkedBodies()
    with places.admit("a") as stream:
        for _ in range(5):
            stream.adapt(0.0)
        assert stream.next_size() == 16 * 1024


def test_beyond_the_budget_all_clients_get_the_smallest_chunks() -> None:
    places = ChunkedBodies()
    with contextlib.ExitStack() as stack:
        fast = [stack.enter_context(places.admit(f"{n}")) for n in range(100)]
        for stream in fast:
            stream.size = send_limits.MAX_CHUNK
        reserved = [stream.next_size() for stream in fast]
        assert reserved[0] == send_limits.MAX_CHUNK
        assert reserved[-1] == send_limits.MIN_CHUNK
        smallest = send_limits.max_memory(send_limits.MIN_CHUNK)
        assert sum(stream.reserved for stream in fast) <= send_limits.BUDGET + 100 * smallest
    with places.admit("a") as stream:
        stream.size = send_limits.MAX_CHUNK
        assert stream.next_size() == send_limits.MAX_CHUNK, "reserved memory was not released"


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.01, 0.3, 2.0])), max_size=300))
def test_reserved_memory_never_exceeds_the_budget(steps: list[tuple[int, float]]) -> None:
    places = ChunkedBodies(workers=8)
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(places.admit("a")) for _ in range(10)]
        for which, seconds in steps:
            size = found[which].next_size()
            found[which].adapt(seconds)
            assert send_limits.MIN_CHUNK <= size <= send_limits.MAX_CHUNK
            held = sum(stream.reserved for stream in found)
            assert held <= send_limits.BUDGET // 8 + 10 * send_limits.max_memory(
                send_limits.MIN_CHUNK
            )


@pytest.mark.parametrize(
    ("workers", "limit", "mine"), [(1, 1024, 768), (2, 1024, 768), (4, 512, 384)]
)
def test_bodies_are_limited_in_total_and_per_client(workers: int, limit: int, mine: int) -> None:
    places = ChunkedBodies(workers)
    with contextlib.ExitStack() as stack:
        for _ in range(mine):
            stack.enter_context(places.admit("one"))
        with pytest.raises(TooManyBodies), places.admit("one"):
            pass
        for number in range(limit - mine):
            stack.enter_context(places.admit(f"other {number}"))
        with pytest.raises(TooManyBodies), places.admit("new"):
            pass
    with places.admit("one"):
        pass


# -- native bodies ------------------------------------------------------------------------


@LINUX
def test_native_bodies_are_limited_by_the_open_files(tmp_path: Path) -> None:
    before = open_regular_files()
    bodies = NativeBodies(3, lambda: before)
    (tmp_path / "a").write_bytes(b"a")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            assert bodies.admit()
            stack.enter_context((tmp_path / "a").open("rb"))
        assert not bodies.admit()
    end = time.monotonic() + 30
    while not bodies.admit():  # descriptors are counted again after a moment
        assert time.monotonic() < end


def test_nothing_is_sent_natively_if_descriptors_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_path: str) -> list[str]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.listdir", refuse)
    bodies = NativeBodies(1, lambda: 0)
    assert bodies.admit()
    assert not bodies.admit()


# -- over the ASGI interface ----------------------------------------------------------------------------


def application(
    base: Path,
    places: ChunkedBodies,
    native: NativeBodies | None = None,
    stall_seconds: float = 60.0,
) -> tuple[App, Path]:
    (base / "m").mkdir()
    config = read(
        {
            "COMFYUI_MOUNTS": f"m:{base / 'm'}",
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS_FILE": str(base / "mounts.json"),
        },
        base,
    )
    server = FileServer(config, by_asgi=True)
    return App(server, Metrics(dict), ResponseSender(places, native, stall_seconds)), base / "m"


def scope(name: str, client: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": f"/comfyui_server/pw={KEY}/files/m/{name}",
        "query_string": b"",
        "headers": [],
        "client": (client, 1),
    }


def ask(app: App, name: str, client: str = "192.0.2.1") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope(name, client), nothing, send))
    return sent


def test_a_client_with_too_many_downloads_gets_503_with_retry_after(tmp_path: Path) -> None:
    places = ChunkedBodies()
    app, folder = application(tmp_path, places)
    (folder / "a.bin").write_bytes(bytes(100_000))
    (folder / "small.bin").write_bytes(bytes(65_536))
    with contextlib.ExitStack() as stack:
        for _ in range(send_limits.MAX_BODIES_PER_CLIENT):
            stack.enter_context(places.admit("192.0.2.1"))
        start, body = ask(app, "a.bin")
        assert start["status"] == 503
        assert dict(start["headers"])[b"retry-after"] == b"5"
        assert body["body"] == b"Too many downloads at the same time. Try again later."
        assert ask(app, "a.bin", "192.0.2.2")[0]["status"] == 200
        assert ask(app, "small.bin")[0]["status"] == 200, "small files are not limited"
    assert ask(app, "a.bin")[0]["status"] == 200


def test_small_files_are_sent_in_one_message(tmp_path: Path) -> None:
    app, folder = application(tmp_path, ChunkedBodies())
    for size in (65_536, 65_537):
        (folder / "a.bin").write_bytes(os.urandom(size))
        bodies = [message for message in ask(app, "a.bin")[1:] if message["body"]]
        assert b"".join(message["body"] for message in bodies) == (folder / "a.bin").read_bytes()
        if hasattr(os, "RWF_NOWAIT"):
            assert (len(bodies) == 1) == (size == 65_536)


@LINUX
def test_without_a_free_descriptor_a_file_is_sent_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Native code opens the file once more, and responds 404 if it cannot."""
    app, folder = application(tmp_path, ChunkedBodies(), NativeBodies(8, lambda: 0))
    content = os.urandom(100_000)
    (folder / "a.bin").write_bytes(content)
    start, named = ask(app, "a.bin")
    assert (start["status"], named["type"]) == (200, "http.response.pathsend")

    def refuse(_descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.dup", refuse)
    start, *bodies = ask(app, "a.bin")
    assert start["status"] == 200
    assert b"".join(message["body"] for message in bodies) == content


def open_test_file(folder: Path, content: bytes) -> OpenFile:
    (folder / "a.bin").write_bytes(content)
    return OpenFileCache(max_cached=0).acquire(Mount("m", folder), ("a.bin",))


async def nothing() -> Any:
    """Never disconnect."""
    await asyncio.Event().wait()


def send_all(
    file: OpenFile, send: Any, seconds: float, length: int | None = None, receive: Any = nothing
) -> None:
    reply = HttpResponse(200, {}, file=file, pieces=(Piece(b"", 0, length or file.size),))
    try:
        asyncio.run(send_chunks(reply, file, ChunkedBody(ChunkedBodies()), receive, send, seconds))
    finally:
        os.close(file.descriptor)


def test_a_client_that_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    async def never(_message: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(BodyAborted, match="has read nothing"):
        send_all(open_test_file(tmp_path, bytes(99_999)), never, 0.1)


def test_a_client_that_reads_each_chunk_in_time_is_not_cut_off(tmp_path: Path) -> None:
    taken = []

    async def slow(message: Any) -> None:
        await asyncio.sleep(0.2)
        taken.append(message["body"])

    send_all(open_test_file(tmp_path, bytes(160_000)), slow, 2.0)
    assert len(taken) > 10, "there were too few chunks to exceed the limit in total"
    assert b"".join(taken) == bytes(160_000)


def test_the_body_of_a_file_that_shrinks_is_cut_off(tmp_path: Path) -> None:
    async def take(_message: Any) -> None: ...

    with pytest.raises(BodyAborted, match="shorter"):
        send_all(open_test_file(tmp_path, bytes(99)), take, 5.0, length=100)


def test_reading_stops_when_the_client_disconnects(tmp_path: Path) -> None:
    messages = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])
    sent = []

    async def leave() -> Any:
        return next(messages)

    async def take(message: Any) -> None:
        sent.append(message)

    send_all(open_test_file(tmp_path, bytes(9_000_000)), take, 5.0, receive=leave)
    assert len(sent) < 10


def test_sending_to_a_fast_client_yields_to_other_tasks(tmp_path: Path) -> None:
    async def take(_message: Any) -> None: ...

    async def both() -> int:
        file = open_test_file(tmp_path, bytes(20_000_000))
        reply = HttpResponse(200, {}, file=file, pieces=(Piece(b"", 0, file.size),))
        sending = asyncio.ensure_future(
            send_chunks(reply, file, ChunkedBody(ChunkedBodies()), nothing, take, 5.0)
        )
        turns = 0
        while not sending.done():
            turns += 1
            await asyncio.sleep(0)
        os.close(file.descriptor)
        return turns

    assert asyncio.run(both()) > 10


@LINUX
def test_a_worker_under_load_stops_on_request(tmp_path: Path) -> None:
    """It stops gracefully rather than being killed after missing the signal."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Running(tmp_path / "m"))
        (server.folder / "small.txt").write_text("small", "utf-8")
        wires = [stack.enter_context(server.connect()) for _ in range(900)]
        for wire in wires:
            wire.sendall(request("small.txt") * 30)
        assert server.stop() == 0
        assert "wakeup" not in "".join(server.log)


@LINUX
def test_bodies_of_disconnected_clients_are_not_read_further(running: Running) -> None:
    """Reading 200 times 200 MB would take far longer than the timeout of a test."""
    wires = [reader(running.port, request("200.bin", PART)) for _ in range(200)]
    for wire in wires:
        assert wire.recv(1000).split()[1] == b"206"
        wire.close()
    for _ in range(5):
        assert running.get("small.txt").text == "small"


def test_a_body_ends_after_its_chunks_have_left_the_channel(tmp_path: Path) -> None:
    messages = []

    async def take(message: Any) -> None:
        messages.append((len(message["body"]), message["more_body"]))

    send_all(open_test_file(tmp_path, bytes(20_000)), take, 5.0)
    assert messages == [(16_384, True), (3_616, True), *[(0, True)] * 5, (0, False)]


def test_an_aborted_body_is_logged_with_the_client_and_without_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app, folder = application(tmp_path, ChunkedBodies(), stall_seconds=0.1)
    (folder / "a.bin").write_bytes(bytes(200_000))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    asyncio.run(app(scope("a.bin", "192.0.2.1"), nothing, send))
    log_text = capsys.readouterr().err
    assert "192.0.2.1 GET /comfyui_server/pw=…/files/m/a.bin aborted: " in log_text
    assert KEY not in log_text
