"""Servers behind https://: whose certificate is refused, and how to trust it."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.engine import server_url, wire
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.http import BadCertificate
from comfyui_pipeline.engine.server_url import Tls
from tests.engine.scripted import END, EXECUTED, GOOD, SUCCESS, run_job
from tests.waiting import TIMEOUT

CERTIFICATE = Path(__file__).parents[1] / "data" / "tls" / "self_signed_127.0.0.1.pem"
"""A certificate that signed itself, with its key: of these tests only."""


@pytest.fixture
def secure(fake: Any) -> Any:
    """The fake server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    fake.server.socket = context.wrap_socket(fake.server.socket, server_side=True)
    fake.script.frames, fake.script.history = [EXECUTED, SUCCESS, END], GOOD
    return fake


def engine_of(url: str, tls: Tls) -> ComfyUI:
    return ComfyUI(url, "tests", timeout=TIMEOUT, tls=tls, log=print)


def https(fake: Any, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{fake.port}"


def test_an_untrusted_certificate_is_named_with_the_settings(secure: Any) -> None:
    with pytest.raises(BadCertificate, match=r"certificate of https://127.*self-signed") as raised:
        engine_of(https(secure), Tls()).queue_state()
    assert "COMFYUI_CA_FILE" in raised.value.hint
    assert "COMFYUI_INSECURE_TLS" in raised.value.hint


def test_a_certificate_of_another_host_is_named(secure: Any) -> None:
    with pytest.raises(BadCertificate, match="not valid for 'localhost'") as raised:
        engine_of(https(secure, "localhost"), Tls(str(CERTIFICATE))).queue_state()
    assert raised.value.hint.startswith("Use a host name of the certificate")


@pytest.mark.parametrize("insecure", [True, False])
def test_a_job_runs_where_the_certificate_is_accepted(secure: Any, insecure: bool) -> None:
    tls = Tls(insecure=True) if insecure else Tls(str(CERTIFICATE))
    engine = engine_of(https(secure), tls)
    assert run_job(engine).outputs[0].filename == "a.png"
    assert secure.script.sockets == 1  # the WebSocket uses the same settings
    engine.close()


def test_a_server_without_tls_is_named(fake: Any) -> None:
    with pytest.raises(BadCertificate, match="does not use TLS") as raised:
        engine_of(https(fake), Tls()).queue_state()
    assert f"http://127.0.0.1:{fake.port} " in raised.value.hint


def test_localhost_is_tried_as_127_0_0_1_first(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(answers))
    until = time.monotonic() + TIMEOUT
    local = wire._addresses(server_url.parse("http://localhost:1"), until)
    assert [address[0] for address in local] == [socket.AF_INET, socket.AF_INET6]
    other = wire._addresses(server_url.parse("http://example.org:1"), until)
    assert [address[0] for address in other] == [socket.AF_INET6, socket.AF_INET]


def test_models_of_a_server_that_is_not_comfyui_are_an_error(engine: ComfyUI, fake: Any) -> None:
    with pytest.raises(Exception, match="is not ComfyUI"):
        engine.models("loras")
    fake.script.broken = {"/system_stats": (200, {"system": {}, "devices": []})}
    assert engine.models("loras") == []


def test_a_web_page_instead_of_json_is_called_one(engine: ComfyUI, fake: Any) -> None:
    fake.script.broken = {"/queue": (200, b"<!DOCTYPE html><html><body>Wait</body></html>")}
    with pytest.raises(Exception, match=r"is not ComfyUI \(200 for /queue: a web page\)"):
        engine.queue_state()
