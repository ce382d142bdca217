"""The sample configuration on a real nginx: Python decides, nginx sends."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import requests
from PIL import Image

from benchmarks.nginx import MAX_CACHED, nginx_in_front
from tests.input_server.running import KEY, Running
from tests.waiting import TIMEOUT

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="nginx is not installed; `.ci/run` installs it on Debian"
)


BEHIND = {
    "INPUT_SERVER_OFFLOAD": "x-accel:/protected",
    "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1",
}


@dataclass(frozen=True)
class Front:
    """nginx in front of a running server, configured as in the sample."""

    url: str

    def get(self, path: str, key: str = KEY, **headers: str) -> requests.Response:
        return self._ask("GET", path, key, headers)

    def head(self, path: str, key: str = KEY, **headers: str) -> requests.Response:
        return self._ask("HEAD", path, key, headers)

    def _ask(
        self, method: str, path: str, key: str, headers: Mapping[str, str]
    ) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/comfyui_server/pw={key}/files/m/{path}"
        return requests.request(method, url, headers=named, timeout=TIMEOUT)


@pytest.fixture(scope="module", params=[MAX_CACHED, 0], ids=["cached", "by X-Accel-Redirect"])
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """The sample, and a variant in which no file is small enough for the cache."""
    base = tmp_path_factory.mktemp("nginx")
    base.chmod(0o755)
    folder = base / "m"
    (folder / "图 sub").mkdir(parents=True)
    (folder / "图 sub" / "a #1 b.png").write_bytes(image_bytes())
    (folder / "large.bin").write_bytes(os.urandom(3 * 2**20))
    (folder / "text.txt").write_text("a line\n" * 1000, "utf-8")
    (folder / "page.html").write_text("<script>alert(1)</script>", "utf-8")
    (base / "secret.txt").write_text("SECRET", "utf-8")
    (folder / "link.txt").symlink_to("../secret.txt")
    with (
        Running(folder, **BEHIND) as server,
        nginx_in_front(base, folder, server.url, request.param) as (url, _),
    ):
        yield Front(url)


def image_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((200, 100), 80).save(buffer, "PNG")
    return buffer.getvalue()


ODD = "%E5%9B%BE%20sub/a%20%231%20b.png"


def test_a_file_is_sent_complete_with_its_security_headers(front: Front) -> None:
    for _ in range(3):
        answer = front.get(ODD)
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).size == (200, 100)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "public, max-age=3600"
        assert "a%20%231%20b.png" in answer.headers["Content-Disposition"]
    assert front.get("page.html").headers["Content-Disposition"].startswith("attachment")


def test_nginx_handles_ranges_and_conditions(front: Front) -> None:
    for _ in range(3):
        complete = front.get("large.bin")
        assert len(complete.content) == 3 * 2**20
        part = front.get("large.bin", Range="bytes=1000000-1000009")
        assert (part.status_code, part.content) == (206, complete.content[1000000:1000010])
        assert front.get("large.bin", Range="bytes=4000000-").status_code == 416
        assert front.get("large.bin", If_None_Match=complete.headers["ETag"]).status_code == 304


@pytest.mark.parametrize("name", ["large.bin", ODD])
@pytest.mark.parametrize("field", ["bytes=0-9", "bytes=99999999-", "lines=1"])
def test_head_ignores_the_range_header(front: Front, name: str, field: str) -> None:
    """RFC 9110, 14.2."""
    size = len(front.get(name).content)
    expected = {"Content-Length": str(size), "Accept-Ranges": "bytes"}
    for _ in range(3):
        answer = front.head(name, Range=field)
        assert (answer.status_code, answer.headers.get("Content-Range")) == (200, None)
        assert {field: answer.headers[field] for field in expected} == expected
        assert answer.headers["Last-Modified"] == front.get(name).headers["Last-Modified"]
    assert front.head(name, key="wrong", Range=field).status_code == 401


def test_variants_and_compressed_texts_are_sent_from_the_cache_folder(front: Front) -> None:
    small = front.get(f"{ODD}?w=50&fmt=webp")
    assert Image.open(io.BytesIO(small.content)).size == (50, 25)
    assert small.headers["Content-Type"] == "image/webp"
    raw = requests.get(
        f"{front.url}/comfyui_server/pw={KEY}/files/m/text.txt",
        headers={"Accept-Encoding": "gzip"},
        stream=True,
        timeout=TIMEOUT,
    )
    assert raw.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw.raw.read(decode_content=False)) == b"a line\n" * 1000
    assert front.get("text.txt", Accept_Encoding="identity").content == b"a line\n" * 1000


def test_cached_responses_are_per_key_and_errors_come_from_python(front: Front) -> None:
    assert front.get(ODD).status_code == 200
    wrong = front.get(ODD, key="wrong")
    assert (wrong.status_code, wrong.text) == (401, "Unauthorized.")
    assert front.get("absent.png").text == "Not found."
    assert front.get("link.txt").status_code == 403
    assert front.get(".hidden").status_code == 403
    bad = front.get("large.bin?w=10")
    assert bad.status_code == 400
    assert "image" in bad.text


@pytest.mark.parametrize("path", ["/protected/m/large.bin", "/protected/_cache/x", "/protected/"])
def test_internal_locations_are_not_accessible(front: Front, path: str) -> None:
    assert requests.get(front.url + path, timeout=TIMEOUT).status_code == 404


def test_a_client_cannot_set_the_offload_headers(front: Front) -> None:
    answer = front.get("large.bin", X_Offload_Keeps="1")
    assert len(answer.content) == 3 * 2**20
    assert not {name for name in answer.headers if name.startswith("X-Accel")}


@pytest.mark.parametrize(
    ("case", "cached"),
    [
        ("a file", True),
        ("a file that browsers may not cache", False),
        ("a private mount", False),
        ("a deny list", False),
    ],
)
def test_which_responses_nginx_caches(
    tmp_path_factory: pytest.TempPathFactory, case: str, cached: bool
) -> None:
    base = tmp_path_factory.mktemp("caching")
    base.chmod(0o755)
    settings = dict(BEHIND)
    if case == "a deny list":
        (base / "deny.txt").write_text("192.0.2.0/24", "utf-8")
        settings["INPUT_SERVER_DENY_FILE"] = str(base / "deny.txt")
    elif case == "a file that browsers may not cache":
        mount = {"alias": "m", "folder": str(base / "m"), "cache_seconds": 0}
        (base / "mounts.json").write_text(json.dumps({"mounts": [mount]}), "utf-8")
    elif case == "a private mount":
        mount = {"alias": "m", "folder": str(base / "m"), "public": False}
        (base / "mounts.json").write_text(json.dumps({"mounts": [mount]}), "utf-8")
    with (
        Running(base / "m", **settings) as server,
        nginx_in_front(base, server.folder, server.url) as (url, _),
    ):
        (server.folder / "a.txt").write_text("text", "utf-8")
        assert [Front(url).get("a.txt").text for _ in range(6)] == ["text"] * 6
        requested = sum(
            float(line.split()[-1])
            for line in server.get("/metrics").text.splitlines()
            if line.startswith("comfyui_files_requests_total")
        )
        assert requested == (2.0 if cached else 6.0)


def test_a_wrong_key_behind_nginx_counts_once_for_the_real_client(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    base = tmp_path_factory.mktemp("guessing")
    base.chmod(0o755)
    settings = {"INPUT_SERVER_LOCK_EXEMPT": "none", "INPUT_SERVER_LOCK_AFTER": "9"}
    with (
        Running(base / "m", **BEHIND, **settings) as server,
        nginx_in_front(base, server.folder, server.url) as (url, _),
    ):
        statuses = [
            requests.get(f"{url}/comfyui_server/pw=x{n}/files/m/a", timeout=TIMEOUT).status_code
            for n in range(4)
        ]
        assert statuses == [401] * 4
        metrics = server.get("/metrics").text
        assert 'comfyui_files_failures_total{why="wrong key"} 4.0' in metrics
        while (status := Front(url).get("a", key=f"y{len(statuses)}").status_code) == 401:
            statuses.append(status)
            assert len(statuses) < 30
        assert status == 429
        assert Front(url).get("a").status_code == 429


def test_nginx_limits_the_connections_of_a_client(front: Front) -> None:
    """One address may have 200 downloads at once; the next one gets 503."""
    port = int(front.url.rpartition(":")[2])
    request = f"GET /comfyui_server/pw={KEY}/files/m/large.bin HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        statuses = []
        for _ in range(202):
            wire = stack.enter_context(socket.socket())
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.settimeout(50)
            wire.connect(("127.0.0.1", port))
            wire.sendall(request.encode())
            statuses.append(wire.recv(1000).split()[1])
        assert statuses == [b"200"] * 200 + [b"503"] * 2
