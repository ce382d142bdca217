"""The file server inside a Node host: real Express, real sockets, processes that are killed."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import png
from tests.input_server.hostile import KEY, ROUTE, exchange, folder, replay
from tests.input_server.hosts import HOST_KEY, VERSIONS, Host, ended, needs_node
from tests.input_server.running import PROJECT, open_files
from tests.waiting import TIMEOUT, wait_until

PACKAGE = PROJECT / "input_server"
GATE = f"/pw={KEY}/files/comfyui"
BEARER = {"Authorization": f"Bearer {HOST_KEY}"}
LARGE = 50 * 2**20

on_linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="looks at Linux's processes")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links, pipes and signals")


def settings_for(base: Path, **more: Any) -> dict[str, Any]:
    return {"COMFYUI_MOUNTS": f"m:{base / 'data'}", "COMFYUI_ACCESS_KEY": KEY, **more}


def filled_folder(base: Path) -> Path:
    """The folder of hostile names (if symlinks can be created), with more files in it."""
    inside = folder(base)
    (inside / "图 片").mkdir()
    (inside / "图 片" / "猫 #1&.txt").write_text("喵", "utf-8")
    return inside


@pytest.fixture(scope="module", params=VERSIONS)
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A shared host without authentication, as VCPDistributedServer; tests must not change it."""
    base = tmp_path_factory.mktemp("host")
    filled_folder(base)
    with Host(base, settings_for(base), version=request.param) as running:
        yield running


