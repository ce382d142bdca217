"""A client of a worker that is killed during a transfer can see that the body is truncated."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.nginx import nginx_in_front
from tests.input_server.hosts import Host, needs_node
from tests.input_server.running import KEY, Running, processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="nginx is not installed; `.ci/run` installs it on Debian"
)
ROUTE = f"/comfyui_server/pw={KEY}"
LARGE = 30 * 2**20
COMPLETE = f"{ROUTE}/files/m/large.bin"
PARTS = f"Range: bytes=0-{LARGE // 3},{LARGE // 2}-{LARGE - 9}\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a mount with files, thumbnails and texts that exceed all buffers."""
    base = tmp_path_factory.mktemp("killed")
    base.chmod(0o755)
    folder = base / "m"
    folder.mkdir()
    with (folder / "large.bin").open("wb") as file:
        file.truncate(LARGE)
    (folder / "text.txt").write_text(os.urandom(6 * 2**20).hex(), "utf-8")
    Image.frombytes("RGB", (1800, 1800), os.urandom(1800 * 1800 * 3)).save(folder / "image.png")
    for number in range(200):
        (folder / f"{number}{'x' * 200}.txt").write_text("x", "utf-8")
    return folder


@dataclass(frozen=True)
class Transfer:
    """What a client has received when the connection ends."""

    length: int | None
    chunked: bool
    body: bytes
    reset: bool

    @property
    def is_truncated(self) -> bool:
        """Whether an HTTP/1.1 client can see that the body is incomplete (RFC 9112, 8)."""
        if self.chunked:
            return not self.body.endswith(b"0\r\n\r\n")
        return self.reset or (self.length is not None and len(self.body) < self.length)


def start_request(port: int, target: str, field: str = "") -> tuple[socket.socket, bytes]:
    """Send a request and read only the beginning of the response."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.settimeout(50)
    wire.connect(("127.0.0.1", port))
    wire.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += wire.recv(1024)
    assert received.split()[1] in (b"200", b"206"), received
    return wire, received


def rest(wire: socket.socket, received: bytes) -> Transfer:
    """Read until the other side closes the connection."""
    reset = False
    parts = [received]
    try:
        while part := wire.recv(2**20):
            parts.append(part)
    except ConnectionResetError:
        reset = True
    finally:
        wire.close()
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = fields.get(b"content-length")
    chunked = fields.get(b"transfer-encoding") == b"chunked"
    return Transfer(None if length is None else int(length), chunked, body, reset)


REQUESTS = {
    "a complete file": (COMPLETE, ""),
    "a part": (COMPLETE, "Range: bytes=1-\r\n"),
    "several parts": (COMPLETE, PARTS),
    "a compressed text": (f"{ROUTE}/files/m/text.txt", "Accept-Encoding: gzip\r\n"),
    "a thumbnail": (f"{ROUTE}/files/m/image.png?w=1700&fmt=png", ""),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_killed_worker_leaves_a_truncated_body(folder: Path, kind: str) -> None:
    with Running(folder) as server:
        wire, received = start_request(server.port, *REQUESTS[kind])
        os.kill(processes(server.process.pid)[-1], signal.SIGKILL)
        transfer = rest(wire, received)
        assert transfer.is_truncated
        assert not transfer.chunked
        assert transfer.length is not None
        assert len(transfer.body) < transfer.length


def test_every_response_has_a_content_length(folder: Path) -> None:
    """Otherwise the end of a connection could be mistaken for the end of a body."""
    others = {
        "the gallery": (f"{ROUTE}/gallery/m/", ""),
        "its list": (f"{ROUTE}/gallery/m/list?n=200", ""),
        "metrics": (f"{ROUTE}/metrics", ""),
    }
    with Running(folder) as server:
        for target, field in {**REQUESTS, **others}.values():
            wire, received = start_request(server.port, target, f"{field}Connection: close\r\n")
            transfer = rest(wire, received)
            assert not transfer.chunked
            assert transfer.length == len(transfer.body)
            if target.endswith("list?n=200"):
                assert len(json.loads(transfer.body)["items"]) == 200
            if "gzip" in field:
                assert len(gzip.decompress(transfer.body)) == 12 * 2**20


@needs_node
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_node_host_never_ends_a_truncated_body_as_complete(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    """The host sends single ranges itself, so they are complete; others are truncated."""
    settings = {"COMFYUI_MOUNTS": f"m:{folder}", "COMFYUI_ACCESS_KEY": KEY}
    with Host(tmp_path, settings) as host:
        assert host.get(f"{ROUTE}/files/m/large.bin", Range="bytes=0-0").status_code == 206
        wire, received = start_request(host.port, *REQUESTS[kind])
        for pid in reversed(host.servers()):
            os.kill(pid, signal.SIGKILL)
        wire.sendall(b"")
        transfer = rest_of_keep_alive(wire, received)
        assert transfer.length is not None
        assert transfer.is_truncated is (kind == "several parts")
        assert host.get(f"{ROUTE}/files/m/large.bin", Range="bytes=0-0").status_code == 206


def rest_of_keep_alive(wire: socket.socket, received: bytes) -> Transfer:
    """Like ``rest``, for a server that may not close the connection after a complete body."""
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length, parts, count = int(fields[b"content-length"]), [body], len(body)
    reset = False
    while count < length:
        try:
            part = wire.recv(2**20)
        except ConnectionResetError:
            reset = True
            break
        if not part:
            break
        parts.append(part)
        count += len(part)
    wire.close()
    return Transfer(length, False, b"".join(parts), reset)


@needs_node
def test_a_killed_node_host_leaves_a_truncated_body(folder: Path, tmp_path: Path) -> None:
    settings = {"COMFYUI_MOUNTS": f"m:{folder}", "COMFYUI_ACCESS_KEY": KEY}
    with Host(tmp_path, settings) as host:
        assert host.get(f"{ROUTE}/files/m/large.bin", Range="bytes=0-0").status_code == 206
        wire, received = start_request(host.port, COMPLETE)
        host.process.kill()
        assert rest(wire, received).is_truncated


@pytest.fixture(scope="module", params=[8388608, 0], ids=["from Python", "by X-Accel-Redirect"])
def front(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[int, Running, bool]]:
    base = folder.parent
    settings = {
        "INPUT_SERVER_OFFLOAD": "x-accel:/protected",
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
    }
    with (
        Running(folder, **settings) as server,
        nginx_in_front(base, folder, server.url, request.param) as (url, _),
    ):
        yield int(url.rpartition(":")[2]), server, request.param == 0


@needs_nginx
def test_nginx_never_ends_a_truncated_body_as_complete(front: tuple[int, Running, bool]) -> None:
    port, server, _ = front
    wire, received = start_request(port, *REQUESTS["a compressed text"])
    os.kill(processes(server.process.pid)[-1], signal.SIGKILL)
    transfer = rest_of_keep_alive(wire, received)
    assert transfer.is_truncated or gzip.decompress(transfer.body)
