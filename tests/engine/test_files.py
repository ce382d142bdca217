"""Uploads, sizes and downloads of files on the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_pipeline.engine import http
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.files import ServerFiles
from comfyui_pipeline.engine.protocol import Output


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
def test_a_size_header_has_ascii_digits_only_or_is_ignored(
    engine: ComfyUI, fake: Any, header: str, length: str, known: int | None
) -> None:
    status = "206 Partial Content" if "Range" in header else "200 OK"
    head = f"HTTP/1.1 {status}\r\n{header}{length}\r\nConnection: close\r\n\r\n"
    fake.script.raw = {"/view": head.encode("utf-8") + b"abc"}
    assert engine.files.size(Output("1", "images", "a.png")) == known


def test_the_size_of_a_missing_file_is_none_and_of_an_empty_one_0(
    engine: ComfyUI, fake: Any
) -> None:
    for status, size in [(404, None), (416, 0), (500, None)]:
        fake.script.broken = {"/view": (status, b"")}
        assert engine.files.size(Output("1", "images", "a.png")) == size


class Sent:
    """Records the body of a request and returns the response of an upload."""

    is_late = False

    def once(self, _method: str, _path: str, *, body: bytes, headers: Any) -> http.Reply:
        self.body = body
        return http.Reply(200, {})

    def value(self, _reply: http.Reply, _path: str, parse: Any) -> Any:
        return parse({"name": "a.png"})


def test_a_file_name_cannot_inject_headers_or_fields_into_an_upload() -> None:
    sent = Sent()
    name = 'a"; name="type"\r\nX-Extra: 1\r\n\r\n\\b.png'
    ServerFiles(sent).upload(b"content", name, "")  # type: ignore[arg-type]
    (line,) = [part for part in sent.body.split(b"\r\n") if b'name="image"' in part]
    assert line.count(b'"') == 4
    assert b"\r\nX-Extra" not in sent.body


def test_the_size_of_a_file_is_the_total_of_content_range(engine: ComfyUI, fake: Any) -> None:
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/1234\r\nContent-Length: 1"
    fake.script.raw = {"/view": head + b"\r\n\r\nx"}
    assert engine.files.size(Output("1", "images", "a.png")) == 1234


def test_a_mask_upload_references_its_original_image() -> None:
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
