"""Decisions of the file server that a small change could reverse unnoticed: each has a test that notices.

Most are asked as requests are, of the handler without sockets; see ``decided``.
"""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from PIL import Image

from input_server import urls
from input_server.auth import deny_list, signing
from input_server.auth.deny_list import DenyList
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.content_type import file_headers
from input_server.gallery import listing
from input_server.gallery.routes import Gallery
from input_server.http.express import register
from input_server.http.handler import FileServer
from input_server.http.metrics import Metrics
from input_server.http.request import HttpRequest
from input_server.http.response import HttpResponse
from input_server.http.sockets import listen_unix
from input_server.images import image_info
from input_server.images.variant_request import VariantRequest
from input_server.images.variants import VariantCache
from input_server.link_command import MOST_HOURS
from input_server.mounts import cleanup, retention
from input_server.mounts.disk_usage import walk
from input_server.mounts.mount import CleanRules, Mount
from input_server.mounts.removal import apply_plan
from input_server.mounts.resolve import Refused, check_names
from input_server.mounts.retention import plan
from input_server.mounts.table import MountTable
from input_server.settings import Config, read, short_key_warnings
from input_server.urls import redact_target
from tests.apart import project
from tests.input_server.gallery_harness import KEY, node, png, prompt
from tests.input_server.hosts import Host, needs_node
from tests.waiting import TIMEOUT

