"""Responses with files: types, ranges, conditions, downloads; and metrics."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest
import requests
from PIL import Image

from input_server.content_type import detect_type
from tests.input_server.running import KEY, Running
from tests.waiting import TIMEOUT
from tests.wine import not_under_wine

CONTENT = bytes(range(256)) * 3000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("answers") / "m"
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "false.png").write_text("<html><script>alert(1)</script>", "utf-8")
    (folder / "true.bin").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (folder / "page.html").write_text("<script>alert(1)</script>", "utf-8")
    (folder / "quo;te's 图.txt").write_text("x", "utf-8")
    (folder / "long.txt").write_text("a line\n" * 1000, "utf-8")
    (folder / "audio.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    Image.effect_noise((80, 80), 70).save(folder / "image.png")
    with Running(folder) as server:
        yield server


def parts_of(answer: requests.Response) -> list[tuple[str, bytes]]:
    """Return range and content of each part of a multipart body."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content)
    boundary = message.get_boundary()
    assert boundary is not None
    raw = answer.content.split(f"\r\n--{boundary}".encode())[1:-1]
    found = []
    for part in raw:
        head, _, body = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        span = re.search(rb"Content-Range: (.*)", head)
        assert span is not None
        found.append((span[1].decode().strip(), body))
    return found


def test_several_ranges_are_one_multipart_response(running: Running) -> None:
    answer = running.get("data.bin", Range="bytes=0-9, 700000-700299, -5")
    assert answer.status_code == 206
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    size = len(CONTENT)
    assert parts_of(answer) == [
        (f"bytes 0-9/{size}", CONTENT[:10]),
        (f"bytes 700000-700299/{size}", CONTENT[700000:700300]),
        (f"bytes {size - 5}-{size - 1}/{size}", CONTENT[-5:]),
    ]


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=5-8", 206, CONTENT[5:9]),
        ("bytes=767999-", 206, CONTENT[-1:]),
        ("bytes=-1", 206, CONTENT[-1:]),
        ("bytes=10-400009", 206, CONTENT[10:400010]),
        ("bytes=0-9, 999999999-", 206, CONTENT[:10]),
        ("bytes=768000-", 416, b"The requested range is beyond the end of the file."),
        ("bytes=768000-, 999999-", 416, b"The requested range is beyond the end of the file."),
        ("bytes=0-500000, 10-600000", 200, CONTENT),
        ("bytes=" + ",".join(["0-1"] * 9), 200, CONTENT),
        ("bytes=0-1," + " " * 300, 200, CONTENT),
        ("bytes=9-5", 200, CONTENT),
        ("lines=1-2", 200, CONTENT),
    ],
)
def test_ranges_are_sent_as_requested_and_invalid_ones_ignored(
    running: Running, asked: str, status: int, body: bytes
) -> None:
    answer = running.get("data.bin", Range=asked)
    assert (answer.status_code, answer.content) == (status, body)
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_an_empty_file_is_sent_complete_and_has_no_ranges(running: Running) -> None:
    assert running.get("empty.txt").content == b""
    assert running.get("empty.txt", Range="bytes=0-").status_code == 416
    head = requests.head(f"{running.files}/data.bin", timeout=TIMEOUT)
    assert (head.headers["Content-Length"], head.content) == (str(len(CONTENT)), b"")


def test_the_content_type_is_detected_from_the_bytes(running: Running) -> None:
    false = running.get("false.png").headers
    assert false["Content-Type"] == "application/octet-stream"
    assert false["Content-Disposition"].startswith("attachment")
    assert running.get("true.bin").headers["Content-Type"] == "image/png"
    page = running.get("page.html").headers
    assert page["Content-Disposition"].startswith("attachment")
    assert "sandbox" in page["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.mp4", b"\0\0\0\x18ftypisom\0\0\0\0", "video/mp4"),
        ("a.m4a", b"\0\0\0\x18ftypM4A \0\0\0\0", "audio/mp4"),
        ("a.m4a", b"\0\0\0\x18ftypisom\0\0\0\0", "audio/mp4"),
        ("a.mkv", b"\x1a\x45\xdf\xa3" + bytes(12), "video/x-matroska"),
        ("a.webm", b"\x1a\x45\xdf\xa3" + bytes(12), "video/webm"),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.mp3", b"\xff\xfb\x90\x00", "audio/mpeg"),
        ("a.png", b"", "image/png"),
        ("a.webp", b"GIF89a", "image/gif"),
        ("a.svg", b"<svg", "image/svg+xml"),
        ("a.unknown", b"text", "application/octet-stream"),
    ],
)
def test_types_by_name_and_bytes(name: str, head: bytes, kind: str) -> None:
    assert detect_type(name, head) == kind


