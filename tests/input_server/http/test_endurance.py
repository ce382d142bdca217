"""Slow, idle and many clients: none blocks the server or leaves memory or files behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from input_server.http.server import holder_arguments
from input_server.http.sockets import BACKLOG
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFileCache
from input_server.mounts.resolve import Missing, locate, open_located_file, open_parent
from tests.input_server.running import KEY, Running, memory, open_files, processes
from tests.waiting import TIMEOUT, wait_until

HEAD = f"GET /comfyui_server/pw={KEY}/files/m/%s HTTP/1.1\r\nHost: x\r\n"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("endurance") / "m"
    folder.mkdir()
    (folder / "small.txt").write_text("small", "utf-8")
    with (folder / "large.bin").open("wb") as file:
        file.truncate(64 * 2**20)
    if os.name == "posix":
        os.mkfifo(folder / "fifo.png")
        (folder / "loop.png").symlink_to("loop.png")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "socket.png"))
        listener.close()
    with Running(folder, INPUT_SERVER_STALL_SECONDS="3") as server:
        yield server


def closed_after(wire: socket.socket) -> float:
    """Return the seconds until the other side closes the connection."""
    begun = time.monotonic()
    wire.settimeout(TIMEOUT)
    with contextlib.suppress(ConnectionError):
        while wire.recv(65536):
            pass
    return time.monotonic() - begun


def test_a_connection_without_a_complete_head_after_ten_seconds_is_closed(running: Running) -> None:
    """Silent, one byte every half second, an incomplete head, and idle after a response."""
    spent: dict[str, float] = {}

    def silent() -> None:
        with running.connect() as wire:
            spent["silent"] = closed_after(wire)

    def half() -> None:
        with running.connect() as wire:
            wire.sendall((HEAD % "small.txt").encode())
            spent["half"] = closed_after(wire)

    def drip() -> None:
        """The head is long enough that sending it takes longer than any timeout."""
        with running.connect() as wire:
            begun = time.monotonic()
            wire.settimeout(0.5)
            for letter in (HEAD % "small.txt" + "X-A: " + "a" * 300).encode():
                try:
                    wire.send(bytes([letter]))
                    if wire.recv(100) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                return
            spent["drip"] = time.monotonic() - begun

    def idle() -> None:
        with running.connect() as wire:
            wire.sendall((HEAD % "small.txt" + "\r\n").encode())
            assert wire.recv(65536).startswith(b"HTTP/1.1 200")
            spent["idle"] = closed_after(wire)

    threads = [threading.Thread(target=way) for way in (silent, half, drip, idle)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(spent) == ["drip", "half", "idle", "silent"]
    assert all(seconds >= 9 for seconds in spent.values()), f"closed too early: {spent}"


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends such connections by itself"
)
def test_a_body_that_the_client_does_not_read_is_aborted(running: Running) -> None:
    """After 3 s here (60 by default). One client reads nothing, one a byte now and then."""
    before = len(established(running.port))
    wires = []
    for _ in range(2):
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", running.port))
        wire.sendall((HEAD % "large.bin" + "\r\n").encode())
        wires.append(wire)
    wires[1].settimeout(0.2)

    def closed() -> bool:
        with contextlib.suppress(OSError):
            wires[1].recv(1)
        return len(established(running.port)) <= before

    wait_until(closed, "the server still holds the connections")
    for wire in wires:
        wire.close()
    assert running.get("small.txt").text == "small"


def established(port: int) -> list[str]:
    """Return the established connections of the server (proc(5), tcp: state 01)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ours = f":{port:04X}"
    return [ln for ln in lines if ln.split()[1].endswith(ours) and ln.split()[3] == "01"]


def test_a_request_body_that_never_arrives_blocks_no_other_client(running: Running) -> None:
    with running.connect() as wire:
        wire.sendall((HEAD % "small.txt" + "Content-Length: 1000000\r\n\r\n").encode())
        wire.settimeout(TIMEOUT)
        assert wire.recv(65536).split()[1] in (b"200", b"400")
    with running.connect() as wire:
        post = f"POST /comfyui_server/pw={KEY}/files/m/x HTTP/1.1\r\nHost: x\r\n"
        wire.sendall(f"{post}Content-Length: 99999999\r\n\r\nsome".encode())
        wire.settimeout(TIMEOUT)
        assert wire.recv(65536).split()[1] == b"405"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"G" * 10_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET /%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:24]),
)
def test_oversized_and_malformed_requests_are_refused(
    running: Running, request_bytes: bytes
) -> None:
    with running.connect() as wire:
        answer = b""
        try:
            wire.sendall(request_bytes)
            wire.shutdown(socket.SHUT_WR)
            while chunk := wire.recv(65536):
                answer += chunk
        except OSError:
            pass
    assert not answer or answer.split()[1][:1] in (b"4", b"5")
    assert b"Traceback" not in answer
    assert running.get("small.txt").text == "small"