HOUR, DAY = 3600.0, 24 * 3600.0
FILES = f"/comfyui_server/pw={KEY}/files"
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Decided:
    """A mount ``m``, and what requests for it are answered; files are closed at once."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder / "m"
        self.folder.mkdir(exist_ok=True)
        given = {
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS": f"m:{self.folder}",
            "COMFYUI_MOUNTS_FILE": str(folder / "mounts.json"),
            "INPUT_SERVER_CACHE_DIR": str(folder / "copies"),
            **settings,
        }
        self.config: Config = read(given, folder)
        self.server = FileServer(self.config)

    def __call__(self, below: str, method: str = "GET", **headers: str) -> HttpResponse:
        """``below``: a file of the mount, or a whole target; ``_`` for ``-`` in header names."""
        target = below if below.startswith("/") else f"{FILES}/m/{below}"
        named = {name.lower().replace("_", "-"): value for name, value in headers.items()}
        asked = HttpRequest(
            method, urls.parse(target), urls.parse_query(target), named, "127.0.0.1"
        )
        reply = self.server.answer(asked)
        if reply.file is not None:
            self.server.files.release(reply.file)
        return reply


@pytest.fixture
def decided(tmp_path: Path) -> Iterator[Callable[..., Decided]]:
    made: list[Decided] = []

    def make(**settings: str) -> Decided:
        made.append(Decided(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.server.close()


# -- headers ---------------------------------------------------------------------------------------


def test_every_answer_forbids_guessing_types_and_naming_the_address(decided: Any) -> None:
    ask = decided()
    (ask.folder / "a.txt").write_text("text", "utf-8")
    etag = ask("a.txt").headers["ETag"]
    answers = {
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
    for status, reply in answers.items():
        assert reply.status == status
        assert {name: reply.headers.get(name) for name in SAFE} == SAFE, status


def test_no_refusal_is_kept_by_a_cache(decided: Any) -> None:
    ask = decided()
    for below in ("absent.txt", ".hidden", "/comfyui_server/files/m/a", f"{FILES}/none/a"):
        assert ask(below).headers["Cache-Control"] == "no-store", below


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
def test_what_could_run_a_script_is_a_download_in_a_sandbox(kind: str, where: str) -> None:
    headers = file_headers("a.b", kind)
    assert headers["Content-Disposition"].startswith(f"{where};")
    policy = headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert ("sandbox" in policy) is (not kind.startswith("video/"))


def test_only_download_1_makes_a_download(decided: Any) -> None:
    ask = decided()
    (ask.folder / "a.txt").write_text("text", "utf-8")
    for query, where in (("", "inline"), ("?download=0", "inline"), ("?download=1", "attachment")):
        told = ask(f"a.txt{query}").headers["Content-Disposition"]
        assert told.startswith(f"{where};"), query


def test_a_304_of_a_text_says_that_it_depends_on_the_coding(decided: Any) -> None:
    ask = decided()
    (ask.folder / "a.txt").write_text("a line\n" * 1000, "utf-8")
    etag = ask("a.txt").headers["ETag"]
    reply = ask("a.txt", If_None_Match=etag)
    assert (reply.status, reply.headers["Vary"]) == (304, "Accept-Encoding")
    assert reply.headers["Cache-Control"] == "public, max-age=3600"


def test_a_date_that_is_not_a_second_old_makes_no_part(decided: Any) -> None:
    """RFC 9110, 8.8.2.2: the file may have changed twice in that second."""
    ask = decided()
    path = ask.folder / "a.txt"
    path.write_text("0123456789", "utf-8")
    for age, status in ((-HOUR, 200), (HOUR, 206)):
        moment = int(time.time() - age)
        os.utime(path, (moment, moment))
        told = formatdate(moment, usegmt=True)
        assert ask("a.txt", Range="bytes=0-1", If_Range=told).status == status


def test_a_server_in_front_keeps_nothing_of_a_private_mount(decided: Any, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.bin").write_bytes(b"x")
    (tmp_path / "mounts.json").write_text(
        '{"mounts": [{"alias": "own", "folder": "own", "public": false}]}', "utf-8"
    )
    ask = decided(INPUT_SERVER_OFFLOAD="x-accel:/internal")
    (ask.folder / "a.bin").write_bytes(b"x")
    kept = {alias: ask(f"{FILES}/{alias}/a.bin", x_offload_keeps="9") for alias in ("m", "own")}
    assert kept["m"].headers["X-Accel-Expires"] == "5"
    assert kept["own"].headers["Cache-Control"].startswith("private")
    assert "X-Accel-Expires" not in kept["own"].headers


# -- who may, and what is said of it ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["sig", "pw", "key", "KEY", "%6Bey"])
def test_no_secret_of_a_query_is_in_a_log(name: str) -> None:
    assert "s3cret" not in redact_target(f"/a?x=1&{name}=s3cret&y=2")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_figures_behind_a_proxy_need_a_key(decided: Any, header: str) -> None:
    ask = decided()
    ask.server.pages["metrics"] = Metrics(dict)
    assert ask("/metrics", Host="127.0.0.1").status == 200
    headers = {"Host": "127.0.0.1", header.replace("-", "_"): "for=192.0.2.1"}
    assert ask("/metrics", **headers).status == 401


def test_a_denied_client_is_let_in_by_neither_key_nor_signature(
    decided: Any, tmp_path: Path
) -> None:
    denied = tmp_path / "denied"
    query = signing.query(KEY, "files", "m", ("a.txt",), int(time.time()) + 600)
    for networks, status in (("192.0.2.0/24", 200), ("192.0.2.0/24\n127.0.0.1", 403)):
        denied.write_text(networks, "utf-8")
        ask = decided(INPUT_SERVER_DENY_FILE=str(denied))
        (ask.folder / "a.txt").write_text("text", "utf-8")
        assert ask("a.txt").status == status
        assert ask(f"/comfyui_server/files/m/a.txt?{query}").status == status


def test_a_denied_network_stays_denied_when_its_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "denied"
    file.write_text("192.0.2.0/24\n", "utf-8")
    told: list[str] = []
    deny = DenyList(file, told.append)
    file.unlink()
    monkeypatch.setattr(deny_list, "CHECK_SECONDS", 0.0)
    assert deny.contains("192.0.2.9")
    assert len(told) == 1
    assert deny.contains("192.0.2.9")


def test_a_site_is_locked_out_after_four_times_the_keys_of_a_client() -> None:
    counting = LockoutTracker(LockoutPolicy(limit=10, seconds=60), clock=lambda: 0.0)
    for number in range(39):
        counting.record_failure(f"2001:db8:1:{number:x}::1", f"key {number}")
    assert counting.locked_out_for("2001:db8:1:ffff::1") == 0
    counting.record_failure("2001:db8:1:aaaa::1", "the fortieth")
    assert counting.locked_out_for("2001:db8:1:ffff::1") == 60
    assert counting.locked_out_for("2001:db8:2::1") == 0


def test_a_signed_link_beyond_a_year_is_not_believed() -> None:
    now = 1_800_000_000
    for seconds, verdict in ((366 * 24 * 3600, "valid"), (366 * 24 * 3600 + 1, "invalid")):
        end = now + seconds
        told = signing.signature(KEY, "files", "m", ("a",), end)
        asked = {"exp": str(end), "sig": told}
        assert signing.check_signature(KEY, "files", "m", ("a",), asked, now) == verdict
    assert MOST_HOURS * 3600 < signing.MAX_LIFETIME


def test_a_python_hosts_log_holds_no_key(decided: Any, capfd: pytest.CaptureFixture[str]) -> None:
    handlers: list[Any] = []

    class App:
        def get(self, _pattern: str, handler: Any) -> None:
            handlers.append(handler)

    class Response:
        def status(self, _code: int) -> None: ...
        def set(self, _name: str, _value: str) -> None: ...
        def send(self, _body: Any) -> None: ...

    register(App(), decided().server, access_log=True)  # type: ignore[arg-type]
    target = f"{FILES}/m/absent.txt?sig=s3cret"
    request = SimpleNamespace(method="GET", ip="127.0.0.1", headers={}, original_url=target)
    handlers[0](request, Response())
    told = "".join(capfd.readouterr())
    assert "absent.txt" in told
    assert KEY not in told
    assert "s3cret" not in told


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or os.name == "nt", reason="needs Unix sockets")
def test_a_unix_socket_is_for_its_user_alone() -> None:
    with tempfile.TemporaryDirectory() as folder:  # a short path, as a socket needs
        path = Path(folder) / "s"
        before = os.umask(0)
        try:
            with listen_unix(path):
                mode = stat.S_IMODE(path.lstat().st_mode)
        finally:
            os.umask(before)
    assert mode == 0o600


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt.", "a.txt ", "a ", ".a", "nul", "NUL.txt", "com¹.x", ""])
def test_names_that_a_system_takes_for_others_are_refused_everywhere(name: str) -> None:
    for windows in (False, True):
        with pytest.raises(Refused):
            check_names(("sub", name), windows=windows)


def test_nothing_hidden_is_listed(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".sub/c.png", "sub/.d.png", "sub/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert sorted(entry.path for entry in walk(tmp_path)) == ["a.png", "sub/e.png"]


# -- settings --------------------------------------------------------------------------------------


def test_the_host_beats_the_environment_and_that_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("input_server.settings.PACKAGE", tmp_path / "input_server")
    (tmp_path / "input_server").mkdir()
    for place, port in ((tmp_path / "input_server", 1001), (tmp_path, 1002)):
        (place / "config.env").write_text(
            f"\ufeffFILE_SERVER_PORT={port}\nCOMFYUI_ACCESS_KEY=key-of-the-file\n", "utf-8"
        )
    assert read({}).port == 1001
    monkeypatch.setenv("FILE_SERVER_PORT", "1003")
    monkeypatch.setenv("COMFYUI_ACCESS_KEY", " ")
    assert (read({}).port, read({}).keys[0].key) == (1003, "key-of-the-file")
    assert read({"FILE_SERVER_PORT": "1004"}).port == 1004
    assert read({"FILE_SERVER_PORT": ""}).port == 1003


def test_a_key_of_eleven_characters_is_warned_of() -> None:
    for length, warned in ((11, True), (12, False)):
        assert bool(short_key_warnings(read({"COMFYUI_ACCESS_KEY": "k" * length}))) is warned


def test_a_mount_of_the_file_beats_one_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "mounts.json"
    file.write_text('{"mounts": [{"alias": "m", "folder": "new", "read_only": true}]}', "utf-8")
    table = MountTable([Mount("m", tmp_path / "old"), Mount("n", tmp_path)], file, lambda _: None)
    found = table.get("m")
    assert found == Mount("m", tmp_path / "new", read_only=True)
    assert table.get("n") is not None


# -- tidying up ------------------------------------------------------------------------------------


def old(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (time.time() - 9 * DAY, time.time() - 9 * DAY))
    return path


def test_a_read_only_mount_inside_a_cleaned_one_keeps_its_files(tmp_path: Path) -> None:
    kept, gone = old(tmp_path / "keep" / "a.txt"), old(tmp_path / "a.txt")
    cleaned = Mount("all", tmp_path, clean=CleanRules(most_files=0))
    beside = Mount("keep", tmp_path / "keep", read_only=True)
    (planned,) = retention.plans([cleaned], time.time(), [beside])
    assert [removal.entry.path for removal in planned.removals] == ["a.txt"]
    cleanup.clean_all([cleaned, beside], lambda _: None)
    assert kept.exists()
    assert not gone.exists()


@pytest.mark.parametrize("change", ["newer", "longer", "another"])
def test_a_file_that_has_changed_since_the_plan_stays(tmp_path: Path, change: str) -> None:
    path = old(tmp_path / "a.txt")
    mount = Mount("m", tmp_path, clean=CleanRules(most_files=0))
    planned = plan(mount, time.time())
    assert len(planned.removals) == 1
    if change == "newer":  # the same bytes, written again two days ago
        os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))
    elif change == "longer":
        seen = path.stat()
        path.write_text("xy", "utf-8")
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    else:
        seen = path.stat()
        path.rename(tmp_path / "b.txt")
        path.write_text("x", "utf-8")
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    told: list[str] = []
    assert apply_plan(planned, told.append) == (0, 0)
    assert path.exists()
    assert told == ["left m/a.txt (1 bytes): it has changed since"]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_what_lies_behind_a_link_by_now_stays(tmp_path: Path) -> None:
    kept = old(tmp_path / "m" / "sub" / "a.txt")
    mount = Mount("m", tmp_path / "m", clean=CleanRules(most_files=0))
    planned = plan(mount, time.time())
    assert len(planned.removals) == 1
    (tmp_path / "m" / "sub").rename(tmp_path / "m" / "kept")
    (tmp_path / "m" / "sub").symlink_to(tmp_path / "m" / "kept")
    told: list[str] = []
    assert apply_plan(planned, told.append) == (0, 0)
    assert (tmp_path / "m" / "kept" / kept.name).exists()
    assert told == ["left m/sub/a.txt (1 bytes): its path contains a symlink"]


# -- the gallery -----------------------------------------------------------------------------------


@pytest.fixture
def gallery(decided: Any) -> Decided:
    made: Decided = decided()
    made.server.pages["gallery"] = Gallery(made.server.mounts, made.config.signing_key)
    return made


def told(ask: Decided, below: str) -> Any:
    reply = ask(f"/comfyui_server/pw={KEY}/gallery/m/{below}")
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def test_a_large_seed_keeps_its_digits(gallery: Decided) -> None:
    """JavaScript's numbers end at 2^53."""
    png(gallery.folder / "a.png", prompt(seed=2**64 - 1))
    assert told(gallery, "info?path=a.png")["seeds"] == [str(2**64 - 1)]