@pytest.fixture(scope="module", params=VERSIONS)
def gated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host with the gate of VCPToolBox, and its own file server after the plugin."""
    base = tmp_path_factory.mktemp("gated")
    filled_folder(base)
    with Host(base, settings_for(base), version=request.param, kind="toolbox") as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a mount ``data`` in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "name.txt").write_text("tobi", "utf-8")
    return tmp_path


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files with a path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def python_that(place: Path, first: str) -> str:
    """A script in place of Python that runs other commands first, or instead."""
    path = place / "python"
    path.write_text(f'#!/bin/sh\n{first}\nexec "{sys.executable}" "$@"\n', "utf-8")
    path.chmod(0o755)
    return str(path)


@needs_node
@on_posix
@pytest.mark.parametrize("route", [ROUTE, GATE])
def test_hostile_requests_are_refused(host: Host, gated: Host, route: str) -> None:
    asked = host if route == ROUTE else gated
    first = asked.get(f"{route}/m/nums.txt").headers
    beginning = "" if route == ROUTE else "{P}"  # other rows contain the first URL themselves
    assert replay(asked.port, route, first["ETag"], first["Last-Modified"], beginning) == []


@needs_node
def test_a_file_has_the_headers_and_content_the_python_server_sends(host: Host) -> None:
    answer = host.get(f"{ROUTE}/m/name.txt")
    assert (answer.status_code, answer.text) == (200, "tobi")
    assert answer.headers["Content-Length"] == "4"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "filename*=UTF-8''name.txt" in answer.headers["Content-Disposition"]
    assert not [name for name in answer.headers if name.lower().startswith(("x-send", "x-bridge"))]


@needs_node
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("m/%E5%9B%BE%20%E7%89%87/%E7%8C%AB%20%231&.txt", "喵"),
        ("m/50%25off.txt", "half"),
        ("m/some%20thing.txt", "hey"),
        ("m/empty.txt", ""),
    ],
)
def test_unusual_names_and_an_empty_file_are_served(host: Host, path: str, text: str) -> None:
    for method in ("GET", "HEAD"):
        answer = requests.request(method, f"{host.url}{ROUTE}/{path}", timeout=TIMEOUT)
        assert answer.status_code == 200
        assert answer.headers["Content-Length"] == str(len(text.encode()))
        assert answer.content.decode() == (text if method == "GET" else "")


@needs_node
def test_ranges_and_conditions_are_evaluated_once(host: Host) -> None:
    path = f"{ROUTE}/m/nums.txt"
    part = host.get(path, Range="bytes=2-4")
    assert (part.status_code, part.text, part.headers["Content-Length"]) == (206, "345", "3")
    assert part.headers["Content-Range"] == "bytes 2-4/9"
    assert host.get(path, Range="bytes=-1").text == "9"
    several = host.get(path, Range="bytes=0-0,8-8")
    assert several.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert re.findall(rb"\r\n\r\n(\d)\r\n", several.content) == [b"1", b"9"]
    assert host.get(path, Range="bytes=99-").headers["Content-Range"] == "bytes */9"
    tag = part.headers["ETag"]
    unchanged = host.get(path, If_None_Match=tag)
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    assert host.get(path, If_Match='"other"').status_code == 412
    assert host.get(path, If_Range='"other"', Range="bytes=0-0").text == "123456789"
    assert host.get(path, If_Range=tag, Range="bytes=0-0").text == "1"


@needs_node
def test_responses_without_a_file_are_passed_through(host: Host) -> None:
    missing = host.get(f"{ROUTE}/m/absent.txt")
    assert (missing.status_code, missing.text) == (404, "Not found.")
    assert host.get("/comfyui_server/pw=wrong/files/m/name.txt").status_code == 401
    assert "comfyui_files_requests" in host.get(f"/comfyui_server/pw={KEY}/metrics").text
    refused = requests.post(f"{host.url}{ROUTE}/m/name.txt", json={"a": 1}, timeout=TIMEOUT)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    for target in (f"{ROUTE}/m/%zz", "/comfyui_server/%zz/files/m/name.txt"):
        answer = exchange(host.port, "GET", target, {})
        assert int(answer.split()[1]) in (401, 403, 404)
        assert b"node_modules" not in answer


@needs_node
def test_variants_and_the_gallery_work(host: Host, gated: Host) -> None:
    (host.base / "data" / "long.txt").write_text("long " * 1000, "utf-8")
    (host.base / "data" / "red.png").write_bytes(png(64, 48))
    text = host.get(f"{ROUTE}/m/long.txt", Accept_Encoding="gzip")
    assert (text.headers["Content-Encoding"], text.text) == ("gzip", "long " * 1000)
    assert int(text.headers["Content-Length"]) < 1000
    small = host.get(f"{ROUTE}/m/red.png?w=16&fmt=webp")
    assert small.headers["Content-Type"] == "image/webp"
    assert small.content[8:12] == b"WEBP"
    for page in (
        host.get(f"/comfyui_server/pw={KEY}/gallery/m/"),
        gated.get(f"{GATE}/gallery/m/"),
    ):
        assert page.headers["Content-Type"].startswith("text/html")


@needs_node
def test_a_large_file_arrives_complete(host: Host) -> None:
    path = host.base / "data" / "large.bin"
    content = secrets.token_bytes(2**20) * (LARGE // 2**20)
    path.write_bytes(content)
    seen, length = hashlib.sha256(), 0
    with requests.get(f"{host.url}{ROUTE}/m/large.bin", stream=True, timeout=TIMEOUT) as answer:
        assert answer.headers["Content-Length"] == str(LARGE)
        for chunk in answer.iter_content(2**18):
            seen.update(chunk)
            length += len(chunk)
    assert (length, seen.digest()) == (LARGE, hashlib.sha256(content).digest())
    end = host.get(f"{ROUTE}/m/large.bin", Range=f"bytes={LARGE - 1000}-")
    assert (end.status_code, end.content) == (206, content[-1000:])


@needs_node
def test_the_second_url_passes_a_gate_that_requires_a_bearer_token(gated: Host) -> None:
    assert "bearer" in gated.get(f"{ROUTE}/m/name.txt").text
    assert gated.get(f"{ROUTE}/m/name.txt", **BEARER).text == "tobi"
    assert gated.get(f"{GATE}/m/name.txt").text == "tobi"
    assert gated.get(f"{GATE}/m/absent.txt").text == "Not found."
    assert gated.get(f"{GATE}/m/nums.txt", Range="bytes=0-1").text == "12"
    head = requests.head(f"{gated.url}{GATE}/m/name.txt", timeout=TIMEOUT)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "4")
    posted = requests.post(
        f"{gated.url}{ROUTE}/m/name.txt", json=[], headers=BEARER, timeout=TIMEOUT
    )
    assert posted.status_code == 405


@needs_node
def test_an_unknown_key_is_passed_to_the_host(gated: Host) -> None:
    wrong = gated.get("/pw=wrong/files/comfyui/m/name.txt")
    assert (wrong.status_code, wrong.text) == (401, "the host does not know that key")
    assert not {"x-content-type-options", "referrer-policy"} & {
        name.lower() for name in wrong.headers
    }
    own = gated.get(f"/pw={HOST_KEY}/files/comfyui/m/name.txt")
    assert (own.status_code, own.text) == (200, "the host's own comfyui/m/name.txt")
    assert gated.get(f"/pw={HOST_KEY}/files/else.txt").text == "the host's own else.txt"


@needs_node
@on_linux
@pytest.mark.parametrize("version", VERSIONS)
def test_a_reload_applies_new_settings_without_new_routes(place: Path, version: str) -> None:
    with Host(place, settings_for(place), version=version, kind="toolbox") as host:
        assert host.get(f"{GATE}/m/name.txt").text == "tobi"
        before = host.servers()
        host.do("shutdown")
        assert ended(before)
        host.do(
            "initialize", COMFYUI_MOUNTS=f"other:{place / 'data'}", COMFYUI_ACCESS_KEY="new key"
        )
        assert host.get("/pw=new%20key/files/comfyui/other/name.txt").text == "tobi"
        assert host.get("/pw=new%20key/files/comfyui/m/name.txt").status_code == 404
        assert host.get(f"{GATE}/other/name.txt").text == "the host does not know that key"
        host.do("initialize")  # unchanged settings do not restart it
        after = host.servers()
        host.do("initialize", COMFYUI_ACCESS_KEY=KEY)  # without a preceding shutdown
        assert ended(after)
        assert host.get(f"{GATE}/other/name.txt").text == "tobi"


@needs_node
@on_linux
def test_a_request_after_shutdown_restarts_the_server(place: Path) -> None:
    with Host(place, settings_for(place)) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        before = host.servers()
        host.do("shutdown")
        assert ended(before)
        assert host.servers() == []
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        assert len(host.servers()) == len(before)


@needs_node
@on_linux
def test_loading_and_registering_twice_starts_one_server(place: Path) -> None:
    with Host(place, settings_for(place, INPUT_SERVER_LOCK_EXEMPT="none")) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        before = host.servers()
        host.do("load")
        host.do("registerRoutes")
        host.do("registerRoutes")
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        assert host.servers() == before
        assert host.get("/pw=wrong/files/comfyui/m/name.txt").status_code == 401
        metrics = host.get(f"/comfyui_server/pw={KEY}/metrics").text
        assert 'failures_total{why="wrong key"} 1.0' in metrics


@needs_node
@on_linux
@pytest.mark.parametrize("ready", [True, False], ids=["serving", "starting"])
def test_a_killed_host_leaves_no_processes_or_files(place: Path, short: Path, ready: bool) -> None:
    host = Host(place, settings_for(place), environment={"TMPDIR": str(short)})
    if ready:
        assert host.__enter__().get(f"{ROUTE}/m/name.txt").text == "tobi"
        assert len(mentioning(str(short))) == 2
    else:
        host.send("listen")
        wait_until(lambda: mentioning(str(short)))
    host.stop(kill=True)
    # a worker that has only just begun is given five seconds (serve.py, STOP_SECONDS)
    wait_until(lambda: not mentioning(str(short)))
    wait_until(lambda: ready <= (not list(short.iterdir())))


def mentioning(text: str) -> list[str]:
    """Processes with a text in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in place.read_bytes():
                found.append(place.parent.name)
        except OSError:
            continue
    return found