def test_a_download_is_an_attachment_with_an_encoded_name(running: Running) -> None:
    name = "quo;te's 图.txt"
    plain = running.get("quo%3Bte's%20%E5%9B%BE.txt").headers["Content-Disposition"]
    assert plain.startswith("inline;")
    forced = running.get("quo%3Bte's%20%E5%9B%BE.txt?download=1").headers["Content-Disposition"]
    assert forced == (
        "attachment; filename=\"quo;te's _.txt\"; filename*=UTF-8''"
        + requests.utils.quote(name, "")
    )


@pytest.mark.parametrize(
    "path",
    [
        "long.txt?download=1",
        "long.txt?q=auto&download=1",
        "image.png?download=1",
        "image.png?q=auto&download=1",
        "image.png?w=20&download=1",
    ],
)
def test_download_1_works_with_other_parameters(running: Running, path: str) -> None:
    answer = running.get(path, Accept_Encoding="gzip")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment;")


def test_the_policy_of_audio_and_video_allows_only_media(running: Running) -> None:
    policy = running.get("audio.wav").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "media-src 'self'" in policy
    assert "script" not in policy


@not_under_wine("uses inode numbers again at once")
def test_a_replaced_file_has_another_etag_at_once(running: Running) -> None:
    path = running.folder / "changing.txt"
    tags = set()
    for text in ("one", "two", "six"):
        part = running.folder / ".part"
        part.write_text(text, "utf-8")
        os.utime(part, ns=(10**18, 10**18))
        part.replace(path)
        answer = running.get("changing.txt")
        assert answer.text == text
        tags.add(answer.headers["ETag"])
    assert len(tags) == 3, "files of the same size and time must have different ETags"


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_changed_symlink_is_followed_at_once(running: Running, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (running.folder / f"{name}.txt").write_text(name, "utf-8")
    link = running.folder / "link.txt"
    link.symlink_to("a.txt")
    assert running.get("link.txt").text == "a"
    link.unlink()
    link.symlink_to("b.txt")
    assert running.get("link.txt").text == "b"
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    link.unlink()
    link.symlink_to(tmp_path / "secret.txt")
    assert running.get("link.txt").status_code == 403


# -- metrics ---------------------------------------------------------------------------------------


def metric(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
    assert found is not None, f"{name} is not in\n{text}"
    return float(found[1])


def metrics_after(server: Running, responses: int) -> tuple[str, int]:
    """Return the metrics once they include so many responses, and the number of requests for them.

    Those are counted, too. A response is counted after it was sent, maybe by another worker.
    """
    for asked in range(12):
        text = server.get("/metrics").text
        if metric(text, "comfyui_files_seconds_count") == responses + asked:
            return text, asked
        time.sleep(0.02 * 2**asked)  # backoff, because each request counts
    raise AssertionError(f"the metrics do not have {responses} responses:\n{text}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_metrics_cover_all_workers(tmp_path: Path, workers: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("12345", "utf-8")
    Image.new("RGB", (40, 40)).save(tmp_path / "m" / "a.png")
    with Running(tmp_path / "m", INPUT_SERVER_WORKERS=workers) as server:
        for _ in range(6):
            requests.get(f"{server.files}/a.txt", headers={"Connection": "close"}, timeout=TIMEOUT)
        server.get("absent.txt")
        server.get("/comfyui_server/pw=wrong/files/m/a.txt")
        for width in range(1, 13):
            url = f"{server.files}/a.png?w={width}"
            assert requests.get(url, headers={"Connection": "close"}, timeout=TIMEOUT).ok
        text, asked = metrics_after(server, 6 + 2 + 12)
        assert metric(text, 'comfyui_files_copies_total{how="made"}') == 12
        assert metric(text, 'comfyui_files_requests_total{method="GET",status="200"}') == 18 + asked
        assert metric(text, "comfyui_files_sent_bytes_total") > 30
        assert metric(text, 'comfyui_files_failures_total{why="missing"}') == 1
        assert metric(text, 'comfyui_files_failures_total{why="wrong key"}') == 1
        assert metric(text, 'comfyui_files_mount_files{mount="m"}') == 2


def test_metrics_need_a_key_except_on_this_machine(running: Running) -> None:
    assert running.get("/metrics").status_code == 200
    proxied = running.get("/metrics", X_Forwarded_For="203.0.113.1")
    assert proxied.status_code == 401
    assert running.get(f"/comfyui_server/pw={KEY}/metrics", X_Forwarded_For="x").status_code == 200
    assert running.get("/comfyui_server/pw=wrong/metrics").status_code == 401
