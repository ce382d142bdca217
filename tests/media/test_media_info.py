"""Size and duration of videos and audio files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.media.result_check import inspect_result

FILES = Path(__file__).resolve().parent.parent / "data" / "media"


@pytest.mark.parametrize(
    ("name", "kind", "size", "frames"),
    [
        ("film.mp4", "video", (64, 48), 12),
        ("film.mov", "video", (64, 48), 12),
        ("film.webm", "video", (64, 48), None),
        ("film.mkv", "video", (64, 48), None),
        ("sound.mp3", "audio", (None, None), None),
        ("sound.flac", "audio", (None, None), None),
        ("sound.opus", "audio", (None, None), None),
        ("sound.wav", "audio", (None, None), None),
        ("sound.m4a", "audio", (None, None), None),
    ],
)
def test_size_and_duration_of_video_and_audio_are_read(
    name: str, kind: str, size: tuple[int | None, int | None], frames: int | None
) -> None:
    with (FILES / name).open("rb") as file:
        found = inspect_result(file, name)
    assert (found.kind, (found.width, found.height), found.frames) == (kind, size, frames)
    assert found.seconds == pytest.approx(1.5, abs=0.1)


@given(st.sampled_from(["film.mp4", "film.webm", "sound.mp3", "sound.flac"]), st.data())
def test_a_damaged_header_does_not_raise(name: str, data: st.DataObject) -> None:
    content = bytearray((FILES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    inspect_result(io.BytesIO(bytes(content[: data.draw(st.integers(1, len(content)))])), name)


@pytest.mark.parametrize(
    ("content", "kind", "form"),
    [
        (b"glTF\2\0\0\0", "3d", "glb"),
        (b'{"asset": {"version": "2.0"}}', "3d", "gltf"),
        (b"ply\nformat ascii 1.0\n", "3d", "ply"),
        (b"solid x\nfacet normal 0 0 1\n", "3d", "stl"),
        (b'{"a": 1}', "text", "json"),
        (b"words", "text", "plain"),
        (b"\x76\x2f\x31\x01\2\0\0\0", "image", "exr"),
        (b"\0\1\2\3", "file", "unknown"),
    ],
)
def test_other_kinds_are_detected_by_content(content: bytes, kind: str, form: str) -> None:
    found = inspect_result(io.BytesIO(content), "x")
    assert (found.kind, found.format) == (kind, form)
