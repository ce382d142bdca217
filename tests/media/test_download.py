"""Downloads from URLs of the caller: limits, redirects and refused addresses."""

from __future__ import annotations

import gzip
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_pipeline.errors import DownloadRefused, MediaError
from comfyui_pipeline.media import address_guard, download_cache
from comfyui_pipeline.media.download import MAX_URL, DownloadPolicy, download, next_hop
from input_server.light_dataclasses import replace
from tests.waiting import TIMEOUT

ALLOWED = DownloadPolicy(allow=("127.0.0.1",), read_seconds=TIMEOUT, total_seconds=TIMEOUT)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
SENT: list[int] = []
"""Statuses that the site sent to requests with a condition."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: dict[str, Callable[[Handler], None]]
    seen: list[int]

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

    def tagged(self, **headers: str) -> None:
        """Sends the file once, and then only that it has not changed."""
        name, value = next(iter(headers.items()))
        condition = {"ETag": "If-None-Match", "Last_Modified": "If-Modified-Since"}[name]
        same = self.headers.get(condition) == value
        self.seen.append(304 if same else 200)
        self.reply(b"" if same else PNG, self.seen[-1], **headers)

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
        "/tagged": lambda h: h.tagged(ETag='"a1"'),
        "/dated": lambda h: h.tagged(Last_Modified="Tue, 01 Sep 2026 10:00:00 GMT"),
        "/secret": lambda h: h.tagged(ETag='"a1"', Cache_Control="private, no-store"),
        "/square": lambda h: h.reply(PNG, Content_Length="\xb2"),
        "/digits": lambda h: h.reply(PNG, Content_Length="9" * 5000),
        "/negative": lambda h: h.reply(PNG, Content_Length="-208"),
        "/word": lambda h: h.reply(PNG, Content_Length="many"),
        "/huge": lambda h: h.reply(PNG, Content_Length=str(10**12)),
        "/to": lambda h: h.reply(
            b"", 302, Location=unquote(h.path.partition("?")[2]).encode().decode("latin-1")
        ),
        "/heads": lambda h: h.reply(PNG, **{f"X-{n}": "x" * 1000 for n in range(90)}),
        "/more-heads": lambda h: h.reply(PNG, **{f"X-{n}": "x" for n in range(200)}),
    }
    handler = type("Site", (Handler,), {"answers": answers, "seen": SENT})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "path", ["/good.png", "/good.png?a=b c".replace(" ", "%20"), "/hop", "/图.png"]
)
def test_files_are_downloaded_through_redirects_and_under_any_name(site: str, path: str) -> None:
    assert download(site + path, ALLOWED) == PNG


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/loop", "redirects more than 5 times"),
        ("/inside", "private IP address"),
        ("/file", "not an http or https URL"),
        ("/absent", "status 404"),
        ("/page", "is a web page"),
        ("/bomb", "compressed (gzip)"),
        ("/cut", "connection failed or was closed"),
    ],
)
def test_the_error_names_why_a_download_failed(site: str, path: str, message: str) -> None:
    with pytest.raises(MediaError) as caught:
        download(site + path, ALLOWED)
    assert message in str(caught.value)


def test_a_download_above_the_size_limit_is_refused(site: str) -> None:
    with pytest.raises(DownloadRefused, match="larger than"):
        download(site + "/large", DownloadPolicy(allow=("127.0.0.1",), max_bytes=1000))


def test_a_slow_download_ends_at_the_total_timeout(site: str) -> None:
    with pytest.raises(MediaError, match="not downloaded within"):
        download(site + "/drip", DownloadPolicy(allow=("127.0.0.1",), total_seconds=0.5))


def test_a_download_ends_at_the_callers_deadline(site: str) -> None:
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
def test_no_spelling_of_a_private_address_is_allowed(host: str) -> None:
    with pytest.raises(MediaError) as caught:
        download(f"http://{host}/x.png", DownloadPolicy())
    if host not in ("[fe80::1]",):
        assert "private IP address" in str(caught.value) or "not downloaded" in str(caught.value)


def answers_of(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> list[str]:
    """Make every look-up give the next list of addresses; gives the hosts that were looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        found = rounds[min(len(asked), len(rounds)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    monkeypatch.setattr(address_guard.socket, "getaddrinfo", look_up)
    return asked


def test_a_host_with_one_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers_of(monkeypatch, ["93.184.216.34", "10.0.0.5"])
    with pytest.raises(DownloadRefused) as caught:
        download("http://mixed.example/x.png", DownloadPolicy())
    assert "10.0.0.5" not in str(caught.value)


def test_a_host_is_resolved_once_so_that_rebinding_fails(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = site.rpartition(":")[2]
    asked = answers_of(monkeypatch, ["127.0.0.1"], ["10.0.0.5"])
    policy = DownloadPolicy(allow=("rebind.example",), total_seconds=TIMEOUT)
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
def test_invalid_urls_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(MediaError) as caught:
        download(url, DownloadPolicy())
    assert "s3cret" not in str(caught.value)


def test_other_ports_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of(monkeypatch, ["93.184.216.34"])
    with pytest.raises(DownloadRefused, match="not 22"):
        download("http://public.example:22/x.png", DownloadPolicy())


def test_addresses_are_classified_as_public_or_not() -> None:
    for text in ("93.184.216.34", "1.1.1.1", "2606:4700::1111"):
        assert address_guard.is_public(ipaddress.ip_address(text))
    for text in ("255.255.255.255", "0.0.0.0", "fd00::1", "2001:db8::1", "2001::1", "ff02::1"):
        assert not address_guard.is_public(ipaddress.ip_address(text))


# -- what has not changed --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tagged", "/dated"])
def test_an_unchanged_file_is_not_transferred_twice(site: str, tmp_path: Path, path: str) -> None:
    policy = replace(ALLOWED, cache_dir=tmp_path / "cache")
    SENT.clear()
    assert [download(site + path, policy) for _ in range(3)] == [PNG] * 3
    assert SENT == [200, 304, 304]
    (cached,) = (tmp_path / "cache").iterdir()
    assert site.encode() not in cached.read_bytes()
    cached.write_bytes(cached.read_bytes()[:-1])
    assert download(site + path, policy) == PNG
    assert SENT[-1] == 200


def test_responses_without_validator_or_with_no_store_are_not_cached(
    site: str, tmp_path: Path
) -> None:
    policy = replace(ALLOWED, cache_dir=tmp_path / "cache")
    for path in ("/secret", "/good.png"):
        assert download(site + path, policy) == PNG
    assert not (tmp_path / "cache").exists()


def test_the_least_recently_used_file_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_cache, "MAX_BYTES", 2500)
    cache = download_cache.DownloadCache(tmp_path)
    for number in range(4):
        cache.put(f"http://x/{number}", {"ETag": '"a"'}, bytes(1000))
        for path in tmp_path.iterdir():
            os.utime(path, (path.stat().st_mtime - 10, path.stat().st_mtime - 10))
    found = [cache.get(f"http://x/{number}") is not None for number in range(4)]
    assert found == [False, False, True, True]


@pytest.mark.parametrize("path", ["/heads", "/more-heads"])
def test_too_many_headers_are_refused(site: str, path: str) -> None:
    with pytest.raises(MediaError):
        download(site + path, ALLOWED)


@pytest.mark.parametrize("path", ["/square", "/digits", "/negative", "/word"])
def test_an_invalid_content_length_is_ignored(site: str, path: str) -> None:
    assert download(site + path, ALLOWED) == PNG


def test_a_content_length_above_the_limit_is_refused_before_reading(site: str) -> None:
    with pytest.raises(DownloadRefused, match="larger than 50 MB"):
        download(site + "/huge", ALLOWED)


INVALID = [
    "http://[::1",
    "http://[::1/x.png",
    "http://a..b/",
    "http://.a/",
    "http://" + "a" * 64 + ".com/",
    "http://" + "ü" * 3000 + "/",
    "http://xn--\ud55c..x/",
    "http://a.example:99999/",
    "http://a.example:0/",
    "http://a.example:²/",
    "http://a.example:-1/",
    "https://a..b:443/x",
]


@pytest.mark.parametrize("url", INVALID)
def test_invalid_urls_are_reported_also_behind_a_redirect(site: str, url: str) -> None:
    with pytest.raises(MediaError, match="valid URL"):
        download(url, ALLOWED)
    if url.isascii():
        with pytest.raises(MediaError, match="valid URL"):
            download(f"{site}/to?{quote(url)}", ALLOWED)


@pytest.mark.timeout(60)
def test_a_redirect_of_millions_of_characters_is_refused_quickly() -> None:
    for begin in ("http://a.example/", "//", "http://[", "../"):
        with pytest.raises(DownloadRefused, match="redirects to an invalid URL"):
            next_hop("https://a.example/", begin + "\t/" * 2_000_000)
    longest = "https://a.example/"
    longest += "x" * (MAX_URL - len(longest))
    assert next_hop("https://b.example/", longest) == longest
    with pytest.raises(DownloadRefused, match="redirects to an invalid URL"):
        next_hop("https://b.example/", longest + "x")


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/x", "data:image/png;base64,AAAA", "javascript:1"]
)
def test_a_redirect_to_another_scheme_is_refused(site: str, target: str) -> None:
    with pytest.raises(DownloadRefused, match="not an http or https URL"):
        download(f"{site}/to?{quote(target)}", ALLOWED)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rest=st.text(max_size=60), scheme=st.sampled_from(["http://", "https://", "http://[", "//", ""])
)
def test_any_url_is_downloaded_or_raises_a_media_error(rest: str, scheme: str) -> None:
    policy = DownloadPolicy(total_seconds=2, connect_seconds=1)
    if "." in rest:
        rest = rest.replace(".", "..")  # names that could be looked up are for other tests
    with pytest.raises(MediaError):
        download(f"{scheme}{rest}..x/{rest}", policy)


