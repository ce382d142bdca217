"""Signed links and keys: limits, metrics labels, grants."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from input_server import link_command, urls
from input_server.auth import signing
from input_server.auth.access import Access, Client, Denied
from input_server.auth.deny_list import DenyList
from input_server.auth.keys import Key
from input_server.auth.lockout import LockoutPolicy, LockoutTracker
from input_server.auth.networks import parse_networks
from input_server.urls import Route, parse_query

NAMES = ("a", "b.png")


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (0, "valid"),
        (0.001, "expired"),
        (-60, "valid"),
        (-signing.MAX_LIFETIME, "valid"),
        (-signing.MAX_LIFETIME - 1, "invalid"),
    ],
)
def test_a_signature_expires_exactly_at_its_time(after: float, verdict: str) -> None:
    assert signing.MAX_LIFETIME == 366 * 24 * 3600
    expires = 1_700_000_000
    query = {"exp": str(expires), "sig": signing.signature("k", "files", "m", NAMES, expires)}
    assert signing.check_signature("k", "files", "m", NAMES, query, expires + after) == verdict


def test_an_expiry_has_at_most_eleven_digits() -> None:
    for expires, verdict in ((99_999_999_999, "valid"), (100_000_000_000, "invalid")):
        sig = signing.signature("k", "files", "m", NAMES, expires)
        query = {"exp": str(expires), "sig": sig}
        assert signing.check_signature("k", "files", "m", NAMES, query, expires - 1) == verdict


def authenticate(access: Access, route: Route, address: str = "10.0.0.1", **query: str) -> Any:
    try:
        return access.authenticate(route, query, Client(address, {}))
    except Denied as denied:
        return denied


def test_statuses_and_reasons_of_denied_requests() -> None:
    locks = LockoutTracker(LockoutPolicy(1, 600))
    keys = (
        Key("all", "key-for-all-mounts"),
        Key("one", "key-for-one-mount", frozenset({"m"})),
        Key("near", "key-from-nearby", networks=parse_networks("10.0.0.0/8", "x")),
    )
    access = Access(keys, "secret", locks, DenyList(None, print))
    other = Route("files", "key-for-one-mount", "other", ("a",))
    denied = authenticate(access, other)
    assert (denied.status, denied.reason, denied.delay) == (404, "no such mount", 0)
    assert authenticate(access, Route("metrics", "key-for-one-mount", "", ())).status == 404
    assert authenticate(access, Route("metrics", "key-for-all-mounts", "", ())).key == "all"
    near = Route("files", "key-from-nearby", "m", ("a",))
    assert authenticate(access, near).holder == "key near"
    remote = authenticate(access, near, "11.0.0.1")
    assert (remote.status, remote.reason) == (401, "wrong key"), "it could be a guess"
    assert authenticate(access, near, "11.0.0.1").status == 429
    nothing = authenticate(access, Route("files", None, "m", ("a",)), "12.0.0.1")
    assert (nothing.status, nothing.reason) == (401, "no key")
    signed = authenticate(access, Route("files", None, "m", ("a",)), "12.0.0.1", sig="x", exp="1")
    assert (signed.status, signed.reason, signed.delay) == (401, "wrong signature", 0)
    empty = authenticate(access, Route("files", "", "m", ("a",)), "12.0.0.1")
    assert (empty.status, empty.reason) == (401, "no key")
    assert locks.locked_out_for("12.0.0.1") == 0
    placeholder = Route("files", "signed", "m", ("a",), gate=True)
    assert authenticate(access, placeholder, "12.0.0.1", sig="x").reason == "wrong signature"
    assert (
        authenticate(access, replace(placeholder, gate=False), "13.0.0.1", sig="x").reason
        == "wrong key"
    )


def test_the_holder_of_a_grant_is_its_key_or_the_expiry_of_its_link() -> None:
    access = Access(
        (Key("all", "key-for-all"),),
        "secret",
        LockoutTracker(LockoutPolicy(10, 600)),
        DenyList(None, print),
    )
    expires = int(time.time()) + 60
    sig = signing.signature("secret", "files", "m", ("a",), expires)
    grant = authenticate(access, Route("files", None, "m", ("a",)), exp=str(expires), sig=sig)
    assert (grant.key, grant.expires, grant.holder) == ("", expires, f"link {expires}")


def test_a_link_is_valid_for_at_most_a_year() -> None:
    assert link_command.MOST_HOURS == 365 * 24
    assert link_command._hours(str(link_command.MOST_HOURS)) == link_command.MOST_HOURS
    for wrong in ("0", "-1", str(link_command.MOST_HOURS + 0.001)):
        with pytest.raises(Exception, match="a year"):
            link_command._hours(wrong)


def test_a_query_has_at_most_2048_characters() -> None:
    assert urls.MAX_QUERY_CHARACTERS == 2048
    assert parse_query("/x?" + "a=" + "b" * 2046) == {"a": "b" * 2046}
    assert parse_query("/x?" + "a=" + "b" * 2047) == {}
    assert parse_query("/x?a=1&a=2&b=%20") == {"a": "2", "b": " "}
