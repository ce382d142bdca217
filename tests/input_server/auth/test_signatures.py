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
from input_server.settings import Config, read
from input_server.urls import Route, parse_query
from tests.input_server.gallery_harness import KEY

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"
NAMES = ("a", "b.png")


def configured(**settings: str) -> Config:
    return read({"COMFYUI_ACCESS_KEY": "a-long-enough-key", **settings})


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
def test_an_address_opens_up_to_its_second(after: float, verdict: str) -> None:
    assert signing.MAX_LIFETIME == 366 * 24 * 3600
    expires = 1_700_000_000
    asked = {"exp": str(expires), "sig": signing.signature("k", "files", "m", NAMES, expires)}
    assert signing.check_signature("k", "files", "m", NAMES, asked, expires + after) == verdict


def test_an_end_has_at_most_eleven_digits() -> None:
    for expires, verdict in ((99_999_999_999, "valid"), (100_000_000_000, "invalid")):
        sig = signing.signature("k", "files", "m", NAMES, expires)
        asked = {"exp": str(expires), "sig": sig}
        assert signing.check_signature("k", "files", "m", NAMES, asked, expires - 1) == verdict


def admitted(access: Access, route: Route, address: str = "10.0.0.1", **asked: str) -> Any:
    try:
        return access.authenticate(route, asked, Client(address, {}))
    except Denied as denied:
        return denied


def test_what_is_counted_and_what_is_answered() -> None:
    locks = LockoutTracker(LockoutPolicy(limit=1))
    keys = (
        Key("all", "key-for-all-mounts"),
        Key("one", "key-for-one-mount", frozenset({"m"})),
        Key("near", "key-from-nearby", networks=parse_networks("10.0.0.0/8", "x")),
    )
    access = Access(keys, "secret", locks, DenyList(None, print))
    other = Route("files", "key-for-one-mount", "other", ("a",))
    denied = admitted(access, other)
    assert (denied.status, denied.reason, denied.delay) == (404, "no such mount", 0)
    assert admitted(access, Route("metrics", "key-for-one-mount", "", ())).status == 404
    assert admitted(access, Route("metrics", "key-for-all-mounts", "", ())).key == "all"
    near = Route("files", "key-from-nearby", "m", ("a",))
    assert admitted(access, near).holder == "key near"
    far = admitted(access, near, "11.0.0.1")
    assert (far.status, far.reason) == (401, "wrong key"), "it could be a guess"
    assert admitted(access, near, "11.0.0.1").status == 429
    nothing = admitted(access, Route("files", None, "m", ("a",)), "12.0.0.1")
    assert (nothing.status, nothing.reason) == (401, "no key")
    signed = admitted(access, Route("files", None, "m", ("a",)), "12.0.0.1", sig="x", exp="1")
    assert (signed.status, signed.reason, signed.delay) == (401, "wrong signature", 0)
    empty = admitted(access, Route("files", "", "m", ("a",)), "12.0.0.1")
    assert (empty.status, empty.reason) == (401, "no key")
    assert locks.locked_out_for("12.0.0.1") == 0
    placeholder = Route("files", "signed", "m", ("a",), gate=True)
    assert admitted(access, placeholder, "12.0.0.1", sig="x").reason == "wrong signature"
    assert (
        admitted(access, replace(placeholder, gate=False), "13.0.0.1", sig="x").reason
        == "wrong key"
    )


def test_what_requests_have_in_common_is_their_key_or_the_end_of_their_link() -> None:
    access = Access(
        (Key("all", "key-for-all"),),
        "secret",
        LockoutTracker(LockoutPolicy()),
        DenyList(None, print),
    )
    end = int(time.time()) + 60
    sig = signing.signature("secret", "files", "m", ("a",), end)
    grant = admitted(access, Route("files", None, "m", ("a",)), exp=str(end), sig=sig)
    assert (grant.key, grant.expires, grant.holder) == ("", end, f"link {end}")


def test_a_links_hours() -> None:
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
