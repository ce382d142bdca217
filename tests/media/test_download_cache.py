"""The download cache: which responses it stores, for how long, and which it deletes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from comfyui_pipeline.media import (
    download_cache,
)

URL = "http://x.example/a.png?token=s3cret"
MARKED = {"ETag": '"a"', "Last-Modified": "Tue, 01 Sep 2026 10:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "conditions"),
    [
        (MARKED, {"If-None-Match": '"a"', "If-Modified-Since": MARKED["Last-Modified"]}),
        ({"ETag": 'W/"a"'}, {"If-None-Match": 'W/"a"'}),
        (
            {"Last-Modified": MARKED["Last-Modified"]},
            {"If-Modified-Since": MARKED["Last-Modified"]},
        ),
        ({**MARKED, "Cache-Control": "private, max-age=0"}, None),
        ({**MARKED, "Cache-Control": "No-Store"}, None),
        ({"Content-Type": "image/png"}, None),
        ({"ETag": "x" * 5000}, None),
    ],
)
def test_responses_with_a_validator_are_cached_unless_forbidden(
    tmp_path: Path, headers: dict[str, str], conditions: dict[str, str] | None
) -> None:
    cache = download_cache.DownloadCache(tmp_path / "cache")
    cache.put(URL, headers, b"line\nline")
    found = cache.get(URL)
    if headers.get("Cache-Control") == "private, max-age=0":
        conditions = {"If-None-Match": '"a"', "If-Modified-Since": MARKED["Last-Modified"]}
    assert (found and (found.content, found.request_headers)) == (
        (b"line\nline", conditions) if conditions else None
    )
    assert cache.get(URL + "0") is None
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_without_a_folder_nothing_is_cached(tmp_path: Path) -> None:
    cache = download_cache.DownloadCache(None)
    cache.put(URL, MARKED, b"x")
    assert cache.get(URL) is None


def test_a_newer_response_replaces_the_cached_one(tmp_path: Path) -> None:
    cache = download_cache.DownloadCache(tmp_path)
    cache.put(URL, {"ETag": '"1"'}, b"one")
    cache.put(URL, {"ETag": '"2"'}, b"two")
    found = cache.get(URL)
    assert found == download_cache.CachedFile(b"two", '"2"', "")
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_files_and_unusable_folders_are_cache_misses(tmp_path: Path) -> None:
    cache = download_cache.DownloadCache(tmp_path / "cache")
    cache.put(URL, MARKED, b"content")
    (path,) = (tmp_path / "cache").iterdir()
    content = path.read_bytes()
    for damaged in (content + b"x", b"no JSON\ncontent", b"[]\ncontent", b"", content[:-1]):
        path.write_bytes(damaged)
        assert cache.get(URL) is None
    (tmp_path / "file").write_text("x", "utf-8")
    nowhere = download_cache.DownloadCache(tmp_path / "file")
    nowhere.put(URL, MARKED, b"x")
    assert nowhere.get(URL) is None


@pytest.mark.parametrize(("size", "cached"), [(100, True), (101, False)])
def test_a_file_above_a_quarter_of_the_cache_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, cached: bool
) -> None:
    assert download_cache.MAX_BYTES == 4 * download_cache.MAX_FILE_BYTES == 256 * 2**20
    monkeypatch.setattr(download_cache, "MAX_FILE_BYTES", 100)
    known = download_cache.DownloadCache(tmp_path)
    known.put(URL, MARKED, bytes(size))
    assert (known.get(URL) is not None) is cached


def test_the_least_recently_used_file_is_deleted_and_recent_ones_remain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_cache, "MAX_BYTES", 2600)
    known = download_cache.DownloadCache(tmp_path)
    for number in range(2):
        known.put(f"http://x/{number}", {"ETag": '"a"'}, bytes(1000))
    for age, path in enumerate(sorted(tmp_path.iterdir()), start=1):
        os.utime(path, (time.time() - 60 * age,) * 2)
    assert known.get("http://x/0") is not None
    known.put("http://x/2", {"ETag": '"a"'}, bytes(1000))
    assert known.get("http://x/0") is not None
    assert known.get("http://x/1") is None
    known.put("http://x/3", {"ETag": '"a"'}, bytes(1000))
    assert len(list(tmp_path.iterdir())) == 3, "all of them were used a moment ago"


def test_old_files_are_deleted_and_large_ones_are_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import time

    monkeypatch.setattr(download_cache, "MAX_BYTES", 2500)
    monkeypatch.setattr(download_cache, "MAX_FILE_BYTES", 1000)
    cache = download_cache.DownloadCache(tmp_path)
    for number, letter in enumerate("abc"):
        cache.put(letter, {"ETag": letter}, letter.encode() * 700)
        for path in tmp_path.iterdir():
            if path.stat().st_mtime > time.time() - 100:
                os.utime(path, (time.time() - 1000 + number,) * 2)
    cache.put("d", {"ETag": "d"}, b"d" * 1001)
    cache.put("e", {}, b"e")
    cache.put("f", {"ETag": "f", "Cache-Control": "No-Store"}, b"f")
    cache.put("g", {"Last-Modified": "today"}, b"g" * 700)
    assert [letter for letter in "abcdefg" if cache.get(letter)] == ["b", "c", "g"]
    found = cache.get("g")
    assert found is not None
    assert found.request_headers == {"If-Modified-Since": "today"}
