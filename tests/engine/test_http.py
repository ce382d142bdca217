"""Requests to the server: retries, authentication, size limits, compression, redirects."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.engine import http, server_url, transport
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.http import Gateway
from comfyui_pipeline.engine.protocol import Job, Output
from comfyui_pipeline.errors import EngineError, ServerUnreachable
from tests.engine.scripted import PROMPT
from tests.waiting import TIMEOUT


@pytest.mark.parametrize(("status", "tries"), [(502, 3), (503, 3), (504, 3), (500, 1), (404, 1)])
def test_only_the_statuses_of_a_busy_server_are_retried(
    engine: ComfyUI, fake: Any, status: int, tries: int
) -> None:
    fake.script.broken = {"/queue": (status, b"")}
    with pytest.raises(EngineError, match=str(status)):
        engine.queue_state()
    assert fake.script.requested_paths.count("/queue") == tries


@pytest.mark.parametrize(("flaky", "succeeds"), [(2, True), (3, False)])
def test_a_request_is_tried_at_most_three_times(
    engine: ComfyUI, fake: Any, flaky: int, succeeds: bool
) -> None:
    fake.script.flaky = {"/queue": flaky}
    if succeeds:
        assert engine.queue_state().running == ()
    else:
        with pytest.raises(Gateway):
            engine.queue_state()


@pytest.mark.parametrize("header", [{"Authorization": "Bearer right"}, None])
def test_netrc_is_ignored_when_an_authorization_header_is_set(
    fake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, header: dict[str, str] | None
) -> None:
    """Seen from a server that is not on this machine: for loopback no environment counts."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n", "utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(server_url, "is_loopback", lambda host: False)
    engine = ComfyUI(fake.url, "tests", headers=header, log=lambda text: None)
    engine.queue_state()
    engine.close()
    sent = fake.script.authorizations[0]
    assert sent == "Bearer right" if header else sent.startswith("Basic ")


@pytest.mark.parametrize("status", [401, 403])
def test_a_401_or_403_names_the_setting_comfyui_auth(
    engine: ComfyUI, fake: Any, status: int
) -> None:
    fake.script.broken = {"/queue": (status, b"")}
    with pytest.raises(ServerUnreachable, match=f"refuses access .{status}.*COMFYUI_AUTH"):
        engine.queue_state()


def test_a_401_says_that_the_key_for_partner_nodes_is_no_login(engine: ComfyUI, fake: Any) -> None:
    fake.script.broken = {"/queue": (401, b"")}
    with pytest.raises(ServerUnreachable, match=r"COMFYUI_API_KEY is no login.*partner nodes"):
        engine.queue_state()


def test_a_403_names_the_origin_header_and_the_switch_of_comfyui(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.broken = {"/queue": (403, b"")}
    with pytest.raises(ServerUnreachable, match=r"Origin header.*--enable-cors-header"):
        engine.queue_state()


def test_an_https_url_gets_only_tls_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS record begins with its type, 22 for a handshake (RFC 8446, 5.1)."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.001)
    first_bytes: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    wire, _ = listener.accept()
                except OSError:
                    return
                with wire:
                    wire.settimeout(TIMEOUT)
                    first_bytes.append(wire.recv(1))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        headers = {"Authorization": "Bearer secret"}
        engine = ComfyUI(
            f"https://127.0.0.1:{port}", "tests", headers=headers, log=lambda text: None
        )
        with pytest.raises(EngineError):
            engine.queue(Job(PROMPT, "my-id"))
        engine.close()
        with suppress(
            OSError
        ):  # Windows shuts down no listening socket; closing it is enough there
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(TIMEOUT)
    assert len(first_bytes) > 1
    assert set(first_bytes) == {b"\x16"}


def raw(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


EMPTY_QUEUE = b'{"queue_running": [], "queue_pending": []}'


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_a_response_larger_than_the_limit_is_refused(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch, extra: int, fits: bool
) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 2**20)
    fake.script.broken = {"/queue": (200, EMPTY_QUEUE.ljust(2**20 + extra))}
    if fits:
        assert engine.queue_state().running == ()
    else:
        with pytest.raises(EngineError, match="more than 1 MB for /queue"):
            engine.queue_state()


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize("megabytes", [1, 300])
def test_the_limit_of_a_compressed_response_applies_to_its_decompressed_size(
    engine: ComfyUI, fake: Any, compress: Any, megabytes: int
) -> None:
    name = "gzip" if compress is gzip.compress else "deflate"
    compressed = compress(EMPTY_QUEUE + b" " * megabytes * 2**20)
    fake.script.raw = {"/queue": raw(compressed, f"Content-Encoding: {name}")}
    if megabytes == 1:
        assert engine.queue_state().running == ()
    else:
        with pytest.raises(EngineError, match="more than 64 MB"):
            engine.queue_state()


def test_gzip_members_are_joined_and_a_truncated_one_is_an_error(
    engine: ComfyUI, fake: Any
) -> None:
    compressed = gzip.compress(EMPTY_QUEUE[:9]) + gzip.compress(EMPTY_QUEUE[9:])
    fake.script.raw = {"/queue": raw(compressed, "Content-Encoding: gzip")}
    assert engine.queue_state().pending == ()
    fake.script.raw = {"/queue": raw(compressed[:-12], "Content-Encoding: gzip")}
    with pytest.raises(ServerUnreachable, match="did not complete its response to /queue"):
        engine.queue_state()


def test_an_unsupported_compression_is_named(engine: ComfyUI, fake: Any) -> None:
    fake.script.raw = {"/queue": raw(b"x", "Content-Encoding: br")}
    with pytest.raises(EngineError, match=r"compressed .'br'"):
        engine.queue_state()


def test_a_response_of_more_than_two_million_values_is_refused(engine: ComfyUI, fake: Any) -> None:
    body = b'{"queue_running": [' + b"[]," * 1_100_000 + b'[]], "queue_pending": []}'
    fake.script.broken = {"/queue": (200, body)}
    with pytest.raises(EngineError, match="more than 2000000 values"):
        engine.queue_state()


@pytest.mark.parametrize(("levels", "fits"), [(197, True), (198, False), (100_000, False)])
def test_nesting_of_lists_has_a_limit(engine: ComfyUI, fake: Any, levels: int, fits: bool) -> None:
    inner = "[" * levels + "]" * levels
    body = f'{{"queue_running": [[1, "other", {inner}]], "queue_pending": []}}'
    fake.script.broken = {"/queue": (200, body.encode())}
    if fits:
        assert len(engine.queue_state().running) == 1
    else:
        with pytest.raises(EngineError, match="/queue with JSON that is nested too deeply"):
            engine.queue_state()


def test_decompressed_data_comes_in_chunks_of_bounded_size(engine: ComfyUI, fake: Any) -> None:
    compressed = gzip.compress(b"\0" * 20 * 2**20)
    fake.script.raw = {"/view": raw(compressed, "Content-Encoding: gzip")}
    with engine.files.fetch(Output("9", "images", "a.bin")) as incoming:
        sizes = [len(piece) for piece in incoming.chunks]
    assert sum(sizes) == 20 * 2**20
    assert max(sizes) <= transport.PIECE
    assert incoming.length is None


def test_a_redirect_is_not_followed(engine: ComfyUI, fake: Any) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /embeddings\r\nContent-Length: 0\r\n\r\n"
    fake.script.raw = {"/queue": head}
    with pytest.raises(ServerUnreachable, match=r"elsewhere .302."):
        engine.queue_state()
    assert "/embeddings" not in fake.script.requested_paths
