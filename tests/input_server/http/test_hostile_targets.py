"""More hostile requests: other URLs, queries and headers."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.input_server.hostile import CANARY, KEY, exchange, folder
from tests.input_server.running import Running

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the folder contains symlinks and pipes"
)

BASE = f"/comfyui_server/pw={KEY}"
OUT = (
    "../data-secret/secret.txt",
    "..%2fdata-secret%2fsecret.txt",
    "%2e%2e/data-secret/secret.txt",
    "..%5cdata-secret%5csecret.txt",
    "....//data-secret/secret.txt",
    "link_out.txt",
    "linkdir/secret.txt",
    ".hidden.txt",
    ".mine/name.txt",
    "sub/.hidden",
    "name.txt%00.png",
    "%00",
    "fifo",
    "loop",
    "sub",
    "sub/",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cWindows%5cwin.ini",
    "name.txt::$DATA",
    "CON",
    "name.txt.",
    "name.txt%20",
    "name~1.txt",
    "%c0%ae%c0%ae/data-secret/secret.txt",
    "%ff%fe",
    "%zz",
    "%",
    "a" * 300,
    "a/" * 200 + "x",
)
TARGETS = [
    *(f"/pw={KEY}/files/comfyui/m/{path}" for path in OUT),
    *(f"{BASE}/files/m/{path}?w=10&fmt=webp" for path in OUT),
    *(f"{BASE}/gallery/m/info?path={path}" for path in OUT),
    *(f"{BASE}/gallery/{path}/list" for path in OUT),
    *(f"/comfyui_server/files/m/{path}?exp=9999999999&sig=x" for path in OUT),
    f"{BASE}/gallery/m/list?after=../../etc",
    f"{BASE}/gallery/m/list?after=-99999999999999999999.0000000000000000",
    f"{BASE}/gallery/m/list?n=99999999999999",
    f"{BASE}/gallery/m/list?n=-1",
    f"{BASE}/gallery/m/list?q=" + "x" * 3000,
    f"{BASE}/gallery/m/info?path=" + "../" * 500,
    f"{BASE}/gallery/m/gallery.html",
    f"{BASE}/gallery/m/../../files/m/.hidden.txt",
    f"{BASE}/gallery/_cache/list",
    f"{BASE}/files/_cache/x",
    f"{BASE}/files/m/name.txt?w=999999999999999999999",
    f"{BASE}/files/m/name.txt?fmt=%00",
    f"{BASE}/files/m/x.svg?fmt=png&w=10",
    f"{BASE}/files/m/x.html?fmt=png",
    f"{BASE}/metrics/../files/m/.hidden.txt",
    f"{BASE}/metrics/x",
    "/metrics/x",
    "/healthz/../comfyui_server",
    "/comfyui_server",
    "/comfyui_server/",
    "/comfyui_server/files",
    "/comfyui_server/files/",
    f"/comfyui_server/pw={KEY}",
    f"/comfyui_server/pw={KEY}/",
    f"/comfyui_server/pw={KEY}/files/m/name.txt/files/m/.hidden.txt",
    f"/comfyui_server/{KEY}/files/m/name.txt",
    f"/comfyui_server/pw={KEY}/pw={KEY}/files/m/name.txt",
    f"/pw={KEY}/files/m/name.txt",
    f"/pw={KEY}/files/comfyui",
    "/pw=/files/comfyui/m/name.txt",
    "/pw=signed/files/comfyui/m/name.txt",
    "//comfyui_server//pw=x//files//m//name.txt",
    "/%63omfyui_server/pw=KEY/files/m/.hidden.txt",
    "/comfyui_server/pw=KEY/%66iles/m/.hidden.txt",
    "http://other.example/comfyui_server/pw=KEY/files/m/.hidden.txt",
    "*",
]
HEADERS: list[dict[str, str]] = [
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer " + "x" * 5000},
    {"Authorization": "Basic S0VZOktFWQ=="},
    {"Authorization": "Bearer KEY\x00"},
    {"X-Accel-Redirect": "/etc/passwd"},
    {"X-Sendfile": "/etc/passwd"},
    {"X-Original-URL": "/comfyui_server/pw=KEY/files/m/.hidden.txt"},
    {"X-Rewrite-URL": "/comfyui_server/pw=KEY/files/m/.hidden.txt"},
    {"X-Bridge-Client": "127.0.0.1", "X-Bridge-Secret": "x"},
    {"X-Forwarded-For": "127.0.0.1, " * 500},
    {"X-Offload-Ask": "1"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"Accept-Encoding": "gzip;q=1, " * 500},
    {"If-None-Match": '"x", ' * 1500},
    {"If-Modified-Since": "Thu, 99 Foo 99999 99:99:99 GMT"},
    {"If-Range": "W/" * 3000},
    {"Range": "bytes=0-0," * 19},
    {"Cookie": "a=" + "b" * 4000},
    {"Expect": "100-continue"},
    {"Transfer-Encoding": "identity"},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    inside = folder(tmp_path_factory.mktemp("more"))
    with Running(inside, COMFYUI_ACCESS_KEY=KEY) as server:
        yield server


def find_problem(response: bytes) -> str:
    """Return what is wrong with a response, "" if it is correct."""
    if not response:
        return ""  # the connection was closed at once
    head, _, body = response.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    checks = {
        "leak": CANARY.encode() in body or b"root:x:" in body,
        "trace": any(mark in body for mark in (b"Traceback", b"/data-secret", b'File "')),
        "server error": status >= 500,
        "key": KEY.encode() in head,
        "sniffing": status == 200 and b"nosniff" not in head.lower(),
    }
    return ", ".join(name for name, wrong in checks.items() if wrong) and f"{status} {checks}"


def test_the_corpus_has_at_least_200_requests() -> None:
    assert len(TARGETS) + len(HEADERS) >= 200


def test_no_hostile_url_gives_access(running: Running) -> None:
    problems = {}
    for target in TARGETS:
        sent = "".join(c if ord(c) < 128 else "?" for c in target)
        for method in ("GET", "HEAD"):
            response = exchange(running.port, method, sent, {})
            served = method == "GET" and response[9:12] == b"200" and b'"total"' not in response
            if problem := find_problem(response) or ("served" if served else ""):
                problems[f"{method} {target[:80]}"] = problem
    allowed = {f"GET {BASE}/gallery/m/list?q=" + "x" * 40}
    assert {k: v for k, v in problems.items() if k[:60] not in {a[:60] for a in allowed}} == {}


def test_no_hostile_header_gives_access_or_causes_an_error(running: Running) -> None:
    for headers in HEADERS:
        for path in (f"{BASE}/files/m/nums.txt", "/comfyui_server/files/m/nums.txt"):
            response = exchange(running.port, "GET", path, headers)
            assert find_problem(response) == "", headers
            if response and path.startswith("/comfyui_server/files"):
                assert response.split()[1] in (b"401", b"400", b"431"), headers
    assert running.get("/healthz").text == "ok"
