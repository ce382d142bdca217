"""Decisions of the engine that a small change could reverse unnoticed: each has a test that notices."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from comfyui_pipeline.engine import http, job_end, responses
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.files import ServerFiles
from comfyui_pipeline.engine.protocol import Job, JobResult, Output
from comfyui_pipeline.errors import EngineError, ServerUnreachable
from tests.conftest import png
from tests.waiting import TIMEOUT

PROMPT = {"9": {"class_type": "SaveImage", "inputs": {}}}
NODE = {"type": "executing", "data": {"node": "9", "prompt_id": "ID"}}
END = {"type": "executing", "data": {"node": None, "prompt_id": "ID"}}
SUCCESS = {"type": "execution_success", "data": {"prompt_id": "ID"}}


@pytest.fixture
def engine(new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComfyUI]:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.001)
    engine = new_engine(fake.url, timeout=20, log=lambda text: None)
    yield engine
    engine.close()


def run(engine: ComfyUI) -> JobResult:
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        return queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_names_the_login_setting(engine: ComfyUI, fake: Any, status: int) -> None:
    fake.script.broken = {"/queue": (status, b"")}
    with pytest.raises(ServerUnreachable, match=f"refuses access .{status}.*COMFYUI_AUTH"):
        engine.queue_state()


def test_nothing_is_sent_in_clear_to_an_https_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS record begins with its type, 22 for a handshake (RFC 8446, 5.1)."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.001)
    begun: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    wire, _ = listener.accept()
                except OSError:
                    return
                with wire:
                    wire.settimeout(TIMEOUT)
                    begun.append(wire.recv(1))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        headers = {"Authorization": "Bearer secret"}
        engine = ComfyUI(f"https://127.0.0.1:{port}", headers=headers, log=lambda text: None)
        with pytest.raises(EngineError):
            engine.queue(Job(PROMPT, "my-id"))
        engine.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)
    assert len(begun) > 1
    assert set(begun) == {b"\x16"}


@pytest.mark.parametrize(("owner", "taken"), [("ID", 1), ("another", 0), (None, 0)])
def test_only_images_of_the_own_job_are_taken_from_the_socket(
    engine: ComfyUI, fake: Any, owner: str | None, taken: int
) -> None:
    def image(ident: str) -> bytes:
        named = ident if owner == "ID" else owner
        metadata = json.dumps({"prompt_id": named, "node_id": "9"}).encode()
        return (4).to_bytes(4, "big") + len(metadata).to_bytes(4, "big") + metadata + png(8, 8)

    fake.script.history = {
        "ID": {"status": {"messages": [["execution_success", {}]]}, "outputs": {}}
    }
    fake.script.frames = [NODE, image, SUCCESS, END]
    assert len(run(engine).outputs) == taken


def test_results_that_only_the_messages_had_are_among_the_outputs(
    engine: ComfyUI, fake: Any
) -> None:
    saved = {"images": [{"filename": "a.png"}]}
    fake.script.history = {
        "ID": {"status": {"messages": [["execution_success", {}]]}, "outputs": {}}
    }
    executed = {"type": "executed", "data": {"node": "9", "output": saved, "prompt_id": "ID"}}
    fake.script.frames = [NODE, executed, SUCCESS, END]
    assert [output.filename for output in run(engine).outputs] == ["a.png"]


def test_outputs_follow_the_prompt_and_not_the_order_in_which_they_came() -> None:
    prompt = {name: {"class_type": "SaveImage", "inputs": {}} for name in ("7", "3", "5")}
    by_node = {name: {"images": [{"filename": f"{name}.png"}]} for name in ("5", "x", "3", "7")}
    found = job_end.ordered(
        prompt, {node: responses.node_outputs(node, ui) for node, ui in by_node.items()}
    )
    assert [one.filename for one in found] == ["7.png", "3.png", "5.png", "x.png"]


class Sent:
    """Takes a request and gives what an upload gives."""

    is_late = False

    def once(self, _method: str, _path: str, *, body: bytes, headers: Any) -> http.Reply:
        self.body = body
        return http.Reply(200, {})

    def value(self, _reply: http.Reply, _path: str, parse: Any) -> Any:
        return parse({"name": "a.png"})


def test_a_file_name_adds_no_line_and_no_field_to_an_upload() -> None:
    sent = Sent()
    name = 'a"; name="type"\r\nX-Extra: 1\r\n\r\n\\b.png'
    ServerFiles(sent).upload(b"content", name, "")  # type: ignore[arg-type]
    (line,) = [part for part in sent.body.split(b"\r\n") if b'name="image"' in part]
    assert line.count(b'"') == 4
    assert b"\r\nX-Extra" not in sent.body


def test_the_size_of_a_file_is_that_of_the_file_and_not_of_the_requested_byte(
    engine: ComfyUI, fake: Any
) -> None:
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/1234\r\nContent-Length: 1"
    fake.script.raw = {"/view": head + b"\r\n\r\nx"}
    assert engine.files.size(Output("1", "images", "a.png")) == 1234


def test_a_mask_is_uploaded_with_the_image_that_it_belongs_to() -> None:
    sent = Sent()
    files = ServerFiles(sent)  # type: ignore[arg-type]
    files.upload_mask(b"layer", "masked.png", "ours", "sub/photo.png [output]")
    fields = {
        part.partition(b"\r\n\r\n")[0].partition(b'name="')[2].partition(b'"')[0]: (
            part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        )
        for part in sent.body.split(b"--" + sent.body[2:34])[1:-1]
    }
    assert fields[b"overwrite"] == b"true"
    assert (fields[b"type"], fields[b"subfolder"]) == (b"input", b"ours")
    original = {"filename": "photo.png", "subfolder": "sub", "type": "output"}
    assert json.loads(fields[b"original_ref"]) == original


def test_a_run_that_is_nowhere_is_unknown_and_one_in_the_history_has_ended(
    engine: ComfyUI, fake: Any
) -> None:
    assert engine.state("my-id").stage == "unknown"
    fake.script.history = {"my-id": {"status": {}, "outputs": {}}}
    assert engine.state("my-id").stage == "ended"
    fake.script.queue = {"queue_running": [], "queue_pending": [[1, "my-id", {}, {}, []]]}
    assert engine.state("my-id").stage == "queued"