@LINUX
def test_pipes_sockets_and_symlink_loops_are_missing_and_leak_nothing(running: Running) -> None:
    pids = processes(running.process.pid)
    running.get("small.txt")
    before = open_files(pids)
    threads = threads_of(pids)
    for _ in range(30):
        for name in ("fifo.png", "socket.png", "loop.png", "fifo.png?w=10"):
            assert running.get(name).status_code == 404
    assert open_files(pids) <= before + 2
    assert threads_of(pids) <= threads + 8
    assert running.get("small.txt").text == "small"


def threads_of(pids: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)


# -- many connections ----------------------------------------------------------------------------------

CONNECTIONS, REQUESTS = 200, 5_000
SIZES = (900, 40_000, 300_000)


def version(number: int, size: int) -> bytes:
    """Return file content that begins with its version and depends on it in every byte."""
    seed = hashlib.sha256(f"{number} {size}".encode()).digest()
    return (f"{number:08}".encode() + seed * (size // 32 + 1))[:size]


def is_complete_file(body: bytes, size: int) -> bool:
    return body == version(int(body[:8]), size)


class Replacing(threading.Thread):
    """Replaces the files continuously."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.ended, self.rounds = folder, threading.Event(), 0
        self.step()

    def step(self) -> None:
        self.rounds += 1
        for size in SIZES:
            part = self.folder / f".{size}.part"
            part.write_bytes(version(self.rounds, size))
            os.replace(part, self.folder / f"{size}.bin")  # noqa: PTH105

    def run(self) -> None:
        while not self.ended.wait(0.002):
            self.step()


async def ask(port: int, many: int, seen: set[bytes]) -> int:
    """Send ``many`` requests on one connection. Returns the number of incomplete bodies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    wrong = 0
    for number in range(many):
        size = SIZES[number % len(SIZES)]
        writer.write((HEAD % f"{size}.bin" + "\r\n").encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT)
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        body = await asyncio.wait_for(reader.readexactly(length), TIMEOUT)
        seen.add(body[:8])
        wrong += not (head.split()[1] == b"200" and length == size and is_complete_file(body, size))
    writer.close()
    await writer.wait_closed()
    return wrong


async def ask_all(port: int, requests: int) -> tuple[int, int]:
    seen: set[bytes] = set()
    asked = [ask(port, requests // CONNECTIONS, seen) for _ in range(CONNECTIONS)]
    return sum(await asyncio.gather(*asked)), len(seen)


@LINUX
def test_thousands_of_requests_get_complete_files_of_one_version_each(tmp_path: Path) -> None:
    """Open files and memory do not grow."""
    with Running(tmp_path / "m", INPUT_SERVER_STALL_SECONDS="8") as server:
        replacing = Replacing(server.folder)
        asyncio.run(ask_all(server.port, 2000))
        pids = processes(server.process.pid)
        settled(lambda: open_files(pids))
        files, taken = open_files(pids), memory(pids)
        replacing.start()
        wrong, versions = asyncio.run(ask_all(server.port, REQUESTS))
        replacing.ended.set()
        replacing.join(TIMEOUT)
        assert wrong == 0
        assert versions > 10, "the files were not replaced during the requests"
        # replaced files stay open for a few seconds more
        wait_until(lambda: open_files(pids) <= files + 8)
        assert memory(pids) < taken + 24 * 2**20
        assert server.stop() == 0


def settled(number: object) -> None:
    """Wait until a number stays the same for a while."""
    last, since = None, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = number()  # type: ignore[operator]
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 3

    wait_until(still)


@LINUX
def test_all_processes_end_on_request_and_when_the_parent_is_killed(tmp_path: Path) -> None:
    for workers in ("1", "2"):
        server = Running(tmp_path / workers, INPUT_SERVER_WORKERS=workers)
        assert server.get("/healthz").text == "ok"
        pids = processes(server.process.pid)
        assert len(pids) == 1 + int(workers)
        assert server.stop() == 0
        assert not [pid for pid in pids if alive(pid)]
        leftovers = tmp_path / f"leftovers of {workers}"
        leftovers.mkdir()
        killed = Running(tmp_path / workers, INPUT_SERVER_WORKERS=workers, TMPDIR=str(leftovers))
        pids = processes(killed.process.pid)
        killed.process.kill()
        assert killed.process.stdin is not None
        killed.process.stdin.close()
        for pid in pids:
            wait_until(lambda pid=pid: not alive(pid), "a worker outlives the server")
        assert killed.wait() == -signal.SIGKILL
        assert not list(leftovers.iterdir())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@LINUX
def test_many_idle_connections_block_no_other_client(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4000)), hard))
    with Running(tmp_path / "m") as server, contextlib.ExitStack() as idle:
        for _ in range(1500):
            idle.enter_context(server.connect())
        assert server.get("/healthz").text == "ok"
        assert len(established(server.port)) > 50, (
            "the request had to wait until idle connections were closed"
        )


def test_a_file_in_use_is_not_closed_before_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("input_server.mounts.open_files.IDLE_SECONDS", -1.0)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name, "utf-8")
    mount, files = Mount("m", tmp_path), OpenFileCache(max_cached=1, retire_seconds=-1)
    used = files.acquire(mount, ("a.txt",))
    files.release(files.acquire(mount, ("b.txt",)))
    files.sweep()
    files.sweep()
    others = [files.acquire(mount, ("b.txt",)) for _ in range(3)]
    assert used.read(0, 9) == b"a.txt"
    for file in (used, *others):
        files.release(file)
    files.sweep()
    files.sweep()
    for file in (used, *others):
        with pytest.raises(OSError, match=r"Bad file|handle"):
            os.fstat(file.descriptor)


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_symlink_created_after_the_check_is_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "m" / "sub", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(folder.name, "utf-8")
    path, root = locate(tmp_path / "m", ("sub", "a.txt"))
    inside.rename(tmp_path / "m" / "moved")
    inside.symlink_to(outside)
    with pytest.raises(Missing):
        open_located_file(path, root)
    with pytest.raises(OSError, match=r"Not a directory|symbolic"), open_parent(path, root):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows stores no time after the year 30827")
