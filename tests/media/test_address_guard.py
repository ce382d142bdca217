"""Addresses that may be connected to: the edges of every network, and DOWNLOAD_ALLOW."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

import pytest

from comfyui_pipeline.errors import DownloadRefused, SettingsError
from comfyui_pipeline.media import address_guard

PRIVATE = """
0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.168.0.1
192.0.0.0 192.0.0.9 192.0.0.10 192.0.0.192 192.0.0.255 192.0.2.1 192.88.99.0 192.88.99.255 198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.1 168.63.129.16 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::a00:1 100::1 1fff::1 2001::1 2001:1ff::1
2001:db8::1 2002:7f00:1::1 2002:ffff::1 3fff::1 3fff:fff::1 4000::1 fc00::1 fd00::1 fe80::1 fec0::1
ff02::1 2600::5efe:a00:1 2600::200:5efe:a00:1
"""
PUBLIC = """
1.1.1.1 9.9.9.9 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 168.63.129.15 168.63.129.17
172.15.255.255 172.32.0.1 191.255.255.255 192.0.1.1 192.88.98.255 192.88.100.0 192.167.0.1 198.17.255.255
198.20.0.1 223.255.255.255 ::ffff:1.1.1.1 2001:200::1 2003::1 2400::1 2600::1 2a00::1 3ffe::1
2600::5efd:a00:1
"""


@pytest.mark.parametrize("text", PRIVATE.split())
def test_addresses_of_special_networks_are_private(text: str) -> None:
    assert not address_guard.is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC.split())
def test_neighbouring_addresses_are_public(text: str) -> None:
    assert address_guard.is_public(ip_address(text))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "let_in"),
    [
        ("192.168.1.0/24", "x", 80, "192.168.1.255", True),
        ("192.168.1.0/24", "x", 8080, "192.168.1.1", True),
        ("192.168.1.7/24", "x", 80, "192.168.1.1", True),
        ("192.168.1.0/24", "x", 80, "192.168.2.1", False),
        ("192.168.1.5", "x", 80, "192.168.1.5", True),
        ("192.168.1.5", "x", 80, "192.168.1.6", False),
        ("192.168.1.5:8080", "x", 8080, "192.168.1.5", True),
        ("192.168.1.5:8080", "x", 80, "192.168.1.5", False),
        ("fd00::/8", "x", 80, "fd12::1", True),
        ("fd00::/8", "x", 80, "192.168.1.5", False),
        ("0.0.0.0/0", "x", 80, "fd12::1", False),
        ("[fd00::1]:81", "x", 81, "fd00::1", True),
        ("[fd00::1]:81", "x", 82, "fd00::1", False),
        ("nas.local", "nas.local", 80, "10.0.0.1", True),
        ("NAS.local.", "nas.local", 81, "10.0.0.1", True),
        ("nas.local", "other.local", 80, "10.0.0.1", False),
        ("nas.local", "x.nas.local", 80, "10.0.0.1", False),
        ("nas.local:81", "nas.local", 81, "10.0.0.1", True),
        ("nas.local:81", "nas.local", 80, "10.0.0.1", False),
        ("bücher.example", "xn--bcher-kva.example", 80, "10.0.0.1", True),
        ("nas.local:65535", "nas.local", 65535, "10.0.0.1", True),
    ],
)
def test_an_entry_allows_what_it_names(
    entry: str, host: str, port: int, address: str, let_in: bool
) -> None:
    (read,) = address_guard.parse_allow((f" {entry} ", " "))
    assert read.allows(host, port, ip_address(address)) is let_in


@pytest.mark.parametrize(
    "entry", ["a b", "nas:65536", "nas:123456", "http://nas", "me@nas", "[::1"]
)
def test_an_invalid_entry_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="DOWNLOAD_ALLOW"):
        address_guard.parse_allow((entry,))


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[tuple[str, int]]:
    """Every name has these addresses; gives where connections went."""
    reached: list[tuple[str, int]] = []

    class Wire:
        def __init__(self, *_: object) -> None:
            return

        def settimeout(self, seconds: float) -> None:
            assert seconds > 0

        def connect(self, target: tuple[str, int]) -> None:
            reached.append(target)
            if target[0] == addresses[0] and len(addresses) > 1:
                raise ConnectionRefusedError

        def setsockopt(self, *_: object) -> None:
            return

        def close(self) -> None:
            return

    def look_up(host: str, port: int, *_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "socket", Wire)
    return reached


def guard(*allow: str, seconds: float = 60) -> address_guard.ConnectionGuard:
    return address_guard.ConnectionGuard(
        address_guard.parse_allow(allow), time.monotonic() + seconds, 5
    )


@pytest.mark.parametrize("port", [80, 443])
def test_the_next_public_address_is_tried_when_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    reached = answering(monkeypatch, "1.1.1.1", "1.0.0.1")
    guard().connect("public.example", port, "it")
    assert reached == [("1.1.1.1", port), ("1.0.0.1", port)]


@pytest.mark.parametrize(
    ("addresses", "port", "message"),
    [
        (("10.0.0.1",), 80, "private IP address"),
        (("1.1.1.1", "10.0.0.1"), 80, "private IP address"),
        (("::ffff:10.0.0.1",), 80, "private IP address"),
        (("198.18.0.1",), 80, "fake IP addresses"),
        (("1.1.1.1",), 22, "not 22"),
        (("1.1.1.1",), 8443, "host:port"),
    ],
)
def test_no_connection_is_made_when_one_address_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], port: int, message: str
) -> None:
    reached = answering(monkeypatch, *addresses)
    with pytest.raises(DownloadRefused, match=message) as caught:
        guard("other.example").connect("x.example", port, "it")
    assert ("fake" in str(caught.value)) == (addresses == ("198.18.0.1",))
    assert reached == []


def test_an_allowed_host_may_have_any_address_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = answering(monkeypatch, "::ffff:10.0.0.1")
    guard("10.0.0.0/8").connect("x.example", 8188, "it")
    assert reached == [("::ffff:10.0.0.1", 8188)]


def test_no_connection_is_made_after_the_deadline_or_a_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached = answering(monkeypatch, "1.1.1.1")
    late, cancelled = guard(seconds=0), guard()
    cancelled.cancel()
    for one in (late, cancelled):
        with pytest.raises(address_guard.Expired):
            one.connect("x.example", 80, "it")
        with pytest.raises(address_guard.Expired):
            one.remaining(5)
    assert reached == []
    assert guard(seconds=1000).remaining(5) == 5
    assert 0 < guard(seconds=100).remaining(1000) <= 100


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_each_scheme_has_its_default_port(scheme: str, port: int) -> None:
    for given, expected in ((None, port), (8000, 8000)):
        connection = address_guard.open_connection(guard(), scheme, "x.example", given, "it", 3)
        assert (connection.port, connection.timeout) == (expected, 3)
        assert hasattr(connection, "ssl_context") == (scheme == "https")