@needs_node
@on_linux
@pytest.mark.parametrize("which", [0, 1], ids=["the first process", "its worker"])
def test_the_next_request_works_after_a_kill(place: Path, which: int) -> None:
    with Host(place, settings_for(place)) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        before = host.servers()
        os.kill(before[which], signal.SIGKILL)
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        assert ended(before if which == 0 else before[1:])
        if which == 0:
            assert host.logged(" exited").endswith("The file server exited: SIGKILL")
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"


@needs_node
def test_a_missing_python_is_logged_and_requests_get_503(place: Path) -> None:
    config = settings_for(
        place, INPUT_SERVER_PYTHON="/no/such/python", COMFYUI_ACCESS_KEY="my own key"
    )
    with Host(place, config) as host:
        assert "did not start: /no/such/python was not found" in host.logged("ComfyUI_InputServer")
        for path in (
            "/comfyui_server/pw=my%20own%20key/files/m/name.txt",
            "/pw=x/files/comfyui/m/a",
        ) * 15:
            answer = host.get(path)
            assert (answer.status_code, answer.headers["Cache-Control"]) == (503, "no-store")
            assert answer.text.startswith("The file server is not available now.")
        assert len(host.log) < 10  # with backoff, not for each of the 30
        assert len(set(host.log)) == 1
        assert "my own key" not in host.log[0]
        assert requests.head(f"{host.url}{ROUTE}/m/a", timeout=TIMEOUT).content == b""


