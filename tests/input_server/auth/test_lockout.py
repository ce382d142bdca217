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
from input_server.auth import lockout, signing
from input_server.auth.access import Access, Client, Denied
from input_server.auth.deny_list import DenyList
from input_server.auth.keys import Key
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.auth.networks import Network, parse_networks
from input_server.urls import Route
from tests.input_server.hosts import Host, needs_node
from tests.input_server.registry import Registry, hosted
from tests.input_server.running import KEY, Running
from tests.waiting import TIMEOUT, wait_until

SECRET = "signing secret"
PROXIED = {"INPUT_SERVER_LOCK_EXEMPT": "none", "INPUT_SERVER_TRUSTED_PROXIES": "127.0.0.1"}
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
    with Running(tmp_path / "m", **PROXIED, **settings, INPUT_SERVER_LOCK_AFTER="6") as server:
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
    assert running.get(signed(), X_Forwarded_For=CLIENT).text == "x", (
        "a signature cannot be guessed"
    )
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
        expired = running.get(signed(seconds=-60), X_Forwarded_For=CLIENT)
        assert (expired.status_code, expired.text) == (401, "Link expired.")
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


def test_wrong_keys_count_in_every_kind_of_url_and_header(running: Running) -> None:
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
        assert server.get("/metrics").status_code == 200, "metrics need no key on this machine"
        for number in range(5):
            assert server.get(f"/comfyui_server/pw=no{number}/files/m/a.txt").status_code == 401
        assert server.get("a.txt").text == "x", "exempt"
        deny.write_text("127.0.0.1\n", "utf-8")
        wait_until(lambda: server.get("a.txt").status_code == 403)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no Unix sockets in Python")
def test_behind_a_unix_socket_the_forwarded_address_is_used(tmp_path: Path) -> None:
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
@pytest.mark.parametrize("raw", [True, False], ids=["raw target", "decoded by the host"])
def test_a_client_that_guesses_is_locked_out_in_a_python_host(
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
def test_a_client_that_guesses_is_locked_out_behind_the_bridge(
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


def policy(limit: float, seconds: float = 600, exempt: tuple[Network, ...] = ()) -> LockoutPolicy:
    return LockoutPolicy(limit, seconds, exempt)


def is_locked_out(tracker: LockoutTracker, address: str) -> bool:
    return tracker.locked_out_for(address) > 0


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 40])
def test_exactly_limit_wrong_keys_lock_a_client_out(limit: int) -> None:
    tracker = LockoutTracker(policy(limit), clock=Clock())
    for number in range(limit):
        assert not is_locked_out(tracker, CLIENT), number
        tracker.record_failure(CLIENT, f"k{number}")
    assert tracker.locked_out_for(CLIENT) == 600


def test_limits_of_memory_and_networks() -> None:
    assert (lockout.MAX_TRACKED, lockout.MAX_LOCKOUTS, lockout.MAX_KEYS_PER_CLIENT) == (
        10_000,
        10_000,
        32,
    )
    assert (lockout.HALF_LIFE, lockout.SITE_PREFIX, lockout.SITE_FACTOR) == (300, 48, 4)


def test_a_score_drops_by_half_in_five_minutes() -> None:
    clock = Clock()
    tracker = LockoutTracker(policy(limit=3), clock=clock)
    for number in range(2):
        tracker.record_failure(CLIENT, f"k{number}")
    clock.now += 300
    tracker.record_failure(CLIENT, "k2")  # 1 + 1
    assert not is_locked_out(tracker, CLIENT)
    tracker.record_failure(CLIENT, "k3")
    assert is_locked_out(tracker, CLIENT)
    slow = LockoutTracker(policy(limit=3), clock=clock)
    for number in range(3):
        slow.record_failure(CLIENT, f"k{number}")
        clock.now += 20  # about the time to type a key
    assert is_locked_out(slow, CLIENT)


def test_a_lockout_ends_on_its_second_and_the_count_restarts() -> None:
    clock = Clock()
    tracker = LockoutTracker(policy(limit=2, seconds=100), clock=clock)
    tracker.record_failure(CLIENT, "a")
    tracker.record_failure(CLIENT, "b")
    clock.now += 99.5
    assert tracker.locked_out_for(CLIENT) == 0.5
    clock.now += 0.5
    assert not is_locked_out(tracker, CLIENT)
    tracker.record_failure(CLIENT, "a")
    tracker.record_failure(CLIENT, "b")
    tracker.record_failure(CLIENT, "c")
    assert not is_locked_out(tracker, CLIENT), "two of them are repeated"
    tracker.record_failure(CLIENT, "d")
    assert is_locked_out(tracker, CLIENT)


