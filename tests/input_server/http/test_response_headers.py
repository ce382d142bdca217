"""Headers of responses: types, downloads, caches."""

from __future__ import annotations

import os
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from input_server.content_type import file_headers
from tests.input_server.served import FILES, SAFE

HOUR = 3600.0


def test_every_response_has_nosniff_and_no_referrer(make_served: Any) -> None:
    ask = make_served()
    (ask.folder / "a.txt").write_text("text", "utf-8")
    etag = ask("a.txt").headers["ETag"]
    responses = {
        200: ask("a.txt"),
        206: ask("a.txt", Range="bytes=0-1"),
        304: ask("a.txt", If_None_Match=etag),
        400: ask(f"{FILES}/m"),
        401: ask("/comfyui_server/files/m/a.txt"),
        403: ask(".a"),
        404: ask("b.txt"),
        405: ask("a.txt", "POST"),
        412: ask("a.txt", If_Match='"other"'),
        416: ask("a.txt", Range="bytes=9-"),
    }
    for status, reply in responses.items():
        assert reply.status == status
        assert {name: reply.headers.get(name) for name in SAFE} == SAFE, status


def test_error_responses_are_not_cached(make_served: Any) -> None:
    ask = make_served()
    for path in ("absent.txt", ".hidden", "/comfyui_server/files/m/a", f"{FILES}/none/a"):
        assert ask(path).headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("image/png", "inline"),
        ("video/mp4", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html; charset=utf-8", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("application/octet-stream", "attachment"),
    ],
)
def test_active_types_are_sandboxed_downloads(kind: str, where: str) -> None:
    headers = file_headers("a.b", kind)
    assert headers["Content-Disposition"].startswith(f"{where};")
    policy = headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert ("sandbox" in policy) is (not kind.startswith("video/"))


def test_only_download_1_forces_a_download(make_served: Any) -> None:
    ask = make_served()
    (ask.folder / "a.txt").write_text("text", "utf-8")
    for query, where in (("", "inline"), ("?download=0", "inline"), ("?download=1", "attachment")):
        disposition = ask(f"a.txt{query}").headers["Content-Disposition"]
        assert disposition.startswith(f"{where};"), query


def test_a_304_of_a_text_has_vary_accept_encoding(make_served: Any) -> None:
    ask = make_served()
    (ask.folder / "a.txt").write_text("a line\n" * 1000, "utf-8")
    etag = ask("a.txt").headers["ETag"]
    reply = ask("a.txt", If_None_Match=etag)
    assert (reply.status, reply.headers["Vary"]) == (304, "Accept-Encoding")
    assert reply.headers["Cache-Control"] == "public, max-age=3600"


def test_if_range_with_a_date_less_than_a_second_old_is_ignored(make_served: Any) -> None:
    """RFC 9110, 8.8.2.2: the file may have changed twice in that second."""
    ask = make_served()
    path = ask.folder / "a.txt"
    path.write_text("0123456789", "utf-8")
    for age, status in ((-HOUR, 200), (HOUR, 206)):
        moment = int(time.time() - age)
        os.utime(path, (moment, moment))
        date = formatdate(moment, usegmt=True)
        assert ask("a.txt", Range="bytes=0-1", If_Range=date).status == status


def test_a_proxy_does_not_cache_files_of_a_private_mount(make_served: Any, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.bin").write_bytes(b"x")
    (tmp_path / "mounts.json").write_text(
        '{"mounts": [{"alias": "own", "folder": "own", "public": false}]}', "utf-8"
    )
    ask = make_served(INPUT_SERVER_OFFLOAD="x-accel:/internal")
    (ask.folder / "a.bin").write_bytes(b"x")
    responses = {
        alias: ask(f"{FILES}/{alias}/a.bin", x_offload_keeps="9") for alias in ("m", "own")
    }
    assert responses["m"].headers["X-Accel-Expires"] == "5"
    assert responses["own"].headers["Cache-Control"].startswith("private")
    assert "X-Accel-Expires" not in responses["own"].headers