def test_a_file_with_a_time_in_the_far_future_is_served(tmp_path: Path) -> None:
    tmpfs = Path("/dev/shm")  # tmpfs stores any year
    with tempfile.TemporaryDirectory(dir=tmpfs if tmpfs.is_dir() else tmp_path) as place:
        (Path(place) / "a.txt").write_text("x", "utf-8")
        os.utime(Path(place) / "a.txt", (10**12, 10**12))
        with Running(tmp_path / "m", COMFYUI_MOUNTS=f"m:{place}") as server:
            assert server.get("a.txt").text == "x"


class Spawning(Running):
    """Starts workers with ``spawn``, the default on Windows and macOS: they inherit no memory."""

    program = (
        "-c",
        "import multiprocessing, sys; from input_server.cli import main; "
        "multiprocessing.set_start_method('spawn'); sys.exit(main(sys.argv[1:]))",
    )


def test_workers_start_with_the_spawn_method(tmp_path: Path) -> None:
    with Spawning(tmp_path / "m", INPUT_SERVER_WORKERS="2") as server:
        (server.folder / "a.txt").write_text("text", "utf-8")
        assert server.get("a.txt").text == "text"
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("win32", (7,)),
        ("darwin", (7, False)),
        ("linux", (7, False, BACKLOG)),
        ("freebsd14", (7, False, BACKLOG)),
    ],
)
def test_arguments_of_granians_socket_holder_by_platform(
    platform: str, expected: tuple[int, ...]
) -> None:
    assert holder_arguments(platform, 7, unix=False) == expected


@LINUX
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with Running(tmp_path / "m") as server:
        main, worker = processes(server.process.pid)
        os.kill(worker, 9)
        wait_until(lambda: answers(server), "no worker replaced it")
        assert processes(server.process.pid)[0] == main


def answers(server: Running) -> bool:
    with contextlib.suppress(OSError):
        return server.get("/healthz").text == "ok"
    return False
