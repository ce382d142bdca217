"""Access: keys, signed links, networks, deny list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from input_server.auth import signing
from input_server.auth.access import Access, Client, Denied
from input_server.auth.deny_list import DenyList
from input_server.auth.keys import Key, parse_keys
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.auth.networks import client_address, in_networks, parse_networks
from input_server.errors import ConfigError
from input_server.urls import Resource, Route, build_target, parse, redact_target
from tests.input_server.running import KEY, Running
from tests.project_copy import project
from tests.waiting import TIMEOUT

SECRET = "signing secret"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("access") / "m"
    (folder / "图 sub").mkdir(parents=True)
    (folder / "图 sub" / "a b.txt").write_text("hello", "utf-8")
    keys = [
        {"name": "alice", "key": "alice-has-a-key", "mounts": ["m"]},
        {"name": "bob", "key": "bob-has-another", "mounts": ["other"]},
        {"name": "far", "key": "only-from-afar", "networks": ["192.0.2.0/24"]},
        {"name": "two", "key": "two-factors-here", "signature": "second"},
    ]
    with Running(folder, COMFYUI_KEYS=json.dumps(keys), INPUT_SERVER_SIGNING_KEY=SECRET) as server:
        yield server


PATH = "%E5%9B%BE%20sub/a%20b.txt"
NAMES = ("图 sub", "a b.txt")


def signed(
    key: str = SECRET,
    names: tuple[str, ...] = NAMES,
    alias: str = "m",
    seconds: float = 60,
    resource: str = "files",
) -> str:
    return signing.query(key, resource, alias, names, int(time.time() + seconds))


@pytest.mark.parametrize(
    ("key", "status"),
    [
        (KEY, 200),
        ("alice-has-a-key", 200),
        ("bob-has-another", 404),
        ("only-from-afar", 401),
        ("two-factors-here", 401),
        ("unknown-key-here", 401),
        ("", 401),
        (KEY[:-1], 401),
        (KEY + "x", 401),
        (KEY.upper(), 401),
    ],
)
def test_a_key_gives_access_to_its_mounts_and_networks_only(
    running: Running, key: str, status: int
) -> None:
    assert running.get(f"/comfyui_server/pw={key}/files/m/{PATH}").status_code == status
    bearer = running.get(f"/comfyui_server/files/m/{PATH}", Authorization=f"Bearer {key}")
    assert bearer.status_code == status
    gate = running.get(f"/pw={key}/files/comfyui/m/{PATH}")
    assert gate.status_code == status


def test_a_key_with_a_second_factor_requires_a_valid_signature(running: Running) -> None:
    url = f"/comfyui_server/pw=two-factors-here/files/m/{PATH}"
    assert running.get(f"{url}?{signed('second')}").status_code == 200
    assert running.get(f"{url}?{signed(SECRET)}").status_code == 401
    assert running.get(f"{url}?{signed('second', seconds=-1)}").status_code == 401


def test_a_signed_link_gives_access_to_its_file(running: Running) -> None:
    url = f"/comfyui_server/files/m/{PATH}"
    assert running.get(f"{url}?{signed()}").text == "hello"
    assert running.get(f"{url}?{signed()}&download=1").status_code == 200
    assert running.get(f"/pw=signed/files/comfyui/m/{PATH}?{signed()}").status_code == 200


WRONG = {
    "expired": lambda: signed(seconds=-1),
    "expires too late": lambda: signed(seconds=400 * 24 * 3600),
    "another secret": lambda: signed("another secret"),
    "another mount": lambda: signed(alias="other"),
    "another file": lambda: signed(names=("a b.txt",)),
    "parts joined": lambda: signed(names=("图 sub/a b.txt",)),
    "for the gallery": lambda: signed(resource="gallery"),
    "another expiry": lambda: signed().replace("exp=", "exp=1"),
    "cut off": lambda: signed()[:-3],
    "no signature": lambda: "exp=9999999999&sig=",
    "no expiry": lambda: "sig=x",
    "no number": lambda: "exp=x&sig=y",
    "too many digits": lambda: "exp=99999999999999999999&sig=y",
    "a non-ASCII digit": lambda: "exp=²&sig=y",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("query", WRONG.values(), ids=WRONG)
def test_a_signature_is_valid_for_its_url_only(running: Running, query: Callable[[], str]) -> None:
    assert running.get(f"/comfyui_server/files/m/{PATH}?{query()}").status_code == 401


def test_a_mount_may_have_the_alias_comfyui(tmp_path: Path) -> None:
    with Running(tmp_path / "m", COMFYUI_MOUNTS=f"comfyui:{tmp_path / 'm'}") as server:
        (server.folder / "a.txt").write_text("x", "utf-8")
        query = signing.query(KEY, "files", "comfyui", ("a.txt",), int(time.time()) + 60)
        assert server.get(f"/comfyui_server/files/comfyui/a.txt?{query}").text == "x"
        bearer = server.get("/comfyui_server/files/comfyui/a.txt", Authorization=f"Bearer {KEY}")
        assert bearer.text == "x"
        assert server.get(f"/pw={KEY}/files/comfyui/comfyui/a.txt").text == "x"


def test_a_signature_does_not_help_a_wrong_key(running: Running) -> None:
    assert running.get(f"/comfyui_server/pw=wrong/files/m/{PATH}?{signed()}").status_code == 401


def test_without_a_valid_key_all_responses_are_identical(running: Running) -> None:
    responses = {
        (response.status_code, response.text)
        for path in (PATH, "absent.txt", "", "../x", ".hidden", "%00")
        for alias in ("m", "nomount")
        for response in [running.get(f"/comfyui_server/pw=wrong/files/{alias}/{path}")]
    }
    assert responses == {(401, "Unauthorized.")}


def test_the_link_command_prints_a_working_link(running: Running) -> None:
    done = running.command("link", "m", "图 sub/a b.txt", "--base", running.url)
    assert requests.get(done.stdout.strip(), timeout=TIMEOUT).text == "hello"
    assert KEY not in done.stdout


def test_a_link_has_the_form_of_result_urls(running: Running) -> None:
    done = running.command("link", "m", "absent.png")
    assert "absent.png" in done.stderr
    assert done.stdout.startswith("http://127.0.0.1:5005/comfyui_server/files/m/absent.png?exp=")
    running.environment |= {"FILE_SERVER_BASE_URL": running.url, "FILE_SERVER_URL_STYLE": "host"}
    try:
        link = running.command("link", "m", "图 sub/a b.txt").stdout.strip()
        gallery = running.command("link", "m").stdout.strip()
        second = running.command("link", "m", "图 sub/a b.txt", "--key", "two").stdout.strip()
    finally:
        del running.environment["FILE_SERVER_BASE_URL"]
        del running.environment["FILE_SERVER_URL_STYLE"]
    assert link.startswith(f"{running.url}/pw=signed/files/comfyui/m/")
    assert requests.get(link, timeout=TIMEOUT).text == "hello"
    assert gallery.startswith(f"{running.url}/pw=signed/files/comfyui/gallery/m/?")
    assert requests.get(gallery, timeout=TIMEOUT).headers["Content-Type"].startswith("text/html")
    assert requests.get(second, timeout=TIMEOUT).text == "hello"


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("key", ["pass/wörd %", None])
@pytest.mark.parametrize("resource", ["files", "gallery"])
def test_parse_is_the_inverse_of_build_target(
    resource: Resource, key: str | None, gate: bool
) -> None:
    route = Route(resource, key, "图", ("a b", "c%#?.png"), gate)
    parsed = parse(build_target(route))
    assert parsed == (replace(route, key="signed") if gate and key is None else route)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nowhere",), "no mount 'nowhere'"),
        (("m", "../x"), "never served"),
        (("m", "--hours", "0"), "hours"),
        (("m", "--hours", "nan"), "hours"),
        (("m", "--hours", "99999"), "a year"),
        (("m", "--key", "alice"), "no key 'alice'"),
    ],
)
def test_the_link_command_refuses_invalid_arguments(
    running: Running, arguments: tuple[str, ...], expected: str
) -> None:
    done = running.command("link", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr


def test_keys_do_not_appear_in_logs_reprs_or_metrics(running: Running, tmp_path: Path) -> None:
    with Running(tmp_path / "m", INPUT_SERVER_ACCESS_LOG="true") as logged:
        logged.get("absent.txt")
        logged.get(f"/comfyui_server/pw%3D{KEY}/files/m/x")
        for prefix in ("%70w=", "p%77%3d", "PW=", "%50%57=", "pw%253D", "Pw:"):
            target = f"/comfyui_server/{prefix}{KEY}/files/m/x"
            with logged.connect() as wire:
                wire.sendall(
                    f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
                )
                while wire.recv(4096):
                    pass
        logged.get(f"/%70w={KEY}/files/comfyui/m/x?a=1&s%69g={KEY}")
        logged.get("/comfyui_server/files/m/x", Authorization=f"Bearer {KEY}")
        logged.get(f"/comfyui_server/files/m/x?{signed()}")
        metrics = logged.get(f"/comfyui_server/pw={KEY}/metrics").text
        assert 'why="missing"' in metrics
        logged.stop()
        log_text = "".join(logged.log)
        assert log_text.count("/files/m/") == 10
        assert KEY not in log_text + metrics
        assert "sig=…" in log_text
    (key,) = parse_keys('[{"name": "a", "key": "12345678", "signature": "geheim"}]', tmp_path)
    assert "12345678" not in repr(key)
    assert "geheim" not in repr(key)
    assert KEY not in repr(parse(f"/comfyui_server/pw={KEY}/files/m/x"))
    assert redact_target("/a?b=1&sig=abc&c=2") == "/a?b=1&sig=…&c=2"
    assert redact_target("/a\x85b") == "/a\\x85b"


# -- networks ------------------------------------------------------------------------------------


def test_a_deny_list_is_reread_when_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("input_server.auth.deny_list.CHECK_SECONDS", 0.0)
    file = tmp_path / "deny.txt"
    with pytest.raises(ConfigError, match="deny"):
        DenyList(file, print)
    file.write_text("", "utf-8")
    lines: list[str] = []
    deny = DenyList(file, lines.append)
    assert not deny.contains("203.0.113.5")
    file.write_text("# these\n203.0.113.0/24\n2001:db8::/32  # and those\n", "utf-8")
    assert deny.contains("203.0.113.5")
    assert deny.contains("::ffff:203.0.113.5")
    assert deny.contains("::FFFF:cb00:7105%eth0")
    assert deny.contains("2001:db8::9")
    assert not deny.contains("198.51.100.1")
    file.write_text("203.0.113.0/24\nnonsense\n", "utf-8")
    os.utime(file, ns=(1, 1))
    assert deny.contains("2001:db8::9"), "an invalid file allows nothing"
    assert deny.contains("2001:db8::9")
    assert [("nonsense" in text, "stays in force" in text) for text in lines] == [(True, True)]
    file.unlink()
    assert deny.contains("2001:db8::9"), "nor does a missing one"
    assert len(lines) == 2
    DenyList(None, print).contains("2001:db8::9")
    access = Access((Key("k", KEY),), "", LockoutTracker(LockoutPolicy(10, 600)), deny)
    with pytest.raises(Denied) as denied:
        access.authenticate(Route("files", KEY, "m", ("x",)), {}, Client("203.0.113.5", {}))
    assert denied.value.status == 403


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", "203.0.113.7", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "1.2.3.4, [2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "nonsense"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:a00:1", "::ffff:203.0.113.7, ::ffff:10.0.0.9", "203.0.113.7"),
        ("10.0.0.1", "[::ffff:203.0.113.7]:4711", "203.0.113.7"),
        ("::ffff:198.51.100.1", "203.0.113.7", "198.51.100.1"),
        ("fe80::1%eth0", "203.0.113.7", "fe80::1"),
    ],
)
def test_the_client_address_behind_a_trusted_proxy_is_the_forwarded_one(
    peer: str, forwarded: str, client: str
) -> None:
    trusted = parse_networks("10.0.0.0/8", "x")
    assert client_address(peer, {"x-forwarded-for": forwarded}, trusted) == client


def test_invalid_networks_are_reported_with_their_setting() -> None:
    assert in_networks("192.168.1.9", parse_networks("192.168.1.0/24; ::1", "x"))
    assert in_networks("::ffff:192.168.1.9", parse_networks("192.168.1.0/24", "x"))
    assert in_networks("192.168.1.9", parse_networks("::ffff:192.168.1.0/120", "x"))
    assert in_networks("192.168.1.9", parse_networks("::ffff:c0a8:109", "x"))
    assert not in_networks("192.168.2.9", parse_networks("::ffff:192.168.1.0/120", "x"))
    assert not in_networks("2001:db8::1", parse_networks("192.168.1.0/24; ::/96", "x"))
    assert not in_networks("nonsense", parse_networks("192.168.1.0/24", "x"))
    with pytest.raises(ConfigError, match="THE_SETTING"):
        parse_networks("nonsense", "THE_SETTING")


# -- starting the server ---------------------------------------------------------------------------------


def starting(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "input_server", "--port", "0", "--stop-with-stdin", *arguments],
        cwd=project(),
        env={**os.environ, "COMFYUI_MOUNTS": f"m:{folder}", **environment},
        capture_output=True,
        input="",
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "COMFYUI_ACCESS_KEY"),
        ({"COMFYUI_ACCESS_KEY": "   "}, "COMFYUI_ACCESS_KEY"),
        ({"COMFYUI_ACCESS_KEY": "123456"}, "published example key"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "COMFYUI_KEYS": "nonsense"}, "COMFYUI_KEYS"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "COMFYUI_KEYS": '[{"name": "x"}]'}, "'x'"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "INPUT_SERVER_DENY_FILE": "nowhere"}, "nowhere"),
        (
            {"COMFYUI_ACCESS_KEY": "a-good-long-key", "INPUT_SERVER_SIGNING_KEY": "123456"},
            "signing",
        ),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "COMFYUI_OUTPUT_MOUNT": "a b"}, "OUTPUT_MOUNT"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "INPUT_SERVER_WORKERS": "many"}, "WORKERS"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "INPUT_SERVER_OFFLOAD": "x"}, "OFFLOAD"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "INPUT_SERVER_LOCK_EXEMPT": "x"}, "EXEMPT"),
        ({"COMFYUI_ACCESS_KEY": "a-good-long-key", "INPUT_SERVER_ACCESS_LOG": "x"}, "ACCESS_LOG"),
    ],
)
def test_the_server_does_not_start_with_unsafe_or_invalid_settings(
    tmp_path: Path, environment: dict[str, str], expected: str
) -> None:
    done = starting(tmp_path, "--host", "0.0.0.0", **environment)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_an_example_key_is_accepted_on_loopback_only(tmp_path: Path) -> None:
    with Running(tmp_path, "--host", "127.0.0.1", COMFYUI_ACCESS_KEY="123456") as server:
        assert server.get("/healthz").text == "ok"
        assert server.stop() == 0
    with Running(tmp_path, "--host", "0.0.0.0", COMFYUI_ACCESS_KEY="short") as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert requests.get(f"{url}/healthz", timeout=TIMEOUT).text == "ok"
        assert server.stop() == 0
        assert "short" in "".join(server.log)


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with Running(tmp_path / "m") as server:
        done = starting(tmp_path, "--port", str(server.port), COMFYUI_ACCESS_KEY="a-good-long-key")
    assert (done.returncode, "Cannot listen" in done.stderr) == (1, True)


def test_keys_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('[{"name": "a", "key": "12345678"}]', "utf-8")
    (key,) = parse_keys("keys.json", tmp_path)
    assert key.name == "a"
    with pytest.raises(ConfigError, match="same name"):
        parse_keys('[{"name": "a", "key": "12345678"}, {"name": "a", "key": "87654321"}]', tmp_path)
    for wrong in ('[{"name": "a", "key": "short"}]', '[{"name": "a", "key": "12345678", "x": 1}]'):
        with pytest.raises(ConfigError, match="'a'"):
            parse_keys(wrong, tmp_path)
    (tmp_path / "one.json").write_text('{"name": "a", "key": "12345678"}', "utf-8")
    with pytest.raises(ConfigError, match="JSON list"):
        parse_keys("one.json", tmp_path)
    for field, value in [("mounts", "output"), ("mounts", 5), ("networks", 5), ("signature", 5)]:
        with pytest.raises(ConfigError, match=f"{field} of a"):
            parse_keys(json.dumps([{"name": "a", "key": "12345678", field: value}]), tmp_path)