def test_responses_to_wrong_keys_are_delayed_progressively_up_to_two_seconds() -> None:
    tracker = LockoutTracker(policy(limit=100), clock=Clock())
    delays = [tracker.record_failure(CLIENT, f"k{number}") for number in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[6:] == [2.0] * 6
    assert tracker.record_failure(OTHER, "k") == 0.1
    assert tracker.record_failure(OTHER, "k") == 0.1, "a repeated key does not increase the delay"


def test_no_client_is_locked_out_in_exempt_networks_or_with_limit_zero() -> None:
    exempt = LockoutTracker(policy(limit=1, exempt=parse_networks("127.0.0.0/8", "x")))
    assert exempt.record_failure("::ffff:127.0.0.9", "a") == 0
    assert not is_locked_out(exempt, "127.0.0.9")
    never = LockoutTracker(policy(limit=0))
    assert never.record_failure(CLIENT, "a") == 0
    assert not is_locked_out(never, CLIENT)


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("203.0.113.7", "::ffff:203.0.113.7", "203.0.113.8"),
        ("::ffff:203.0.113.7", "203.0.113.7", "::ffff:203.0.113.6"),
        ("::ffff:cb00:7107", "203.0.113.7", "203.0.114.7"),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe80:0:0:1::1"),
        ("text from a proxy", "text from a proxy", "other text"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_64(address: str, same: str, other: str) -> None:
    tracker = LockoutTracker(policy(limit=1))
    tracker.record_failure(address, "a")
    assert is_locked_out(tracker, same)
    assert not is_locked_out(tracker, other)


def test_the_limit_of_an_ipv6_site_is_four_times_that_of_a_client() -> None:
    tracker = LockoutTracker(policy(limit=3), clock=Clock())
    for number in range(11):
        tracker.record_failure(f"2001:db8:0:{number}::1", f"k{number}")
    assert not is_locked_out(tracker, "2001:db8:0:99::1")
    tracker.record_failure("2001:db8:0:11::1", "k11")
    assert is_locked_out(tracker, "2001:db8:0:99::1")
    assert not is_locked_out(tracker, "2001:db8:1::1")
    same_key = LockoutTracker(policy(limit=3), clock=Clock())
    for number in range(200):
        same_key.record_failure(f"2001:db8:0:{number:x}::1", "the old one")
    assert not is_locked_out(same_key, "2001:db8::1"), "a site that repeats one old key"


def test_clients_of_a_site_that_repeat_their_own_wrong_key_do_not_lock_it_out() -> None:
    tracker = LockoutTracker(policy(limit=10), clock=Clock())  # a site may have 40
    for _ in range(5):
        for number in range(lockout.MAX_KEYS_PER_CLIENT + 4):
            tracker.record_failure(f"2001:db8:0:{number:x}::1", f"key {number}")
    assert not is_locked_out(tracker, "2001:db8::1")


def test_an_active_lockout_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("input_server.auth.lockout.MAX_TRACKED", 10)
    monkeypatch.setattr("input_server.auth.lockout.MAX_LOCKOUTS", 5)
    clock, log = Clock(), []
    tracker = LockoutTracker(policy(limit=2, seconds=100), log.append, clock)
    for key in "ab":
        tracker.record_failure(CLIENT, key)
    for number in range(200):
        tracker.record_failure(f"10.{number}.0.1", "a")
    assert len(tracker._scores) == 10
    for number in range(4):
        for key in "ab":
            tracker.record_failure(f"10.0.0.{number}", key)
    clock.now += 50
    for number in range(400):
        for key in "ab":
            tracker.record_failure(f"10.{number % 200}.{number % 250}.1", key)
    assert tracker.locked_out_for(CLIENT) == 50
    assert all(is_locked_out(tracker, f"10.0.0.{number}") for number in range(4))
    assert all(
        is_locked_out(tracker, f"10.{number % 200}.{number % 250}.1") for number in range(400)
    )
    assert is_locked_out(tracker, "10.0.77.1"), "the table was full, so its /16 is locked out"
    assert is_locked_out(tracker, "10.250.0.1"), "and then its /8"
    assert not is_locked_out(tracker, "11.0.0.1")
    assert len(tracker._lockouts) <= 11
    assert len(log) == len(tracker._lockouts)
    clock.now += 100
    for key in "cd":
        tracker.record_failure(OTHER, key)
    assert len(tracker._lockouts) == 1, "ended lockouts are removed"
    assert not is_locked_out(tracker, "203.0.113.9")


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
def test_only_guessers_are_locked_out_and_for_the_full_time(
    events: list[tuple[str, int]],
) -> None:
    clock = Clock()
    tracker = LockoutTracker(policy(limit=4, seconds=100), clock=clock)
    access = Access((Key("k", KEY),), SECRET, tracker, DenyList(None, print))
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
            is_free = clock.now >= until.get(CLIENT, 0.0)
            assert ask(f"guess{number}", CLIENT) == (401 if is_free else 429)
            if is_free and number not in distinct:
                distinct.add(number)
            if is_free and tracker.locked_out_for(CLIENT) > 0:
                until[CLIENT] = clock.now + 100
        left = until.get(CLIENT, 0.0) - clock.now
        assert tracker.locked_out_for(CLIENT) == pytest.approx(max(0.0, left))
    before = clock.now
    if before >= until.get(CLIENT, 0.0):
        for number in range(4):
            ask(f"new{number}", CLIENT)
    assert tracker.locked_out_for(CLIENT) > 0, "four different keys at once are guessing"
