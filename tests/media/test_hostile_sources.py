"""URLs and paths that must not be accessed; a listener on loopback counts connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.download import DownloadPolicy
from tests.media.input_folder import place

SPELLINGS = r"""
127.0.0.1 127.1 127.0.1 127.255.255.254 0 0.0.0.0 2130706433 0x7f000001 0x7f.0.0.1 0x7f.1
0177.0.0.1 017700000001 0177.1 127.0.0.1. localhost localhost. LOCALHOST LocalHost.localdomain
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1]
[0:0:0:0:0:ffff:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::]
[2001:0:7f00:1::] [fe80::1] [fe80::1%25lo] [fc00::1] [fd12::1] [fec0::1] [ff02::1]
[::ffff:0:127.0.0.1] [::5efe:7f00:1] 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254
192.168.0.1 169.254.169.254 169.254.170.2 168.63.129.16 100.64.0.1 100.100.100.200 192.0.0.192
192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255 metadata.google.internal ①②⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 127.0.0.1%00.example.com
example.com@127.0.0.1 a:b@127.0.0.1 127.0.0.1\@example.com 127.0.0.1#@example.com
127.0.0.1?@example.com
"""
HOSTS = SPELLINGS.split()

FULL_URLS = [
    "http:///x",
    "http://",
    "http:127.0.0.1:{port}/x",
    "http:/127.0.0.1:{port}/x",
    "http:\\\\127.0.0.1:{port}/x",
    "https://127.0.0.1:{port}/x",
    "HTTP://127.0.0.1:{port}/x",
    " http://127.0.0.1:{port}/x ",
    "ftp://127.0.0.1:{port}/x",
    "gopher://127.0.0.1:{port}/_x",
    "dict://127.0.0.1:{port}/x",
    "ws://127.0.0.1:{port}/x",
    "jar:http://127.0.0.1:{port}/!/x",
    "view-source:http://127.0.0.1:{port}/x",
    "ldap://127.0.0.1:{port}/x",
    "//127.0.0.1:{port}/x",
    "\\\\127.0.0.1@{port}\\x",
    "javascript:fetch('http://127.0.0.1:{port}')",
    "http://127.0.0.1:{port}\r\nX: y/x",
    "http://127.0.0.1:{port}/x\0.png",
    "http://[::1]:{port}:80/x",
    "http://127.0.0.1:99999/x",
    "http://127.0.0.1:-1/x",
]


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[int, list[Any]]]:
    """Every connection to this port, on IPv4's and IPv6's loopback, is a hit."""
    hits: list[Any] = []
    open_ones = [socket.create_server(("127.0.0.1", 0))]
    port = open_ones[0].getsockname()[1]
    with contextlib.suppress(OSError):  # a machine without IPv6
        open_ones.append(socket.create_server(("::1", port), family=socket.AF_INET6))

    def watch(one: socket.socket) -> None:
        while True:
            try:
                hits.append(one.accept()[1])
            except OSError:
                return

    for one in open_ones:
        threading.Thread(target=watch, args=(one,), daemon=True).start()
    yield port, hits
    for one in open_ones:
        one.close()


class Nothing:
    """A server that must not be given anything."""

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        raise AssertionError(f"{name} was placed")

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        raise AssertionError(f"{name} was placed")

    def input_size(self, value: str) -> int | None:
        return None

    def read_input(self, value: str) -> bytes | None:
        return None


URLS = [f"http://{host}:{{port}}/x.png" for host in HOSTS] + FULL_URLS


def test_there_are_enough_cases() -> None:
    assert len(URLS) >= 80
    assert len(PATHS) >= 60


@pytest.mark.parametrize("url", URLS)
def test_no_hostile_url_reaches_the_loopback_listener(
    listener: Any, tmp_path: Path, url: str
) -> None:
    port, hits = listener
    policy = DownloadPolicy(total_seconds=3, connect_seconds=1)
    with pytest.raises(MediaError):
        place(url.replace("{port}", str(port)), Nothing(), AllowedFolders(tmp_path), policy)
    assert not hits


PATHS = [
    "/etc/passwd",
    "/etc/shadow",
    "/proc/self/environ",
    "/proc/self/fd/0",
    "/dev/zero",
    "/dev/stdin",
    "/dev/tcp/127.0.0.1/80",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "file://localhost/etc/passwd",
    "file://LOCALHOST/etc/passwd",
    "FILE:///etc/passwd",
    "file:////etc/passwd",
    "file://///etc/passwd",
    "file:///%65tc/passwd",
    "file:///etc%2fpasswd",
    "file://evil.example/share/x.png",
    "file://127.0.0.1/etc/passwd",
    "file:///etc/passwd%00.png",
    "file:etc/passwd",
    "file://%2fetc/passwd",
    "file:///..//etc/passwd",
    "../secret.png",
    "../../secret.png",
    "..\\secret.png",
    "a/../../secret.png",
    "./../secret.png",
    "%2e%2e/secret.png",
    "..%2fsecret.png",
    "..%5csecret.png",
    "....//secret.png",
    "inside/../../secret.png",
    "{outside}/secret.png",
    "{inside}/../secret.png",
    "{inside}/link.png",
    "{inside}/folder-link/secret.png",
    "link.png",
    "folder-link/secret.png",
    "file://{outside}/secret.png",
    "file://{inside}/../secret.png",
    "file://{inside}/link.png",
    "{inside}-secret/secret.png",
    "{inside}",
    "{inside}/",
    "file://{inside}",
    "~/secret.png",
    "~root/.ssh/id_rsa",
    "$HOME/secret.png",
    "%USERPROFILE%\\secret.png",
    "C:\\Windows\\win.ini",
    "C:/Windows/win.ini",
    "c:secret.png",
    "file:///C:/Windows/win.ini",
    "file://C:/Windows/win.ini",
    "\\\\server\\share\\x.png",
    "//server/share/x.png",
    "\\\\?\\C:\\x.png",
    "\\\\.\\PhysicalDrive0",
    "file:////server/share/x.png",
    "\\Windows\\win.ini",
    "CON",
    "nul.png",
    "secret.png:stream",
    "x.png\0.txt",
    "\ud800.png".encode("utf-8", "replace").decode(),
    "a" * 5000,
    "a/" * 300 + "x.png",
    "pipe",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_hostile_path_is_read(tmp_path: Path, path: str) -> None:
    from tests.conftest import png

    inside = tmp_path / "attachments"
    for folder in (inside, tmp_path / "attachments-secret"):
        folder.mkdir()
    for file in (tmp_path / "secret.png", tmp_path / "attachments-secret" / "secret.png"):
        file.write_bytes(png(4, 4))
    links = {"link.png": tmp_path / "secret.png", "folder-link": tmp_path / "attachments-secret"}
    for name, target in links.items():
        (inside / name).symlink_to(target)
    written = path.replace("{inside}", str(inside)).replace("{outside}", str(tmp_path))
    with pytest.raises(MediaError):
        place(
            written, Nothing(), AllowedFolders(inside, (inside,)), DownloadPolicy(total_seconds=2)
        )
