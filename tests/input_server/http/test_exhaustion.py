"""Exhausted descriptors or memory are 503, never 404."""

from __future__ import annotations

import errno
import http.client
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from input_server.http.handler import FileServer
from input_server.http.request import HttpRequest
from input_server.mounts import disk_usage, open_files
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFileCache, descriptor_limit
from input_server.mounts.resolve import Exhausted, Missing, is_exhausted, locate, open_located_file
from input_server.settings import read
from input_server.urls import parse
from tests.input_server.running import KEY, Running, processes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits another process (prlimit)")
CODES = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS]


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def server(tmp_path: Path) -> FileServer:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.bin").write_bytes(b"a")
    config = read(
        {
            "COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}",
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS_FILE": str(tmp_path / "mounts.json"),
        },
        tmp_path,
    )
    return FileServer(config)


def status(server: FileServer, name: str = "a.bin") -> tuple[int, str | None]:
    route = parse(f"/comfyui_server/pw={KEY}/files/m/{name}")
    reply = server.answer(HttpRequest("GET", route, {}, {}, "192.0.2.1"))
    if reply.file is not None:
        server.files.release(reply.file)
    return reply.status, reply.headers.get("Retry-After")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("call", ["open", "fstat", "read"])
def test_exhausted_resources_are_503_in_every_system_call(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    assert status(server) == (200, None)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        assert status(server) == (503, "5")
    assert status(server) == (200, None)
    assert status(server, "absent.bin") == (404, None)


@pytest.mark.parametrize("code", CODES)
def test_exhausted_resources_are_503_when_resolving_a_path(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "resolve", failing(code))
        assert status(server) == (503, "5")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", failing(code))
        assert status(server) == (503, "5")


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT, errno.EIO, errno.ELOOP])
def test_other_errors_are_404(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(code))
        assert status(server) == (404, None)


def test_a_memory_error_is_503(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(server.files, "acquire", fail)
    assert status(server) == (503, "5")
    monkeypatch.setattr(server.files, "acquire", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        status(server)


@pytest.mark.parametrize("code", CODES)
def test_a_walk_without_descriptors_raises_instead_of_skipping_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing(code))
        with pytest.raises(Exhausted):
            list(disk_usage.walk(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing(errno.EACCES))
        with pytest.raises(Missing):
            list(disk_usage.walk(tmp_path))
    assert [entry.path for entry in disk_usage.walk(tmp_path)] == ["a.bin"]


def test_locating_and_opening_distinguish_missing_from_exhausted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    path, root = locate(tmp_path, ("a.bin",))
    monkeypatch.setattr(os, "open", failing(errno.EMFILE))
    with pytest.raises(Exhausted):
        open_located_file(path, root)
    monkeypatch.setattr(os, "open", failing(errno.EACCES))
    with pytest.raises(Missing):
        open_located_file(path, root)


def test_windows_error_codes_of_exhausted_resources() -> None:
    problem = OSError(errno.EINVAL, "Insufficient system resources")
    assert not is_exhausted(problem)
    problem.winerror = 1450  # type: ignore[attr-defined,unused-ignore]
    assert is_exhausted(problem)


# -- a process with a lowered limit ---------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("exhausted") / "m"
    folder.mkdir()
    (folder / "known.bin").write_bytes(bytes(300_000))
    (folder / "new.bin").write_bytes(b"new")
    Image.new("RGB", (50, 50)).save(folder / "image.png")
    with Running(folder) as server:
        yield server


@LINUX
def test_a_worker_without_descriptors_responds_503_and_recovers(running: Running) -> None:
    import resource

    worker = processes(running.process.pid)[-1]
    wire = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)

    def ask(path: str) -> tuple[int, str | None, bytes]:
        wire.request("GET", f"/comfyui_server/pw={KEY}/{path}")
        answer = wire.getresponse()
        return answer.status, answer.getheader("Retry-After"), answer.read()

    assert ask("files/m/known.bin") == (200, None, bytes(300_000))
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        for path in ("files/m/new.bin", "files/m/image.png?w=10", "gallery/m/list"):
            assert ask(path)[:2] == (503, "5"), path
        assert ask("files/m/known.bin") == (200, None, bytes(300_000)), "it is cached"
        assert ask("files/m/absent.bin")[0] == 404
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    assert ask("files/m/new.bin") == (200, None, b"new")
    assert ask("files/m/image.png?w=10")[0] == 200
    assert ask("gallery/m/list")[0] == 200
    wire.close()


# -- replaced files that stay open -----------------------------------------------------------------


def replace(folder: Path, number: int) -> None:
    (folder / ".part").write_bytes(b"%d" % number)
    (folder / ".part").replace(folder / "a.bin")


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.skipif(os.name != "posix", reason="on Windows no file is held open")
def test_the_number_of_open_replaced_files_is_limited(tmp_path: Path) -> None:
    files, mount = OpenFileCache(max_cached=4, most=10), Mount("m", tmp_path)
    held = []
    for number in range(40):
        replace(tmp_path, number)
        file = files.acquire(mount, ("a.bin",))
        assert file.read(0, 9) == b"%d" % number
        files.release(file)
        held.append(file.cached)
        assert files.count <= 10
    assert held == [True] * 10 + [False] * 30
    files.close()
    assert files.count == 0


@pytest.mark.skipif(os.name != "posix", reason="on Windows no file is held open")
def test_the_oldest_replaced_files_are_closed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_files, "PINNED_SECONDS", -1.0)
    files, mount = OpenFileCache(max_cached=2, most=4), Mount("m", tmp_path)
    found = []
    for number in range(8):
        replace(tmp_path, number)
        found.append(files.acquire(mount, ("a.bin",)))
        if number:
            files.release(found[-1])
    assert files.count <= 4
    assert found[0].read(0, 9) == b"0", "it is still in use"
    assert found[-1].cached
    assert not is_open(found[1].descriptor) or found[1].descriptor == found[-1].descriptor
    files.release(found[0])
    files.close()


