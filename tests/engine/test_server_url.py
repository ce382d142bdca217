"""When the engine uses plain sockets instead of requests and websocket-client."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfyui_pipeline.engine import server_url


@pytest.mark.parametrize(
    ("url", "headers", "environment", "direct"),
    [
        ("http://127.0.0.1:8188", {}, {"http_proxy": "http://p"}, True),
        ("http://localhost:8188", {}, {"ALL_PROXY": "http://p"}, True),
        ("http://[::1]:8188", {}, {}, True),
        ("https://127.0.0.1:8188", {}, {}, False),
        ("http://192.168.0.9:8188", {}, {}, True),
        ("http://192.168.0.9:8188", {}, {"HTTP_PROXY": "http://p"}, False),
        ("http://192.168.0.9:8188", {}, {"all_proxy": "http://p"}, False),
        ("http://192.168.0.9:8188", {}, {"NETRC": os.devnull}, False),
        ("http://192.168.0.9:8188", {"authorization": "x"}, {"NETRC": os.devnull}, True),
        ("http://me:pw@192.168.0.9:8188", {}, {"NETRC": os.devnull}, True),
        ("http://bücher.example", {}, {}, False),
    ],
)
def test_plain_sockets_are_used_without_tls_proxy_or_netrc(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    headers: dict[str, str],
    environment: dict[str, str],
    direct: bool,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(server_url.sys, "platform", "linux")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert server_url.is_direct(server_url.parse(url), headers) is direct
