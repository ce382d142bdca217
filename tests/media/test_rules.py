"""Names, numbers and sizes that are decided in one line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import (
    content_check,
    download_cache,
    file_names,
    file_types,
    inline_data,
    previews,
    result_files,
)
from comfyui_pipeline.media.file_types import detect_bytes


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b\\c.png", "c.png"),
        ('a<>:"|?*b.png', "a_______b.png"),
        ("12:30.png", "12_30.png"),
        (" .a.png. ", "a.png"),
        ("\u3000a.png\u00a0", "a.png"),
        ("con.png", "_con.png"),
        ("COM¹.txt", "_COM¹.txt"),
        ("com10.txt", "com10.txt"),
        ("a\x07b\x7f.png", "a_b_.png"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\u200db", "a\u200db"),
        ("e\u0301.png", "é.png"),
        ("", "file"),
        ("...", "file"),
        ("x" * 250 + ".png", "x" * 196 + ".png"),
        ("x." + "y" * 17 + "z" * 200, ("x." + "y" * 17 + "z" * 200)[:200]),
        ("字" * 100 + ".png", "字" * 65 + ".png"),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert file_names.safe_name(name) == safe
    assert file_names.safe_name(safe) == safe


@pytest.mark.parametrize(
    ("folder", "safe"),
    [
        ("../a/./b", "a/b"),
        ("/a//b/", "a/b"),
        ("a\\b", "a/b"),
        ("/".join("x" * 20), "/".join("x" * 16)),
        ("aux/nul.d", "_aux/_nul.d"),
        ("", ""),
    ],
)
def test_a_folder_is_made_safe(folder: str, safe: str) -> None:
    assert file_names.safe_subfolder(folder) == safe


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("a red fox, running", "a_red_fox_running"),
        ("don't stop", "dont_stop"),
        ("x" * 50, "x" * 40),
        ("word " * 20, "word_word_word_word_word_word_word_word"),
        ("a-b--c", "a-b-_c"),
        ("nul", "_nul"),
        ("abcdefgh " + "x" * 50, "abcdefgh_" + "x" * 31),
        ("a" * 21 + " " + "x" * 50, "a" * 21),
    ],
)
def test_a_prefix_is_made_of_words(text: str, prefix: str) -> None:
    assert file_names.prefix_from_words(text) == prefix


def test_files_of_one_name_are_numbered_before_the_ending(tmp_path: Path) -> None:
    stored = [result_files.store([bytes([n])], tmp_path, "", "a.b.png").relative for n in range(3)]
    assert stored == ["a.b.png", "a.b_1.png", "a.b_2.png"]
    plain = [result_files.store([bytes([n])], tmp_path, "", "plain").relative for n in range(2)]
    assert plain == ["plain", "plain_1"]


def test_no_more_than_ten_thousand_files_share_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result_files._MAX_NUMBER == 10_000
    monkeypatch.setattr(result_files, "_MAX_NUMBER", 2)
    for number in range(3):
        result_files.store([bytes([number])], tmp_path, "", "a.png")
    with pytest.raises(MediaError, match="more than 2 files called a"):
        result_files.store([b"\x09"], tmp_path, "", "a.png")


def test_sizes_that_are_taken_and_shown() -> None:
    assert file_types.MAX_IMAGE_BYTES == 50 * 2**20
    assert file_types.MAX_FILE_BYTES == 200 * 2**20
    assert inline_data.MAX_BYTES == 50 * 2**20
    assert file_types.MAX_BYTES["mask"] == file_types.MAX_BYTES["animation"] == 50 * 2**20
    assert file_types.MAX_BYTES["video"] == file_types.MAX_BYTES["file"] == 200 * 2**20
    assert (previews.MAX_COPY_BYTES, previews.MAX_CHARACTERS, previews.MAX_IMAGES) == (
        200 * 1024,
        2**20,
        20,
    )
    assert (previews.SMALL[0], previews.LARGE[0]) == ((768, 82), (4096, 90))


def test_kept_downloads_make_room_by_their_age_and_large_ones_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import time

    monkeypatch.setattr(download_cache, "MAX_BYTES", 2500)
    monkeypatch.setattr(download_cache, "MAX_FILE_BYTES", 1000)
    kept = download_cache.DownloadCache(tmp_path)
    for number, letter in enumerate("abc"):
        kept.put(letter, {"ETag": letter}, letter.encode() * 700)
        for path in tmp_path.iterdir():
            if path.stat().st_mtime > time.time() - 100:
                os.utime(path, (time.time() - 1000 + number,) * 2)
    kept.put("d", {"ETag": "d"}, b"d" * 1001)
    kept.put("e", {}, b"e")
    kept.put("f", {"ETag": "f", "Cache-Control": "No-Store"}, b"f")
    kept.put("g", {"Last-Modified": "today"}, b"g" * 700)
    assert [letter for letter in "abcdefg" if kept.get(letter)] == ["b", "c", "g"]
    found = kept.get("g")
    assert found is not None
    assert found.request_headers == {"If-Modified-Since": "today"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
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
def test_what_arrived_under_a_name(name: str, content: bytes, told: str) -> None:
    assert content_check.mismatch(name, detect_bytes(content), len(content)) == told


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x14ftypheix\0\0\0\0heix", "heic"),
        (b"\0\0\0\x14ftyphevc\0\0\0\0hevc", "heic"),
        (b"\0\0\0\x14ftypisom\0\0\0\0avif", "mp4"),
        (b"II+\0\x08\0", "tiff"),
        (b"\x1f\x8b\x08\0", "gzip"),
    ],
)
def test_formats_by_their_brands(content: bytes, form: str) -> None:
    assert detect_bytes(content).format == form
