"""Authentication rules, and keys in logs."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from input_server.auth import deny_list, signing
from input_server.auth.deny_list import DenyList
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.http.express_registry import register
from input_server.http.metrics import Metrics
from input_server.http.sockets import listen_unix
from input_server.link_command import MOST_HOURS
from input_server.urls import redact_target
from tests.input_server.gallery_harness import KEY
from tests.input_server.served import FILES


@pytest.mark.parametrize("name", ["sig", "pw", "key", "KEY", "%6Bey"])
def test_secrets_in_a_query_are_redacted(name: str) -> None:
    assert "s3cret" not in redact_target(f"/a?x=1&{name}=s3cret&y=2")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_metrics_requested_through_a_proxy_need_a_key(make_served: Any, header: str) -> None:
    ask = make_served()
    ask.server.pages["metrics"] = Metrics(dict)
    assert ask("/metrics", Host="127.0.0.1").status == 200
    headers = {"Host": "127.0.0.1", header.replace("-", "_"): "for=192.0.2.1"}
    assert ask("/metrics", **headers).status == 401


def test_a_denied_client_is_refused_with_a_valid_key_or_signature(
    make_served: Any, tmp_path: Path
) -> None:
    denied = tmp_path / "denied"
    query = signing.query(KEY, "files", "m", ("a.txt",), int(time.time()) + 600)
    for networks, status in (("192.0.2.0/24", 200), ("192.0.2.0/24\n127.0.0.1", 403)):
        denied.write_text(networks, "utf-8")
        ask = make_served(INPUT_SERVER_DENY_FILE=str(denied))
        (ask.folder / "a.txt").write_text("text", "utf-8")
        assert ask("a.txt").status == status
        assert ask(f"/comfyui_server/files/m/a.txt?{query}").status == status


def test_a_denied_network_stays_denied_when_the_file_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "denied"
    file.write_text("192.0.2.0/24\n", "utf-8")
    lines: list[str] = []
    deny = DenyList(file, lines.append)
    file.unlink()
    monkeypatch.setattr(deny_list, "CHECK_SECONDS", 0.0)
    assert deny.contains("192.0.2.9")
    assert len(lines) == 1
    assert deny.contains("192.0.2.9")


def test_an_ipv6_site_is_locked_out_after_four_times_the_limit() -> None:
    tracker = LockoutTracker(LockoutPolicy(limit=10, seconds=60), clock=lambda: 0.0)
    for number in range(39):
        tracker.record_failure(f"2001:db8:1:{number:x}::1", f"key {number}")
    assert tracker.locked_out_for("2001:db8:1:ffff::1") == 0
    tracker.record_failure("2001:db8:1:aaaa::1", "the fortieth")
    assert tracker.locked_out_for("2001:db8:1:ffff::1") == 60
    assert tracker.locked_out_for("2001:db8:2::1") == 0


def test_a_signed_link_is_valid_for_at_most_366_days() -> None:
    now = 1_800_000_000
    for seconds, verdict in ((366 * 24 * 3600, "valid"), (366 * 24 * 3600 + 1, "invalid")):
        end = now + seconds
        signature = signing.signature(KEY, "files", "m", ("a",), end)
        query = {"exp": str(end), "sig": signature}
        assert signing.check_signature(KEY, "files", "m", ("a",), query, now) == verdict
    assert MOST_HOURS * 3600 < signing.MAX_LIFETIME


def test_the_log_of_a_python_host_contains_no_key(
    make_served: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers: list[Any] = []

    class App:
        def get(self, _pattern: str, handler: Any) -> None:
            handlers.append(handler)

    class Response:
        def status(self, _code: int) -> None: ...
        def set(self, _name: str, _value: str) -> None: ...
        def send(self, _body: Any) -> None: ...

    register(App(), make_served().server, access_log=True)  # type: ignore[arg-type]
    target = f"{FILES}/m/absent.txt?sig=s3cret"
    request = SimpleNamespace(method="GET", ip="127.0.0.1", headers={}, original_url=target)
    handlers[0](request, Response())
    log_text = "".join(capfd.readouterr())
    assert "127.0.0.1 GET" in log_text
    assert "absent.txt" in log_text
    assert KEY not in log_text
    assert "s3cret" not in log_text


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or os.name == "nt", reason="needs Unix sockets")
def test_a_unix_socket_is_accessible_to_its_user_only() -> None:
    with tempfile.TemporaryDirectory() as folder:  # the path of a Unix socket must be short
        path = Path(folder) / "s"
        before = os.umask(0)
        try:
            with listen_unix(path):
                mode = stat.S_IMODE(path.lstat().st_mode)
        finally:
            os.umask(before)
    assert mode == 0o600