def test_the_page_runs_its_own_script_alone_and_is_in_no_frame(gallery: Decided) -> None:
    reply = gallery(f"/comfyui_server/pw={KEY}/gallery/m/")
    policy = reply.headers["Content-Security-Policy"].split("; ")
    for rule in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ):
        assert rule in policy
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["Cache-Control"] == "no-store"


def test_a_search_does_not_mind_case_or_the_width_of_letters(gallery: Decided) -> None:
    png(gallery.folder / "ＣＡＴ ①.png")
    png(gallery.folder / "straße.png")
    for words in ("cat", "ＣＡＴ", "cat 1"):
        assert [item["name"] for item in told(gallery, f"list?q={words}")["items"]] == [
            "ＣＡＴ ①.png"
        ]
    assert listing.normalized("STRASSE") == listing.normalized("straße")


def test_a_text_that_feeds_both_roles_is_told_as_the_positive_one(gallery: Decided) -> None:
    both = prompt(positive="a lighthouse")
    both["8"] = node("ConditioningZeroOut", conditioning=["6", 0])
    both["3"]["inputs"]["negative"] = ["8", 0]
    png(gallery.folder / "a.png", both)
    info = told(gallery, "info?path=a.png")
    assert (info["positive"], info["negative"]) == ("a lighthouse", "")
    assert image_info.ImageInfo().negative == ""


