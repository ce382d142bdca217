"""Clients that guess keys are locked out, no others are, and no lockout ends early."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_server import register_routes
from input_server.auth import lockout as guards
from input_server.auth import signing
from input_server.auth.access import Access, Client, Denied
from input_server.auth.deny_list import DenyList
from input_server.auth.keys import Key
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.auth.networks import parse_networks
from input_server.urls import Route
from tests.input_server.hosts import Host, needs_node
from tests.input_server.registry import Registry, hosted
from tests.input_server.running import KEY, Running
from tests.waiting import TIMEOUT, wait_until

SECRET = "signing secret"
GUARDED = {"INPUT_SERVER_LOCK_EXEMPT": "none", "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1"}
CLIENT, OTHER = "203.0.113.7", "203.0.113.8"
bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def status(server: Running, key: str, client: str, query: str = "") -> int:
    path = f"/comfyui_server/pw={key}/files/m/a.txt{query}"
    return server.get(path, X_Forwarded_For=client).status_code


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("x", "utf-8")
    keys = json.dumps([{"name": "two", "key": "two-factors-here", "signature": "second"}])
    settings = {"INPUT_SERVER_SIGNING_KEY": SECRET, "COMFYUI_KEYS": keys}
    with Running(tmp_path / "m", **GUARDED, **settings, INPUT_SERVER_LOCK_AFTER="6") as server:
        yield server


def signed(key: str = SECRET, seconds: float = 60, name: str = "a.txt") -> str:
    query = signing.query(key, "files", "m", (name,), int(time.time() + seconds))
    return f"/comfyui_server/files/m/{name}?{query}"


# -- over HTTP -------------------------------------------------------------------------------------


def test_the_configured_number_of_wrong_keys_locks_out_this_client_only(
    running: Running,
) -> None:
    assert [status(running, f"guess{n}", CLIENT) for n in range(6)] == [401] * 6
    locked = running.get("a.txt", X_Forwarded_For=CLIENT)
    assert (locked.status_code, 500 < int(locked.headers["Retry-After"]) <= 601) == (429, True)
    assert status(running, "guess7", CLIENT) == 429
    assert running.get("a.txt", X_Forwarded_For=f"{OTHER}, {CLIENT}").status_code == 429
    assert running.get("a.txt", X_Forwarded_For=f"::ffff:{CLIENT}").status_code == 429
    assert running.get("a.txt", X_Forwarded_For=OTHER).status_code == 200
    assert running.get(signed(), X_Forwarded_For=CLIENT).text == "x", "this cannot be guessed"
    assert running.get(signed("wrong"), X_Forwarded_For=CLIENT).status_code == 429
    running.stop()
    lines = [line for line in running.log if "locked out" in line]
    assert [("Warning: " in line, CLIENT in line, "600 s" in line) for line in lines] == [
        (True,) * 3
    ]
    assert not [line for line in running.log if "guess" in line or KEY in line]


def test_repeated_old_links_cause_no_lockout(running: Running) -> None:
    (running.folder / "b 图.png").write_bytes(b"x")
    for number in range(15):
        ended = running.get(signed(seconds=-60), X_Forwarded_For=CLIENT)
        assert (ended.status_code, ended.text) == (401, "Link expired.")
        last_years = signed("the signing key of last year", name=f"{number}.png")
        assert running.get(last_years, X_Forwarded_For=CLIENT).status_code == 401
        gate = last_years.replace("/comfyui_server/files/", "/pw=signed/files/comfyui/")
        assert running.get(gate, X_Forwarded_For=CLIENT).status_code == 401
        assert running.get(f"{gate}%", X_Forwarded_For=CLIENT).status_code == 401
        old = f"/comfyui_server/pw=the-key-of-last-year/files/m/{number}.png"
        assert running.get(old, X_Forwarded_For=CLIENT).status_code == 401
        second = signed("second of last year").replace("/files/", "/pw=two-factors-here/files/")
        assert running.get(second, X_Forwarded_For=CLIENT).status_code == 401
        assert (
            running.get("/comfyui_server/files/m/a.txt", X_Forwarded_For=CLIENT).status_code == 401
        )
        basic = {"X_Forwarded_For": CLIENT, "Authorization": f"Basic {number}"}
        assert running.get("/comfyui_server/files/m/a.txt", **basic).status_code == 401
        assert running.get(f".hidden{number}", X_Forwarded_For=CLIENT).status_code == 403
        assert running.get(f"absent{number}", X_Forwarded_For=CLIENT).status_code == 404
    assert running.get("a.txt", X_Forwarded_For=CLIENT).status_code == 200
    assert running.get(signed(), X_Forwarded_For=CLIENT).status_code == 200


def test_keys_are_counted_wherever_they_stand(running: Running) -> None:
    wrong = [
        "/comfyui_server/pw=one/files/m/a.txt",
        "/pw=two/files/comfyui/m/a.txt",
        f"{signed()}".replace("/files/", "/pw=three/files/"),
        "/pw=four/files/comfyui/gallery/m/",
        "/comfyui_server/pw=five/metrics",
    ]
    for path in wrong:
        assert running.get(path, X_Forwarded_For=CLIENT).status_code == 401
    assert running.get("a.txt", X_Forwarded_For=CLIENT).status_code == 200
    bearer = {"X_Forwarded_For": CLIENT, "Authorization": "Bearer six"}
    assert running.get("/comfyui_server/files/m/a.txt", **bearer).status_code == 401
    assert running.get("a.txt", X_Forwarded_For=CLIENT).status_code == 429


def test_a_dual_stack_socket_identifies_ipv4_clients_by_their_ipv4_addresses(
    tmp_path: Path,
) -> None:
    try:
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True).close()
    except (OSError, ValueError):
        pytest.skip("this system has no sockets for both families")
    limit = {"INPUT_SERVER_LOCK_AFTER": "2", "INPUT_SERVER_LOCK_EXEMPT": "127.0.0.1"}
    deny = tmp_path / "deny.txt"
    deny.write_text("", "utf-8")
    with Running(
        tmp_path / "m", "--host", "::", **limit, INPUT_SERVER_DENY_FILE=str(deny)
    ) as server:
        (server.folder / "a.txt").write_text("x", "utf-8")
        server.url = f"http://127.0.0.1:{server.port}"
        server.files = f"{server.url}/comfyui_server/pw={KEY}/files/m"
        assert server.get("/metrics").status_code == 200, "figures are for this machine"
        for number in range(5):
            assert server.get(f"/comfyui_server/pw=no{number}/files/m/a.txt").status_code == 401
        assert server.get("a.txt").text == "x", "exempt"
        deny.write_text("127.0.0.1\n", "utf-8")
        wait_until(lambda: server.get("a.txt").status_code == 403)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no Unix sockets in Python")
def test_behind_a_unix_socket_the_address_is_what_the_front_says(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    env = {"INPUT_SERVER_LOCK_AFTER": "1", "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1"}

    def status(key: str, client: str) -> str:
        head = f"GET /comfyui_server/pw={key}/files/m/a.txt HTTP/1.1\r\nHost: x\r\n"
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(path))
            wire.sendall(f"{head}X-Forwarded-For: {client}\r\nConnection: close\r\n\r\n".encode())
            return wire.recv(4096).decode().split()[1]

    with Running(tmp_path / "m", "--unix", str(path), **env) as server:
        (server.folder / "a.txt").write_text("x", "utf-8")
        assert status("wrong", "203.0.113.7") == "401"
        assert status(KEY, "203.0.113.7") == "429"
        assert status(KEY, "203.0.113.8") == "200"


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("raw", [True, False], ids=["as it was sent", "decoded by the host"])
def test_in_a_python_host_the_client_that_guesses_is_locked_out(
    tmp_path: Path, raw: bool, trusted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("x", "utf-8")
    config = {
        "COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}",
        "COMFYUI_ACCESS_KEY": KEY,
        "INPUT_SERVER_LOCK_EXEMPT": "none",
        "INPUT_SERVER_LOCK_AFTER": "3",
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1" if trusted else "",
    }
    app = Registry()
    register_routes(app, config, str(tmp_path))
    with hosted(app, raw=raw) as port:

        def ask(key: str, client: str) -> int:
            url = f"http://127.0.0.1:{port}/comfyui_server/pw={key}/files/m/a.txt"
            return requests.get(
                url, headers={"X-Forwarded-For": client}, timeout=TIMEOUT
            ).status_code

        assert [ask("old", f"10.0.0.{n}") for n in range(5)] == [401] * 5
        new = 3 if trusted else 2
        assert [ask(f"guess{n}", CLIENT) for n in range(new)] == [401] * new
        assert ask(KEY, CLIENT) == 429
        assert ask(KEY, OTHER) == (200 if trusted else 429)
        link = f"http://127.0.0.1:{port}{signed(KEY)}"
        assert requests.get(link, headers={"X-Forwarded-For": CLIENT}, timeout=TIMEOUT).text == "x"
    log_text = capsys.readouterr().err
    assert log_text.count("locked out") == 1
    assert (CLIENT if trusted else "127.0.0.1") in log_text
    assert "guess" not in log_text


@needs_node
@pytest.mark.parametrize("trusted", [True, False])
def test_through_the_bridge_the_client_that_guesses_is_locked_out(
    tmp_path: Path, trusted: bool
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.txt").write_text("x", "utf-8")
    config = {
        "COMFYUI_MOUNTS": f"m:{tmp_path / 'm'}",
        "COMFYUI_ACCESS_KEY": KEY,
        "INPUT_SERVER_LOCK_EXEMPT": "none",
        "INPUT_SERVER_LOCK_AFTER": "3",
        "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1" if trusted else "",
    }
    with Host(tmp_path, config) as host:

        def ask(key: str, client: str) -> int:
            path = f"/comfyui_server/pw={key}/files/m/a.txt"
            return host.get(path, X_Forwarded_For=client).status_code

        assert [ask("old", CLIENT) for _ in range(8)] == [401] * 8
        assert host.get(signed("old"), X_Forwarded_For=CLIENT).status_code == 401
        assert [ask(f"guess{n}", CLIENT) for n in range(2)] == [401] * 2
        assert ask(KEY, CLIENT) == 429
        assert ask(KEY, OTHER) == (200 if trusted else 429)
        assert host.get(signed(KEY), X_Forwarded_For=CLIENT).text == "x"
        line = host.logged("locked out")
        assert (CLIENT if trusted else "127.0.0.1") in line
        assert len([one for one in host.log if "locked out" in one]) == 1
        assert not [one for one in host.log if "guess" in one]


# -- the score -------------------------------------------------------------------------------------


def locked(guard: LockoutTracker, address: str) -> bool:
    return guard.locked_out_for(address) > 0


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 40])
def test_so_many_wrong_keys_are_enough_and_one_fewer_is_not(limit: int) -> None:
    guard = LockoutTracker(LockoutPolicy(limit), clock=Clock())
    for number in range(limit):
        assert not locked(guard, CLIENT), number
        guard.record_failure(CLIENT, f"k{number}")
    assert guard.locked_out_for(CLIENT) == 600


def test_the_defaults_are_what_the_settings_promise() -> None:
    assert LockoutPolicy() == LockoutPolicy(limit=10, seconds=600, exempt=())
    assert (guards.MAX_TRACKED, guards.MAX_LOCKOUTS, guards.MAX_KEYS_PER_CLIENT) == (
        10_000,
        10_000,
        32,
    )
    assert (guards.HALF_LIFE, guards.SITE_PREFIX, guards.SITE_FACTOR) == (300, 48, 4)


def test_a_score_halves_in_five_minutes() -> None:
    clock = Clock()
    guard = LockoutTracker(LockoutPolicy(limit=3), clock=clock)
    for number in range(2):
        guard.record_failure(CLIENT, f"k{number}")
    clock.now += 300
    guard.record_failure(CLIENT, "k2")  # 1 + 1
    assert not locked(guard, CLIENT)
    guard.record_failure(CLIENT, "k3")
    assert locked(guard, CLIENT)
    slow = LockoutTracker(LockoutPolicy(limit=3), clock=clock)
    for number in range(3):
        slow.record_failure(CLIENT, f"k{number}")
        clock.now += 20  # as a person may need to type them
    assert locked(slow, CLIENT)


def test_a_lockout_ends_on_its_second_and_the_count_restarts() -> None:
    clock = Clock()
    guard = LockoutTracker(LockoutPolicy(limit=2, seconds=100), clock=clock)
    guard.record_failure(CLIENT, "a")
    guard.record_failure(CLIENT, "b")
    clock.now += 99.5
    assert guard.locked_out_for(CLIENT) == 0.5
    clock.now += 0.5
    assert not locked(guard, CLIENT)
    guard.record_failure(CLIENT, "a")
    guard.record_failure(CLIENT, "b")
    guard.record_failure(CLIENT, "c")
    assert not locked(guard, CLIENT), "two of them were known"
    guard.record_failure(CLIENT, "d")
    assert locked(guard, CLIENT)


def test_answers_wait_longer_and_longer_but_never_beyond_two_seconds() -> None:
    guard = LockoutTracker(LockoutPolicy(limit=100), clock=Clock())
    waits = [guard.record_failure(CLIENT, f"k{number}") for number in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[6:] == [2.0] * 6
    assert guard.record_failure(OTHER, "k") == 0.1
    assert guard.record_failure(OTHER, "k") == 0.1, "a repeated one waits, but no longer"


def test_without_a_limit_and_in_exempt_networks_no_client_is_locked_out() -> None:
    spared = LockoutTracker(LockoutPolicy(limit=1, exempt=parse_networks("127.0.0.0/8", "x")))
    assert spared.record_failure("::ffff:127.0.0.9", "a") == 0
    assert not locked(spared, "127.0.0.9")
    never = LockoutTracker(LockoutPolicy(limit=0))
    assert never.record_failure(CLIENT, "a") == 0
    assert not locked(never, CLIENT)


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("203.0.113.7", "::ffff:203.0.113.7", "203.0.113.8"),
        ("::ffff:203.0.113.7", "203.0.113.7", "::ffff:203.0.113.6"),
        ("::ffff:cb00:7107", "203.0.113.7", "203.0.114.7"),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe80:0:0:1::1"),
        ("what a proxy says", "what a proxy says", "what another says"),
    ],
)
def test_a_client_is_an_ipv4_address_or_a_64(address: str, same: str, other: str) -> None:
    guard = LockoutTracker(LockoutPolicy(limit=1))
    guard.record_failure(address, "a")
    assert locked(guard, same)
    assert not locked(guard, other)


def test_a_site_has_four_times_the_limit() -> None:
    guard = LockoutTracker(LockoutPolicy(limit=3), clock=Clock())
    for number in range(11):
        guard.record_failure(f"2001:db8:0:{number}::1", f"k{number}")
    assert not locked(guard, "2001:db8:0:99::1")
    guard.record_failure("2001:db8:0:11::1", "k11")
    assert locked(guard, "2001:db8:0:99::1")
    assert not locked(guard, "2001:db8:1::1")
    one_key = LockoutTracker(LockoutPolicy(limit=3), clock=Clock())
    for number in range(200):
        one_key.record_failure(f"2001:db8:0:{number:x}::1", "the old one")
    assert not locked(one_key, "2001:db8::1"), "a site with one old key"


def test_clients_of_a_site_that_repeat_their_own_wrong_key_do_not_lock_it_out() -> None:
    guard = LockoutTracker(LockoutPolicy(limit=10), clock=Clock())  # a site may have 40
    for _ in range(5):
        for number in range(guards.MAX_KEYS_PER_CLIENT + 4):
            guard.record_failure(f"2001:db8:0:{number:x}::1", f"key {number}")
    assert not locked(guard, "2001:db8::1")


def test_an_active_lockout_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("input_server.auth.lockout.MAX_TRACKED", 10)
    monkeypatch.setattr("input_server.auth.lockout.MAX_LOCKOUTS", 5)
    clock, log = Clock(), []
    guard = LockoutTracker(LockoutPolicy(limit=2, seconds=100), log.append, clock)
    for key in "ab":
        guard.record_failure(CLIENT, key)
    for number in range(200):
        guard.record_failure(f"10.{number}.0.1", "a")
    assert len(guard._scores) == 10
    for number in range(4):
        for key in "ab":
            guard.record_failure(f"10.0.0.{number}", key)
    clock.now += 50
    for number in range(400):
        for key in "ab":
            guard.record_failure(f"10.{number % 200}.{number % 250}.1", key)
    assert guard.locked_out_for(CLIENT) == 50
    assert all(locked(guard, f"10.0.0.{number}") for number in range(4))
    assert all(locked(guard, f"10.{number % 200}.{number % 250}.1") for number in range(400))
    assert locked(guard, "10.0.77.1"), "the table was full, so its /16 is locked out"
    assert locked(guard, "10.250.0.1"), "and then its /8"
    assert not locked(guard, "11.0.0.1")
    assert len(guard._lockouts) <= 11
    assert len(log) == len(guard._lockouts)
    clock.now += 100
    for key in "cd":
        guard.record_failure(OTHER, key)
    assert len(guard._lockouts) == 1, "what has ended makes room"
    assert not locked(guard, "203.0.113.9")


@bounded
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["old chat", "signatures", "right key", "guesser", "crowd", "time"]),
            st.integers(0, 30),
        ),
        max_size=120,
    )
)
def test_whatever_comes_only_guessers_are_locked_out_and_for_all_of_their_time(
    events: list[tuple[str, int]],
) -> None:
    clock = Clock()
    guard = LockoutTracker(LockoutPolicy(limit=4, seconds=100), clock=clock)
    access = Access((Key("k", KEY),), SECRET, guard, DenyList(None, print))
    until: dict[str, float] = {}
    distinct: set[int] = set()

    def ask(key: str | None, client: str, query: dict[str, str] | None = None) -> int:
        try:
            access.authenticate(Route("files", key, "m", ("a",)), query or {}, Client(client, {}))
        except Denied as denied:
            return denied.status
        return 200

    for kind, number in events:
        if kind == "time":
            clock.now += number
        elif kind == "old chat":
            assert ask("last year's", "198.51.100.1") == 401
            assert ask(KEY, "198.51.100.1") == 200
        elif kind == "signatures":
            query = {"exp": str(int(time.time()) + 60), "sig": f"wrong{number}"}
            assert ask(None, "198.51.100.2", query) == 401
            assert ask(KEY, "198.51.100.2") == 200
        elif kind == "right key":
            assert ask(KEY, "198.51.100.3") == 200
        elif kind == "crowd":
            ask(f"guess{number}", f"2001:db8:{number % 7}:{number}::1")
            ask("guess", f"10.{number}.0.1")
        else:
            free = clock.now >= until.get(CLIENT, 0.0)
            assert ask(f"guess{number}", CLIENT) == (401 if free else 429)
            if free and number not in distinct:
                distinct.add(number)
            if free and guard.locked_out_for(CLIENT) > 0:
                until[CLIENT] = clock.now + 100
        left = until.get(CLIENT, 0.0) - clock.now
        assert guard.locked_out_for(CLIENT) == pytest.approx(max(0.0, left))
    before = clock.now
    if before >= until.get(CLIENT, 0.0):
        for number in range(4):
            ask(f"new{number}", CLIENT)
    assert guard.locked_out_for(CLIENT) > 0, "four different keys at once are guessing"
