"""Fetching from an address that somebody wrote: what is let through, and what is not."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from comfyui_pipeline.errors import DownloadRefused, MediaError
from comfyui_pipeline.media import guard
from comfyui_pipeline.media.download import DownloadPolicy, download

ALLOWED = DownloadPolicy(allow=("127.0.0.1",), read_seconds=2, total_seconds=5)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: dict[str, Callable[[Handler], None]]

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self.close_connection = True
        self.answers[self.path.partition("?")[0]](self)

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    def cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(PNG)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    answers: dict[str, Callable[[Handler], None]] = {
        "/good.png": lambda h: h.reply(PNG),
        "/图.png": lambda h: h.reply(PNG),
        "/%E5%9B%BE.png": lambda h: h.reply(PNG),
        "/hop": lambda h: h.reply(b"", 302, Location="/good.png"),
        "/loop": lambda h: h.reply(b"", 302, Location="/loop"),
        "/inside": lambda h: h.reply(b"", 302, Location="http://169.254.169.254/latest/meta-data"),
        "/file": lambda h: h.reply(b"", 302, Location="file:///etc/passwd"),
        "/absent": lambda h: h.reply(b"no", 404),
        "/page": lambda h: h.reply(b"<!DOCTYPE html><html>log in</html>", Content_Type="image/png"),
        "/bomb": lambda h: h.reply(gzip.compress(bytes(10**6)), Content_Encoding="gzip"),
        "/large": lambda h: h.reply(bytes(300_000)),
        "/drip": lambda h: h.drip(),
        "/cut": lambda h: h.cut(),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Site", (Handler,), {"answers": answers}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    "path", ["/good.png", "/good.png?a=b c".replace(" ", "%20"), "/hop", "/图.png"]
)
def test_a_picture_is_fetched_through_redirects_and_under_any_name(site: str, path: str) -> None:
    assert download(site + path, ALLOWED) == PNG


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/loop", "redirects more than 5 times"),
        ("/inside", "private address"),
        ("/file", "Only http and https"),
        ("/absent", "answers 404"),
        ("/page", "is a web page"),
        ("/bomb", "compressed (gzip)"),
        ("/cut", "broke off"),
    ],
)
def test_what_is_not_a_picture_is_told_by_name(site: str, path: str, told: str) -> None:
    with pytest.raises(MediaError) as caught:
        download(site + path, ALLOWED)
    assert told in str(caught.value)


def test_a_file_that_is_too_large_is_cut_off(site: str) -> None:
    with pytest.raises(DownloadRefused, match="larger than"):
        download(site + "/large", DownloadPolicy(allow=("127.0.0.1",), max_bytes=1000))


def test_a_slow_drip_ends_with_the_whole_time(site: str) -> None:
    begun = time.monotonic()
    with pytest.raises(MediaError, match="not fetched within"):
        download(site + "/drip", DownloadPolicy(allow=("127.0.0.1",), total_seconds=0.5))
    assert time.monotonic() - begun < 3


def test_a_deadline_of_the_caller_counts_too(site: str) -> None:
    with pytest.raises(MediaError):
        download(site + "/drip", ALLOWED, deadline=time.monotonic() + 0.3)


SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "127.1",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[fec0::1]",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "10.0.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "100.64.0.1",
    "[fe80::1]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_private_address_is_let_in(host: str) -> None:
    with pytest.raises(MediaError) as caught:
        download(f"http://{host}/x.png", DownloadPolicy(total_seconds=3))
    if host not in ("[fe80::1]",):
        assert "private address" in str(caught.value) or "not fetched" in str(caught.value)


def answers_of(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> list[str]:
    """Make every look-up give the next list of addresses; gives the hosts that were looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        found = rounds[min(len(asked), len(rounds)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    monkeypatch.setattr(guard.socket, "getaddrinfo", look_up)
    return asked


def test_one_private_answer_among_public_ones_refuses_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers_of(monkeypatch, ["93.184.216.34", "10.0.0.5"])
    with pytest.raises(DownloadRefused) as caught:
        download("http://mixed.example/x.png", DownloadPolicy())
    assert "10.0.0.5" not in str(caught.value)


def test_a_name_is_looked_up_once_so_that_it_cannot_change_its_answer(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = site.rpartition(":")[2]
    asked = answers_of(monkeypatch, ["127.0.0.1"], ["10.0.0.5"])
    policy = DownloadPolicy(allow=("rebind.example",), total_seconds=5)
    assert download(f"http://rebind.example:{port}/good.png", policy) == PNG
    assert asked == ["rebind.example"]


def test_a_proxy_in_the_environment_is_not_used(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert download(site + "/good.png", ALLOWED) == PNG


@pytest.mark.parametrize(
    "url",
    ["http://user:s3cret@example.com/x.png", "http:///x.png", "http://a b/x", "http://x:99999/"],
)
def test_odd_urls_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(MediaError) as caught:
        download(url, DownloadPolicy(total_seconds=2))
    assert "s3cret" not in str(caught.value)


def test_unusual_ports_need_to_be_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of(monkeypatch, ["93.184.216.34"])
    with pytest.raises(DownloadRefused, match="port 22"):
        download("http://public.example:22/x.png", DownloadPolicy())


def test_public_addresses_are_public_and_the_rest_is_not() -> None:
    for text in ("93.184.216.34", "1.1.1.1", "2606:4700::1111"):
        assert guard.is_public(ipaddress.ip_address(text))
    for text in ("255.255.255.255", "0.0.0.0", "fd00::1", "2001:db8::1", "2001::1", "ff02::1"):
        assert not guard.is_public(ipaddress.ip_address(text))
