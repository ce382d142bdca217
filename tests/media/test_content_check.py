"""A received file is compared with what its name says."""

from __future__ import annotations

import pytest

from comfyui_pipeline.media import (
    content_check,
)
from comfyui_pipeline.media.file_types import detect_bytes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", ""),
        ("a.json", b"", ""),
        ("a.glb", b"", "0 bytes"),
        ("a", b"", "0 bytes"),
        ("a.html", b"<!doctype html>", ""),
        ("a.svg", b"<!doctype html>", ""),
        ("a.glb", b"<!doctype html>", "a web page"),
        ("a.PNG", b"<!doctype html>", "a web page"),
        ("a.png", b"GIF89a" + bytes(20), ""),
        ("a.mp4", b"\0\1\2\3", ""),
        ("a.mp3", b"\0" * 50, ""),
        ("a.xyz", b"\0\1\2\3", ""),
        ("a.png", b"\0\1\2\3", "4 bytes of an unknown format"),
        ("a.png", b"\0" * 5000, "5 KB of an unknown format"),
        ("a.wav", b"\x1f\x8b\x08\0", "a file (gzip)"),
        ("a.wav", b"{}", "JSON"),
        ("a.glb", b"words", "a text file"),
        ("a.jpg", b"<svg xmlns='x'/>", "an SVG drawing"),
        ("a.tiff", b"%PDF-1.7", "a file (pdf)"),
        ("a.avif", b"ID3" + bytes(20), "an audio file (mp3)"),
        ("a.psd", b"glTF" + bytes(20), "a 3D file (glb)"),
    ],
)
def test_a_mismatch_between_name_and_content_is_described(
    name: str, content: bytes, message: str
) -> None:
    assert content_check.mismatch(name, detect_bytes(content), len(content)) == message