def test_the_first_text_of_a_name_counts(gallery: Decided) -> None:
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for seed in (1, 2):
        chunks.add_text("prompt", json.dumps(prompt(seed=seed)))
    Image.new("RGB", (8, 8)).save(gallery.folder / "a.png", "PNG", pnginfo=chunks)
    assert told(gallery, "info?path=a.png")["seeds"] == ["1"]


# -- copies ----------------------------------------------------------------------------------------


def shown(reply: HttpResponse) -> Image.Image:
    assert reply.status == 200, reply.body
    assert reply.file is not None
    return Image.open(io.BytesIO(reply.file.path.read_bytes()))


def test_a_signed_address_has_copies_of_few_sizes_and_a_key_any(decided: Any) -> None:
    ask = decided()
    Image.effect_noise((900, 900), 50).save(ask.folder / "a.png")
    query = signing.query(KEY, "files", "m", ("a.png",), int(time.time()) + 60)
    assert shown(ask(f"/comfyui_server/files/m/a.png?{query}&w=301")).width == 320
    assert shown(ask("a.png?w=301")).width == 301


def test_a_copy_is_never_larger_than_its_picture(decided: Any) -> None:
    ask = decided()
    Image.effect_noise((40, 30), 50).save(ask.folder / "a.png")
    for query, size in (
        ("w=400", (40, 30)),
        ("h=3000", (40, 30)),
        ("w=400&h=400", (40, 30)),
        ("w=20&h=4000", (20, 15)),
    ):
        assert shown(ask(f"a.png?{query}&fmt=png")).size == size