@pytest.mark.skipif(os.name != "posix", reason="on Windows no file is held open")
def test_a_replaced_file_stays_open_for_60_seconds_or_5_when_descriptors_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for most, seconds in ((100, 60.0), (1, 5.0)):
        files, mount = OpenFileCache(max_cached=2, most=max(2, most)), Mount("m", tmp_path)
        replace(tmp_path, 1)
        first = files.acquire(mount, ("a.bin",))
        files.release(first)
        for number in (2, 3):
            replace(tmp_path, number)
            files.release(files.acquire(mount, ("a.bin",)))
        stamp = os.fstat(first.descriptor).st_ino
        for passed, open_ in ((seconds - 0.5, True), (1.0, False)):
            now[0] += passed
            replace(tmp_path, 4)
            files.release(files.acquire(mount, ("a.bin",)))
            files.sweep()
            is_same = is_open(first.descriptor) and os.fstat(first.descriptor).st_ino == stamp
            assert is_same is open_
        files.close()


def test_a_quarter_of_the_descriptors_is_for_cached_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(open_files, "descriptor_limit", lambda: 40)
    files, mount = OpenFileCache(max_cached=256), Mount("m", tmp_path)
    for number in range(30):
        (tmp_path / f"{number}.bin").write_bytes(b"x")
        files.release(files.acquire(mount, (f"{number}.bin",)))
    assert files.count == 10
    files.close()


def test_the_descriptor_limit_is_the_systems() -> None:
    try:
        import resource
    except ImportError:
        assert descriptor_limit() == open_files.WINDOWS_DESCRIPTORS
    else:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert descriptor_limit() == (2**20 if soft == resource.RLIM_INFINITY else soft)


@pytest.mark.skipif(os.name != "posix", reason="on Windows no file is held open")
def test_a_file_is_closed_seconds_after_its_last_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drive with an open file cannot be unmounted."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    files, mount = OpenFileCache(max_cached=4), Mount("m", tmp_path)
    replace(tmp_path, 1)
    file, again = (files.acquire(mount, ("a.bin",)) for _ in range(2))
    assert file is again
    files.release(file)
    now[0] += 100
    files.sweep()
    assert again.read(0, 9) == b"1", "it is still being sent"
    files.release(again)
    now[0] += open_files.PINNED_SECONDS - 0.1
    files.sweep()
    assert files.count == 1, "native code may open it yet"
    now[0] += 0.2
    files.sweep()
    assert files.count == 0
    assert not is_open(file.descriptor)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file.descriptor)
    files.release(files.acquire(mount, ("a.bin",)))
    files.close()
