"""Redirects, other statuses, cut-off downloads and logins in URLs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from comfyui_pipeline.errors import DownloadRefused, MediaError
from comfyui_pipeline.media.download import DownloadPolicy, download
from tests.media.input_folder import png
from tests.waiting import TIMEOUT

ALLOWED = DownloadPolicy(allow=("127.0.0.1",), read_seconds=TIMEOUT, total_seconds=TIMEOUT)


class Site(BaseHTTPRequestHandler):
    """``/<status>`` leads to ``/a.png`` by that status; ``/+n`` and ``/-n`` promise a wrong length."""

    asked: list[str]

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append(f"{path} {self.headers['Authorization']}")
        content = png()
        if path[1:].isdigit():
            self.send_response(int(path[1:]))
            self.send_header("Location", "/a.png")
            content = b""
        else:
            self.send_response(200)
        more = int(path[1:]) if path[1:2] in ("+", "-") else 0
        self.send_header("Content-Length", str(len(content) + more))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def site() -> Iterator[Any]:
    handler = type("Handler", (Site,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
        server.shutdown()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_status_is_followed(site: Any, status: int) -> None:
    assert download(f"{site[0]}/{status}", ALLOWED) == png()


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_other_statuses_are_errors(site: Any, status: int) -> None:
    with pytest.raises(MediaError, match=f"status {status}"):
        download(f"{site[0]}/{status}", ALLOWED)
    assert len(site[1]) == 1


def test_a_download_shorter_than_its_content_length_is_an_error(site: Any) -> None:
    with pytest.raises(MediaError, match=r"broke off|failed"):
        download(f"{site[0]}/+5", ALLOWED)


def test_a_login_in_a_url_is_never_sent(site: Any) -> None:
    base = site[0].replace("http://", "http://user:s3cret@")
    with pytest.raises(DownloadRefused, match="user name or password") as caught:
        download(f"{base}/a.png", ALLOWED)
    assert "s3cret" not in str(caught.value)
    assert site[1] == []
