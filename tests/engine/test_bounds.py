"""How much a server may send, and in which shapes; real sockets, with small limits."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from comfyui_pipeline.engine import http, transport, websocket
from comfyui_pipeline.engine import messages as frames
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.protocol import Job, Output
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.errors import EngineError, ServerUnreachable
from tests.conftest import png
from tests.engine.test_faults import END, EXECUTED, GOOD, PROMPT, SUCCESS, history


@pytest.fixture
def engine(new_engine: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComfyUI]:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    engine = new_engine(
        fake.url, timeout=20, timeouts=Timeouts(ask_after=0.3, poll_interval=0.05), log=print
    )
    yield engine
    engine.close()


def run(engine: ComfyUI) -> Any:
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        return queued.wait(time.monotonic() + 20, lambda progress: None)


def raw(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


EMPTY = b'{"queue_running": [], "queue_pending": []}'


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_a_response_may_have_so_many_bytes_and_no_more(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch, extra: int, fits: bool
) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 2**20)
    fake.script.broken = {"/queue": (200, EMPTY.ljust(2**20 + extra))}
    if fits:
        assert engine.queue_state().running == ()
    else:
        with pytest.raises(EngineError, match="more than 1 MB for /queue"):
            engine.queue_state()


def test_the_limits_are_those_that_are_stated() -> None:
    assert http.MAX_BODY == 64 * 2**20
    assert websocket.MAX_MESSAGE == 64 * 2**20
    assert frames.MAX_IMAGES_BYTES == 128 * 2**20


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize("megabytes", [1, 300])
def test_a_compressed_response_is_bounded_by_what_comes_out(
    engine: ComfyUI, fake: Any, pack: Any, megabytes: int
) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    packed = pack(EMPTY + b" " * megabytes * 2**20)
    fake.script.raw = {"/queue": raw(packed, f"Content-Encoding: {name}")}
    if megabytes == 1:
        assert engine.queue_state().running == ()
    else:
        with pytest.raises(EngineError, match="more than 64 MB"):
            engine.queue_state()


def test_several_gzip_members_are_one_body_and_a_cut_one_is_none(
    engine: ComfyUI, fake: Any
) -> None:
    packed = gzip.compress(EMPTY[:9]) + gzip.compress(EMPTY[9:])
    fake.script.raw = {"/queue": raw(packed, "Content-Encoding: gzip")}
    assert engine.queue_state().pending == ()
    fake.script.raw = {"/queue": raw(packed[:-12], "Content-Encoding: gzip")}
    with pytest.raises(ServerUnreachable, match="broke off its response to /queue"):
        engine.queue_state()


def test_an_unasked_compression_is_named(engine: ComfyUI, fake: Any) -> None:
    fake.script.raw = {"/queue": raw(b"x", "Content-Encoding: br")}
    with pytest.raises(EngineError, match=r"compressed .'br'"):
        engine.queue_state()


def test_many_small_values_are_refused_as_a_large_body_is(engine: ComfyUI, fake: Any) -> None:
    body = b'{"queue_running": [' + b"[]," * 1_100_000 + b'[]], "queue_pending": []}'
    fake.script.broken = {"/queue": (200, body)}
    with pytest.raises(EngineError, match="more than 2000000 values"):
        engine.queue_state()


@pytest.mark.parametrize(("levels", "fits"), [(197, True), (198, False), (100_000, False)])
def test_lists_within_lists_have_a_limit(
    engine: ComfyUI, fake: Any, levels: int, fits: bool
) -> None:
    inner = "[" * levels + "]" * levels
    body = f'{{"queue_running": [[1, "other", {inner}]], "queue_pending": []}}'
    fake.script.broken = {"/queue": (200, body.encode())}
    if fits:
        assert len(engine.queue_state().running) == 1
    else:
        with pytest.raises(EngineError, match="/queue with JSON that is nested too deeply"):
            engine.queue_state()


ODD: list[Any] = [
    [],
    None,
    7,
    "x" * 2**20,
    float("nan"),
    {},
    {"queue_running": {}, "queue_pending": []},
    {"queue_running": [], "queue_pending": None},
    {"queue_running": [7], "queue_pending": []},
    {"queue_running": [[1]], "queue_pending": []},
    {"queue_running": [[None, "id"]], "queue_pending": []},
    {"queue_running": [[float("nan"), "id"]], "queue_pending": []},
    {"queue_running": [[True, "id"]], "queue_pending": []},
    {"queue_running": [[1, {}]], "queue_pending": []},
    {"queue_running": [[1, "x" * 201]], "queue_pending": []},
]


@pytest.mark.parametrize("document", ODD, ids=lambda document: repr(document)[:40])
def test_a_queue_of_another_shape_is_not_comfyui(engine: ComfyUI, fake: Any, document: Any) -> None:
    fake.script.broken = {"/queue": (200, json.dumps(document).encode())}
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.queue_state()
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.state("x")


def test_an_id_of_200_letters_and_a_number_with_a_fraction_are_taken(
    engine: ComfyUI, fake: Any
) -> None:
    fake.script.queue = {"queue_running": [], "queue_pending": [[2.5, "x" * 200], [-1, "first"]]}
    assert [entry.prompt_id for entry in engine.queue_state().pending] == ["first", "x" * 200]


@pytest.mark.parametrize("document", [[], {"devices": []}, {"system": 1}, 7])
def test_system_figures_of_another_shape_are_not_comfyui(
    engine: ComfyUI, fake: Any, document: Any
) -> None:
    fake.script.broken = {"/system_stats": (200, document)}
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.system()


def test_system_figures_are_finite_and_texts_short(engine: ComfyUI, fake: Any) -> None:
    system = {"os": "x" * 2**20, "ram_total": float("nan"), "ram_free": 10**400 // 10**300}
    device = {"name": "gpu", "vram_free": float("inf"), "vram_total": 3, "deep": [[]]}
    fake.script.broken = {"/system_stats": (200, {"system": system, "devices": [device, 7]})}
    stats = engine.system()
    assert stats["system"] == {"os": "x" * 300, "ram_free": 10**100}
    assert stats["devices"] == [{"name": "gpu", "vram_total": 3}, {}]


@pytest.mark.parametrize("document", [{}, [1], [None], "x", [["a"]]])
def test_names_of_another_shape_are_not_comfyui(engine: ComfyUI, fake: Any, document: Any) -> None:
    fake.script.broken = {"/models": (200, document), "/embeddings": (200, document)}
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.models("loras")
    with pytest.raises(ServerUnreachable, match="is not ComfyUI"):
        engine.embeddings()


@pytest.mark.parametrize(
    ("length", "known"),
    [
        ("3", 3),
        (" 3 ", 3),
        ("²", None),
        ("9" * 5000, None),
        ("+3", None),
        ("3_0", None),
        ("-1", None),
    ],
)
@pytest.mark.parametrize("header", ["Content-Range: bytes 0-0/", "Content-Length: "])
def test_a_stated_size_is_ascii_digits_or_unknown(
    engine: ComfyUI, fake: Any, header: str, length: str, known: int | None
) -> None:
    status = "206 Partial Content" if "Range" in header else "200 OK"
    head = f"HTTP/1.1 {status}\r\n{header}{length}\r\nConnection: close\r\n\r\n"
    fake.script.raw = {"/view": head.encode("utf-8") + b"abc"}
    assert engine.files.size(Output("1", "images", "a.png")) == known


def frame(opcode: int, payload: bytes, *, fin: bool = True, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return bytes([opcode | (0x80 if fin else 0), 127]) + size.to_bytes(8, "big") + payload


def as_frames(*messages: Any) -> list[bytes]:
    return [frame(1, json.dumps(message).encode()) for message in messages]


NODE = {"type": "executing", "data": {"node": "9", "prompt_id": "my-id"}}
REST = [
    {**event, "data": {**event["data"], "prompt_id": "my-id"}} for event in (EXECUTED, SUCCESS, END)
]


@pytest.mark.parametrize(
    "large",
    [
        frame(2, b"", length=2**20 + 1),
        frame(2, b"", length=2**63),
        frame(2, b"x" * 2**19, fin=False) + frame(0, b"x" * 2**19, fin=False) + frame(0, b"x"),
    ],
    ids=["one too many", "an absurd length", "in fragments"],
)
def test_a_message_that_is_too_large_is_not_read_but_named(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch, large: bytes
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 2**20)
    fake.script.raw_frames, fake.script.history = True, GOOD
    fake.script.frames = [*as_frames(NODE), large]
    result = run(engine)
    assert result.complete
    assert "over the WebSocket" in result.node_errors["9"]


def test_a_message_of_just_the_limit_is_read(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 2**20)
    half = frame(1, b" " * 2**19, fin=False) + frame(0, b"[]".ljust(2**19))
    fake.script.raw_frames, fake.script.history = True, GOOD
    fake.script.frames = [*as_frames(NODE), half, frame(1, b"{}".ljust(2**20)), *as_frames(*REST)]
    result = run(engine)
    assert not result.node_errors
    assert fake.script.sockets == 1


def test_images_beyond_the_limit_are_left_out_and_reported(
    engine: ComfyUI, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = png(8, 8)
    monkeypatch.setattr(frames, "MAX_IMAGES_BYTES", 2 * len(one))
    image = b"\0\0\0\1\0\0\0\2" + one
    fake.script.history = history("execution_success", outputs={})
    node = {"type": "executing", "data": {"node": "9", "prompt_id": "ID"}}
    fake.script.frames = [node, image, image, SUCCESS, END]
    assert not run(engine).node_errors
    fake.script.frames = [node, image, image, image, SUCCESS, END]
    fake.script.sockets = 0
    result = run(engine)
    assert len(result.outputs) == 2
    assert "left out" in result.node_errors["9"]


DEEP = json.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize(
    "message",
    [
        "[" * 100_000,
        {"type": "execution_cached", "data": {"nodes": 5, "prompt_id": "ID"}},
        {"type": "progress", "data": {"value": float("nan"), "max": 10**400, "prompt_id": "ID"}},
        {"type": "progress", "data": {"node": {}, "value": "x", "max": [], "prompt_id": "ID"}},
        {"type": "executed", "data": {"node": "9", "output": {"images": DEEP}, "prompt_id": "ID"}},
        {"type": ["x"], "data": {"prompt_id": "ID"}},
        {"type": "executed", "data": {"node": None, "output": [[1]], "prompt_id": "ID"}},
        b"\0\0\0\4\xff\xff\xff\xff" + b"[" * 100_000,
    ],
    ids=lambda message: str(message)[:50],
)
def test_frames_of_odd_contents_are_passed_over(engine: ComfyUI, fake: Any, message: Any) -> None:
    fake.script.frames, fake.script.history = [message, EXECUTED, SUCCESS, END], GOOD
    assert run(engine).complete


def test_what_is_unpacked_comes_in_pieces_of_a_bounded_size(engine: ComfyUI, fake: Any) -> None:
    packed = gzip.compress(b"\0" * 20 * 2**20)
    fake.script.raw = {"/view": raw(packed, "Content-Encoding: gzip")}
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