@needs_node
@on_posix
def test_missing_packages_are_logged_with_the_command_to_install_them(place: Path) -> None:
    python = python_that(place, f'exec "{sys.executable}" -S "$@"')
    with Host(place, settings_for(place, INPUT_SERVER_PYTHON=python)) as host:
        line = host.logged("is missing")
        assert "-m pip install -r" in line
        assert "requirements.txt" in line


@needs_node
@on_posix
def test_a_server_that_always_fails_is_restarted_with_backoff(place: Path) -> None:
    python = python_that(place, f"echo >> {place}/starts; echo it is broken >&2; exit 3")
    with Host(place, settings_for(place, INPUT_SERVER_PYTHON=python)) as host:
        assert host.logged("did not start").endswith("did not start: it is broken")
        assert {host.get(f"{ROUTE}/m/name.txt").status_code for _ in range(40)} == {503}
        assert len((place / "starts").read_text()) < 10  # with backoff, not for each of the 40


@needs_node
@on_posix
def test_a_request_waits_for_a_starting_server(place: Path) -> None:
    python = python_that(place, "sleep 1")
    with Host(place, settings_for(place, INPUT_SERVER_PYTHON=python)) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"


@needs_node
@on_posix
@pytest.mark.parametrize("long", [False, True], ids=["on a socket", "on a port"])
def test_a_published_example_key_is_refused(place: Path, long: bool) -> None:
    temp = place / ("x" * 100 if long else "x")
    temp.mkdir()
    config = settings_for(place, COMFYUI_ACCESS_KEY="123456")
    with Host(place, config, environment={"TMPDIR": str(temp)}) as host:
        line = host.logged("did not start")
        assert "published example key" in line
        assert "123456" not in line
        assert host.get("/comfyui_server/pw=123456/files/m/name.txt").status_code == 503


@needs_node
@on_linux
def test_without_a_socket_it_uses_a_port_that_requires_the_secret(place: Path) -> None:
    temp = place / ("x" * 100)
    temp.mkdir()
    with Host(place, settings_for(place), environment={"TMPDIR": str(temp)}) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        (port,) = listening_ports(host.servers())
        around = requests.get(f"http://127.0.0.1:{port}{ROUTE}/m/name.txt", timeout=TIMEOUT)
        assert (around.status_code, around.text) == (403, "Forbidden.")


def listening_ports(pids: list[int]) -> set[int]:
    """The TCP ports on which these processes listen (proc(5), /proc/net/tcp)."""
    links = [str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
    held = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1][-4:], 16) for row in rows if row[3] == "0A" and row[9] in held}


def guess(host: Host, key: str, source: str = "127.0.0.1", **headers: str) -> int:
    """Status of a request from another address of this machine."""
    link = http.client.HTTPConnection(
        "127.0.0.1", host.port, timeout=TIMEOUT, source_address=(source, 0)
    )
    named = {name.replace("_", "-"): value for name, value in {**BEARER, **headers}.items()}
    link.request("GET", f"/comfyui_server/pw={key}/files/m/name.txt", headers=named)
    status = link.getresponse().status
    link.close()
    return status


