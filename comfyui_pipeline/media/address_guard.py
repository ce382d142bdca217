"""Connections that reach public addresses only, and those that the user let in.

The check and the connect are one step: a name is looked up once, every answer is judged, and the
socket goes to those very addresses. So neither odd spellings (``2130706433``, ``0x7f.1``) nor a
name that changes its answer between two look-ups gets past it. A separate module, because it
imports urllib3 and a call without a download must not pay for that.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from ipaddress import IPv4Network as V4
from ipaddress import IPv6Network as V6

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection

from input_server.light_dataclasses import dataclass

from ..errors import DownloadRefused, SettingsError

Address = IPv4Address | IPv6Address

_USUAL_PORTS = (80, 443)

# Beyond what ``is_global`` refuses. IANA special-purpose registries, and addresses that clouds
# answer on inside their own networks.
_REFUSED_V4 = (
    V4("192.0.0.0/24"),  # protocol assignments; 192.0.0.192 is Oracle's metadata
    V4("192.88.99.0/24"),  # 6to4 relays
    V4("168.63.129.16/32"),  # Azure's wire server
    V4("240.0.0.0/4"),
)
_GLOBAL_V6 = V6("2000::/3")  # the only block of IPv6 given out so far
_REFUSED_V6 = (
    V6("2001::/23"),  # Teredo, ORCHID, benchmarks
    V6("2001:db8::/32"),
    V6("2002::/16"),  # 6to4: an IPv4 address in disguise
    V6("3fff::/20"),
)
_TUNNEL_PROXY = V4("198.18.0.0/15")  # "fake IP" answers of TUN proxies such as Clash


def is_public(address: Address) -> bool:
    """Whether this is an address of the public Internet and of nothing else."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        # NAT64, IPv4-compatible and site-local addresses lie outside 2000::/3.
        return (
            address in _GLOBAL_V6
            and address.is_global
            and not any(address in network for network in _REFUSED_V6)
            and not _is_isatap(address)
        )
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _REFUSED_V4)
    )


def _is_isatap(address: IPv6Address) -> bool:
    """RFC 5214: the interface identifier holds an IPv4 address."""
    return (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of DOWNLOAD_ALLOW: a network or a host name, on one port or on all."""

    network: V4 | V6 | None
    host: str
    port: int | None

    def allows(self, host: str, port: int, address: Address) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is None:
            return host == self.host
        return address.version == self.network.version and address in self.network


def parse_allow(entries: tuple[str, ...]) -> tuple[Entry, ...]:
    """Read DOWNLOAD_ALLOW. Raises SettingsError for an entry of no known form."""
    return tuple(_parse_entry(entry.strip()) for entry in entries if entry.strip())


def _parse_entry(text: str) -> Entry:
    try:
        return Entry(ip_network(text, strict=False), "", None)
    except ValueError:
        pass
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(?::([0-9]{1,5}))?", text)
    if match is None or int(match[2] or 1) > 65535:
        raise SettingsError(
            f"DOWNLOAD_ALLOW: “{text}” is neither a host, a host:port nor a network.",
            "Write for example nas.local, nas.local:8080, 192.168.1.5 or 192.168.1.0/24.",
        )
    host, port = match[1].strip("[]"), int(match[2]) if match[2] else None
    try:
        return Entry(ip_network(host), "", port)
    except ValueError:
        return Entry(None, normal_host(host), port)


def normal_host(host: str) -> str:
    """A host name in the form in which names are compared: ASCII, lower case, no last dot."""
    host = host.strip("[]").rstrip(".").lower()
    if not host.isascii():
        try:
            return host.encode("idna").decode("ascii")
        except UnicodeError:
            return host
    return host


class Expired(Exception):
    """The download's whole time is over."""


class ConnectionGuard:
    """One download's way through its redirects: who may be reached, until when, on which socket.

    ``cancel`` may be called from another thread; it wakes a read that waits.
    """

    def __init__(self, allow: tuple[Entry, ...], deadline: float, connect_seconds: float) -> None:
        self._allow = allow
        self._deadline = deadline  # time.monotonic()
        self._connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cancelled = False

    def remaining(self, at_most: float) -> float:
        """Seconds until the deadline, at most this many. Raises Expired when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0 or self._cancelled:
            raise Expired
        return min(left, at_most)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._socket is not None:
                _shut_down(self._socket)

    def connect(self, host: str, port: int, shown: str) -> socket.socket:
        """A connected socket to one of the host's addresses, all of them judged before.

        Raises DownloadRefused, ``socket.gaierror``, ``OSError`` of the last attempt, Expired.
        """
        self.remaining(0)
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        for *_, target in found:
            self._judge(host, port, str(target[0]), shown)
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, target in found:
            try:
                return self._try(family, kind, protocol, target)
            except OSError as error:
                failure = error
        raise failure

    def _judge(self, host: str, port: int, text: str, shown: str) -> None:
        address = ip_address(text.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(entry.allows(normal_host(host), port, address) for entry in self._allow):
            return
        if not is_public(address):
            raise DownloadRefused(
                f"{shown} was not fetched: its host has a private address.",
                _private_hint(address),
            )
        if port not in _USUAL_PORTS:
            raise DownloadRefused(
                f"{shown} was not fetched: port {port} is not one of the usual ones (80, 443).",
                "Add host:port to DOWNLOAD_ALLOW in config.env if you trust it.",
            )

    def _try(
        self, family: int, kind: int, protocol: int, target: tuple[object, ...]
    ) -> socket.socket:
        wire = socket.socket(family, kind, protocol)
        try:
            wire.settimeout(self.remaining(self._connect_seconds))
            wire.connect(target)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._cancelled:
                    raise Expired
                self._socket = wire
        except BaseException:
            wire.close()
            raise
        return wire


def _private_hint(address: Address) -> str:
    hint = "If that machine is yours, add its host to DOWNLOAD_ALLOW in config.env."
    if isinstance(address, IPv4Address) and address in _TUNNEL_PROXY:
        hint += " A proxy with made-up addresses (198.18.x.x) answers here: let that network in."
    return hint


def _shut_down(wire: socket.socket) -> None:
    try:
        wire.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Plain(HTTPConnection):
    """An HTTP connection whose socket comes from a Visit."""

    visit: ConnectionGuard
    shown: str

    def _new_conn(self) -> socket.socket:
        return self.visit.connect(self.host, self.port, self.shown)


class _Secure(HTTPSConnection):
    """The same under TLS; name, SNI and certificate are checked as always."""

    visit: ConnectionGuard
    shown: str

    def _new_conn(self) -> socket.socket:
        return self.visit.connect(self.host, self.port, self.shown)


def open_connection(
    visit: ConnectionGuard,
    scheme: str,
    host: str,
    port: int | None,
    shown: str,
    read_seconds: float,
) -> HTTPConnection:
    """A connection that will reach ``host`` by way of ``visit``; nothing is sent yet.

    Uses no proxy and no .netrc. ``shown`` names the URL in errors.
    """
    if scheme == "http":
        plain = _Plain(host, port or 80, timeout=read_seconds)
        plain.visit, plain.shown = visit, shown
        return plain
    context = ssl.create_default_context(cafile=certifi.where())
    secure = _Secure(host, port or 443, timeout=read_seconds, ssl_context=context)
    secure.visit, secure.shown = visit, shown
    return secure