def test_what_is_see_through_becomes_white_in_a_jpeg(decided: Any) -> None:
    ask = decided()
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(ask.folder / "a.png")
    low, _ = shown(ask("a.png?fmt=jpeg")).convert("L").getextrema()
    assert isinstance(low, int)
    assert low > 250


def test_a_lighter_copy_that_is_heavier_is_the_file_itself(decided: Any, tmp_path: Path) -> None:
    ask = decided()
    path = ask.folder / "a.jpg"
    Image.effect_noise((200, 200), 90).convert("RGB").save(path, "JPEG", quality=5)
    reply = ask("a.jpg?q=100")
    assert (reply.headers["Content-Length"], reply.headers["Content-Type"]) == (
        str(path.stat().st_size),
        "image/jpeg",
    )
    assert reply.file is not None
    assert reply.file.path == path.resolve()
    assert VariantCache(tmp_path / "other", 1).folder != reply.file.root
    assert VariantRequest(lossy=True).quality_only


def test_a_head_counts_no_bytes() -> None:
    metrics = Metrics(dict)
    sent = HttpResponse(200, {}, b"12345")
    for method in ("HEAD", "GET"):
        metrics.record(sent, method, metrics.now())
    body = metrics.answer(None, {}, None).body.decode()  # type: ignore[arg-type]
    assert "comfyui_files_sent_bytes_total 5.0" in body


# -- the bridge ------------------------------------------------------------------------------------

ECHO = """
import json, os, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def address_string(self): return ""
    def do_GET(self):
        body = json.dumps(dict(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Sendfile-Stamp", "secret place")
        self.end_headers()
        self.wfile.write(body)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

server = Server(sys.argv[sys.argv.index("--unix") + 1], Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("File server on a socket", flush=True)
while os.read(0, 4096): pass
"""
"""In the place of the Python server: tells in its answer with which headers it was asked."""


@needs_node
@pytest.mark.skipif(os.name == "nt", reason="a shell script and a Unix socket")
def test_the_bridge_passes_on_no_cookie_and_tells_no_place(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO, "utf-8")
    python = tmp_path / "python"
    script = f"#!/bin/sh\nexec '{sys.executable}' '{tmp_path / 'echo.py'}' \"$@\"\n"
    python.write_text(script, "utf-8")
    python.chmod(0o755)
    with tempfile.TemporaryDirectory() as short:
        environment = {"TMPDIR": short}
        config = {"COMFYUI_ACCESS_KEY": KEY, "INPUT_SERVER_PYTHON": str(python)}
        with Host(tmp_path, config, environment=environment) as host:
            sent = {"Cookie": "session=s3cret", "X_Bridge_Client": "1.2.3.4", "X_Other": "kept"}
            answer = host.get(f"{FILES}/m/a.txt", **sent)
    asked = {name.lower(): value for name, value in answer.json().items()}
    assert asked["x-other"] == "kept"
    assert asked["x-bridge-client"] == "127.0.0.1"
    assert "cookie" not in asked
    assert asked["x-bridge-secret"] not in str(answer.headers)
    assert not [name for name in answer.headers if name.lower().startswith("x-sendfile")]


def test_a_server_behind_a_bridge_answers_whoever_knows_its_secret_alone(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("text", "utf-8")
    settings = {
        "COMFYUI_ACCESS_KEY": KEY,
        "COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}",
        "COMFYUI_MOUNTS_FILE": str(tmp_path / "mounts.json"),
        "INPUT_SERVER_CACHE_DIR": str(tmp_path / "copies"),
    }
    command = ["-m", "input_server", "--bridge", "--port", "0", "--stop-with-stdin"]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=project(),
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("the-secret\n")
        process.stdin.flush()
        base = process.stdout.readline().split()[-1]
        answers = {}
        for secret in ("", "the-secre", "the-secret2", "THE-SECRET", "the-secret"):
            headers = {"X-Bridge-Secret": secret, "X-Bridge-Client": "192.0.2.1"}
            answer = requests.get(f"{base}{FILES}/m/a.txt", headers=headers, timeout=TIMEOUT)
            answers[secret] = (answer.status_code, "X-Sendfile" in answer.headers)
        process.stdin.close()
        process.wait(TIMEOUT)
    assert answers.pop("the-secret") == (200, True)
    assert set(answers.values()) == {(403, False)}