@needs_node
@on_linux
def test_a_client_that_guesses_keys_is_locked_out_by_its_real_address(place: Path) -> None:
    shut = {"INPUT_SERVER_LOCK_EXEMPT": "none", "INPUT_SERVER_LOCK_AFTER": 3}
    with Host(place, settings_for(place, **shut), kind="toolbox") as host:
        statuses = [guess(host, f"wrong{n}", X_Forwarded_For=f"10.0.0.{n}") for n in range(5)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert guess(host, KEY) == 429
        assert guess(host, KEY, X_Bridge_Client="127.0.0.9") == 429
        assert guess(host, KEY, source="127.0.0.2") == 200
        assert host.get(f"/pw={HOST_KEY}/files/comfyui/a").text == "the host's own comfyui/a"


@needs_node
@on_linux
def test_behind_a_trusted_proxy_the_forwarded_client_is_locked_out(place: Path) -> None:
    shut = {"INPUT_SERVER_LOCK_EXEMPT": "none", "INPUT_SERVER_LOCK_AFTER": 3}
    config = settings_for(place, **shut, INPUT_SERVER_TRUSTED_PROXIES="127.0.0.1")
    with Host(place, config) as host:
        assert [guess(host, f"no{n}", X_Forwarded_For="10.0.0.1") for n in range(5)][-1] == 429
        assert guess(host, KEY, X_Forwarded_For="10.0.0.1") == 429
        assert guess(host, KEY, X_Forwarded_For="10.0.0.2") == 200


@needs_node
def test_the_access_log_is_optional_and_contains_no_key(place: Path) -> None:
    with Host(place, settings_for(place, DebugMode=True)) as host:
        host.get(f"{ROUTE}/m/name.txt")
        host.logged("127.0.0.1 GET /comfyui_server/pw=…/files/m/name.txt 200 4")
        assert not [line for line in host.log if KEY in line.replace(str(place), "")]


class Replacer:
    """Replaces files continuously. Each version begins with the hash of the rest."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._paths = [folder / name for name in names]
        self._stop = threading.Event()
        for path in self._paths:
            self._replace(path)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            for path in self._paths:
                self._replace(path)

    def _replace(self, path: Path) -> None:
        content = os.urandom(secrets.choice([10, 5_000, 70_000, 300_000]))
        part = path.with_name(f".{path.name}")
        part.write_bytes(hashlib.sha256(content).hexdigest().encode() + content)
        part.replace(path)


def fetch_often(host: Host, names: tuple[str, ...], times: int, versions: list[bytes]) -> None:
    """Send many requests on one connection; raises for a truncated or mixed body."""
    link = http.client.HTTPConnection("127.0.0.1", host.port, timeout=TIMEOUT)
    for turn in range(times):
        link.request("GET", f"{ROUTE}/m/{names[turn % len(names)]}")
        answer = link.getresponse()
        body = answer.read()
        assert answer.status == 200
        assert len(body) == int(answer.headers["Content-Length"])
        assert hashlib.sha256(body[64:]).hexdigest().encode() == body[:64]
        versions.append(body[:64])
    link.close()


@needs_node
@on_linux
@pytest.mark.parametrize("version", VERSIONS)
def test_replaced_files_arrive_complete_and_are_closed(place: Path, version: str) -> None:
    names = ("a.bin", "b.bin", "c.bin", "d.bin")
    with Host(place, settings_for(place, INPUT_SERVER_STALL_SECONDS=8), version=version) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        pids = [host.process.pid, *host.servers()]
        before = open_files(pids)
        versions: list[bytes] = []
        problems: list[BaseException] = []

        def client() -> None:
            try:
                fetch_often(host, names, 40, versions)
            except BaseException as problem:
                problems.append(problem)

        with Replacer(place / "data", names):
            clients = [threading.Thread(target=client) for _ in range(50)]
            for thread in clients:
                thread.start()
            for thread in clients:
                thread.join(TIMEOUT)
        assert problems == []
        assert len(versions) == 2000
        assert len(set(versions)) > 20
        wait_until(lambda: open_files(pids) <= before + len(names) + 4)


@needs_node
@on_linux
def test_disconnected_and_stalled_clients_leave_nothing_open(place: Path) -> None:
    (place / "data" / "large.bin").write_bytes(b"x" * LARGE)
    with Host(place, settings_for(place, INPUT_SERVER_STALL_SECONDS=1)) as host:
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"
        pids = [host.process.pid, *host.servers()]
        several = f"Range: bytes=0-{LARGE // 2},{LARGE // 2 + 1}-\r\n"
        for header in ("", several):
            disconnected, stalled = (begin(host, "large.bin", header) for _ in range(2))
            assert openings(pids, "large.bin") > (0 if header else 2)
            disconnected.close()
            wait_until(lambda: openings(pids, "large.bin") <= 1)  # cached open
            wait_until(lambda: connections(host.port) == 0)
            assert received(stalled) < LARGE
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"


def openings(pids: list[int], name: str) -> int:
    """Number of descriptors these processes have for a file."""
    found = 0
    for link in (link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):
            found += link.readlink().name == name
    return found


def connections(port: int) -> int:
    """Number of clients of a server (proc(5), /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def begin(host: Host, name: str, header: str = "") -> socket.socket:
    """A connection that has received the start of a response."""
    wire = socket.create_connection(("127.0.0.1", host.port), timeout=TIMEOUT)
    wire.sendall(f"GET {ROUTE}/m/{name} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
    assert wire.recv(1000).startswith(b"HTTP/1.1 20")
    return wire


def received(wire: socket.socket) -> int:
    """Number of bytes received until the other side closes."""
    wire.settimeout(TIMEOUT)
    length = 0
    with wire, suppress(ConnectionResetError):
        while chunk := wire.recv(2**20):
            length += len(chunk)
    return length


@needs_node
@on_posix
def test_a_file_truncated_while_it_is_sent_closes_the_connection(place: Path) -> None:
    path = place / "data" / "large.bin"
    path.write_bytes(b"x" * LARGE)
    with Host(place, settings_for(place)) as host:
        wire = begin(host, "large.bin")
        os.truncate(path, LARGE // 2)
        assert received(wire) < LARGE
        assert host.get(f"{ROUTE}/m/name.txt").text == "tobi"


@needs_node
@on_posix
def test_a_copy_in_a_host_finds_its_python_key_and_folders(tmp_path: Path) -> None:
    base = tmp_path / "宿主 host"
    plugin, plugin_folder = base / "Plugin" / "ComfyUI_InputServer", base / "Plugin" / "comfyui"
    ignore = shutil.ignore_patterns("__pycache__", "config.env")
    shutil.copytree(PACKAGE, plugin, ignore=ignore)
    (plugin_folder / "output").mkdir(parents=True)
    (plugin_folder / "output" / "图.txt").write_text("from the plugin next to it", "utf-8")
    (plugin_folder / "comfyui_plugin.py").write_text("", "utf-8")
    (plugin_folder / "config.env").write_text("FILE_SERVER_ACCESS_KEY=the-key-of-both\n", "utf-8")
    (plugin_folder / ".venv" / "bin").mkdir(parents=True)
    python_that(plugin_folder / ".venv" / "bin", "")
    (base / "AppData" / "文件").mkdir(parents=True)
    (base / "AppData" / "文件" / "a.txt").write_text("below the host", "utf-8")
    absent = dict.fromkeys(
        ("COMFYUI_MOUNTS_FILE", "INPUT_SERVER_CACHE_DIR", "INPUT_SERVER_BASE"), ""
    )
    absent["INPUT_SERVER_PYTHON"] = "0"  # as a panel saves what was not filled in
    with Host(base, absent, kind="toolbox", plugin=plugin) as host:
        gate = "/pw=the-key-of-both/files/comfyui"
        assert host.get(f"{gate}/output/%E5%9B%BE.txt").text == "from the plugin next to it"
        host.do("shutdown")
        host.do("initialize", COMFYUI_MOUNTS="rel:AppData/文件")
        assert host.get(f"{gate}/rel/a.txt").text == "below the host"


@needs_node
def test_register_routes_has_the_parameters_that_hosts_pass(host: Host) -> None:
    assert host.do("parameters") == 3  # with four, VCPToolBox passes another second argument


def test_the_manifest_declares_a_service_loaded_before_the_hosts_image_server() -> None:
    manifest = json.loads((PACKAGE / "plugin-manifest.json").read_text("utf-8"))
    bridge = (PACKAGE / "bridge.js").read_text("utf-8")
    assert "settings.INPUT_SERVER_PYTHON" in bridge
    assert (manifest["pluginType"], manifest["communication"]["protocol"]) == ("service", "direct")
    assert (PACKAGE / manifest["entryPoint"]["script"]).is_file()
    assert manifest["name"] == "ComfyUI_InputServer" < "ImageFileServer"