def test_redirects_from_https_to_http_are_refused() -> None:
    follow = next_hop
    with pytest.raises(DownloadRefused, match="from https to plain http"):
        follow("https://a.example/x", "http://a.example/x")
    with pytest.raises(DownloadRefused, match="from https to plain http"):
        follow("HTTPS://a.example/x", "HTTP://b.example/")
    assert follow("http://a.example/x", "https://a.example/y") == "https://a.example/y"
    assert follow("https://a.example/x/y", "z") == "https://a.example/x/z"
    assert follow("http://a.example/x", "//b.example/") == "http://b.example/"


def test_urls_of_4096_characters_are_accepted_and_longer_ones_are_not(site: str) -> None:
    assert MAX_URL == 4096
    longest = f"{site}/good.png?" + "x" * (4096 - len(site) - 10)
    assert len(longest) == 4096
    assert download(longest, ALLOWED) == PNG
    with pytest.raises(DownloadRefused, match="valid URL"):
        download(longest + "x", ALLOWED)


@pytest.mark.parametrize(("hops", "good"), [(5, True), (6, False)])
def test_five_redirects_are_followed_and_a_sixth_is_not(site: str, hops: int, good: bool) -> None:
    url = "/good.png"
    for _ in range(hops):
        url = f"/to?{quote(url)}"
    if good:
        assert download(site + url, ALLOWED) == PNG
    else:
        with pytest.raises(DownloadRefused, match="more than 5 times"):
            download(site + url, ALLOWED)


def test_the_default_limits_of_a_download() -> None:
    policy = DownloadPolicy()
    assert (policy.allow, policy.max_bytes, policy.max_redirects) == ((), 50 * 2**20, 5)
    assert (policy.connect_seconds, policy.read_seconds, policy.total_seconds) == (5, 10, 60)
    assert policy.cache_dir is None
    assert download_cache.MAX_BYTES == 256 * 2**20
    assert download_cache.MAX_FILE_BYTES == 64 * 2**20


def test_the_error_says_which_time_limit_ended_a_download(site: str) -> None:
    with pytest.raises(MediaError, match=r"was not downloaded within 1 s\."):
        download(site + "/drip", replace(ALLOWED, total_seconds=1))
    with pytest.raises(MediaError) as caught:
        download(site + "/drip", ALLOWED, time.monotonic() + 0.8)
    assert "0.8 s left of this call's time limit" in str(caught.value)
    assert "too slow" not in str(caught.value)
