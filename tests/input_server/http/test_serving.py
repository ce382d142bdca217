"""The file server on real sockets: responses, hostile requests, logs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from input_server import register_routes
from input_server.errors import ConfigError
from input_server.mounts.mounts_setting import parse_mounts
from tests.input_server.hostile import KEY, ROUTE, exchange, folder, replay
from tests.project_copy import project
from tests.waiting import TIMEOUT


class Served:
    def __init__(self, base: Path, **environment: str) -> None:
        self.folder = folder(base)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "input_server", "--port", "0", "--stop-with-stdin"],
            cwd=project(),
            env={
                **os.environ,
                "COMFYUI_MOUNTS": f"m:{self.folder}",
                "COMFYUI_ACCESS_KEY": KEY,
                "DebugMode": "true",
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert self.process.stdout is not None
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.url = self.process.stdout.readline().split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def get(self, path: str, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/comfyui_server/pw={KEY}/files/m/{path}"
        return requests.get(url, headers=named, timeout=TIMEOUT)

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            self.log.extend(self.process.stderr)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    server.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="the corpus holds POSIX links and pipes")
def test_hostile_requests_are_refused(served: Served) -> None:
    first = served.get("nums.txt").headers
    problems = replay(served.port, ROUTE, first["ETag"], first["Last-Modified"])
    assert problems == []


def test_a_file_is_sent_with_its_type_and_security_headers(served: Served) -> None:
    answer = served.get("name.txt")
    assert answer.text == "tobi"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "filename*=UTF-8''name.txt" in answer.headers["Content-Disposition"]
    named = served.get("%D9%85%D9%84%D9%81.txt").headers["Content-Disposition"]
    assert "filename*=UTF-8''%D9%85%D9%84%D9%81.txt" in named


def test_ranges_conditions_and_head(served: Served) -> None:
    part = served.get("nums.txt", Range="bytes=2-4")
    assert (part.status_code, part.text) == (206, "345")
    assert part.headers["Content-Range"] == "bytes 2-4/9"
    unsatisfiable = served.get("nums.txt", Range="bytes=99-")
    assert (unsatisfiable.status_code, unsatisfiable.headers["Content-Range"]) == (416, "bytes */9")
    assert served.get("nums.txt", If_None_Match=part.headers["ETag"]).status_code == 304
    url = f"{served.url}/comfyui_server/pw={KEY}/files/m/nums.txt"
    head = requests.head(url, timeout=TIMEOUT)
    assert (head.content, head.headers["Content-Length"]) == (b"", "9")
    assert requests.post(url, timeout=TIMEOUT).headers["Allow"] == "GET, HEAD"


def test_a_changed_file_has_another_etag(served: Served) -> None:
    path = served.folder / "changing.txt"
    path.write_text("one", "utf-8")
    first = served.get("changing.txt").headers["ETag"]
    path.write_text("two", "utf-8")
    os.utime(path, ns=(1, 10**18))
    assert served.get("changing.txt").headers["ETag"] != first
    old = served.get("changing.txt", Range="bytes=0-0", If_Range=first)
    assert (old.status_code, old.text) == (200, "two")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/comfyui_server/pw=wrong/files/m/name.txt", 401),
        ("/comfyui_server/pw=KEYx/files/m/name.txt", 401),
        ("/comfyui_server/files/m/name.txt", 401),
        (f"/comfyui_server/pw={KEY}/files/nomount/name.txt", 404),
        (f"/comfyui_server/pw={KEY}/files/m/absent.txt", 404),
        (f"/comfyui_server/pw={KEY}/files/m", 400),
        (f"/comfyui_server/pw={KEY}/files/m/", 400),
        (f"/comfyui_server/pw={KEY}/files/m/%2e%2e/data-secret/secret.txt", 403),
        ("/healthz", 200),
        ("/", 404),
    ],
)
def test_statuses_of_refused_requests(served: Served, path: str, status: int) -> None:
    assert exchange(served.port, "GET", path, {}).split()[1] == str(status).encode()


def test_the_log_contains_no_key(tmp_path: Path) -> None:
    server = Served(tmp_path, COMFYUI_ACCESS_KEY="verysecret")
    for attempt in ("pw=verysecret", "pw%3Dverysecret"):
        requests.get(f"{server.url}/comfyui_server/{attempt}/files/m/name.txt", timeout=TIMEOUT)
    assert server.stop() == 0
    assert "pw=…/files/m/name.txt 200" in "".join(server.log)
    assert "verysecret" not in "".join(server.log)


def test_the_server_does_not_start_without_a_key() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "input_server", "--port", "0"],
        cwd=project(),
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 2
    assert "COMFYUI_ACCESS_KEY" in done.stderr


def test_mounts_are_split_at_the_first_colon(tmp_path: Path) -> None:
    one, two = parse_mounts(r"pics:D:\My Pics;out:output", tmp_path)
    assert (one.alias, one.folder.parts[-1]) in {("pics", r"D:\My Pics"), ("pics", "My Pics")}
    assert two.folder == tmp_path / "output"
    for wrong in ("noalias", ":x", "a:", "a b:c", "a:x;a:y", ";"):
        with pytest.raises(ConfigError, match="COMFYUI_MOUNTS"):
            parse_mounts(wrong, tmp_path)


class Registry:
    """A minimal registry with Express's interface."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def get(self, pattern: str, handler: Any) -> None:
        self.handlers[pattern] = handler

    def ask(self, method: str = "GET", **params: str) -> dict[str, Any]:
        sent: dict[str, Any] = {"headers": {}}
        res = SimpleNamespace(
            status=lambda code: sent.update(status=code),
            set=lambda name, value: sent["headers"].update({name: value}),
            send=lambda body: sent.update(body=body),
            send_file=lambda path, **span: sent.update(path=path, **span),
        )
        req = SimpleNamespace(params=params, query={}, headers={}, method=method, ip="127.0.0.1")
        self.handlers["/comfyui_server/:auth/files/:alias/*path"](req, res)
        return sent


def test_routes_are_registered_on_an_express_like_registry(tmp_path: Path) -> None:
    app, inside = Registry(), folder(tmp_path)
    config = {"COMFYUI_MOUNTS": "m:data", "COMFYUI_ACCESS_KEY": "密钥"}
    register_routes(app, config, str(tmp_path))
    sent = app.ask(auth="pw=密钥", alias="m", path="sub/index.html")
    assert (sent["status"], sent["path"]) == (200, inside / "sub" / "index.html")
    assert app.ask(auth="pw=wrong", alias="m", path="name.txt")["status"] == 401
    assert app.ask(auth="pw=密钥", alias="m", path="../data-secret/secret.txt")["status"] == 403
    assert app.ask("DELETE", auth="pw=密钥", alias="m", path="name.txt")["status"] == 405
