"""Connect to public addresses, and to those that DOWNLOAD_ALLOW names, only.

A host name is resolved once; every address is checked, and the socket connects to one of these. So
neither unusual spellings (``2130706433``, ``0x7f.1``) nor DNS rebinding gets past the check. A
separate module, because it imports urllib3 and a call without a download must not pay for that.
A proxy is given the checked address. Only a name that DOWNLOAD_ALLOW has, or any name where the proxy
is declared trusted, is left to the proxy to resolve.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from ipaddress import IPv4Network as V4
from ipaddress import IPv6Network as V6

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection

from input_server.light_dataclasses import dataclass

from ..errors import DownloadRefused, SettingsError
from .proxies import Proxy

Address = IPv4Address | IPv6Address
Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]
"""One result of ``socket.getaddrinfo``."""

_DEFAULT_PORTS = (80, 443)

# In addition to what ``is_global`` excludes: IANA special-purpose registries, and addresses that
# cloud providers use inside their networks.
_REFUSED_V4 = (
    V4("192.0.0.0/24"),  # protocol assignments; 192.0.0.192 is Oracle's metadata service
    V4("192.88.99.0/24"),  # 6to4 relays
    V4("168.63.129.16/32"),  # Azure's wire server
    V4("240.0.0.0/4"),
)
_GLOBAL_V6 = V6("2000::/3")  # the only block that IANA has allocated
_REFUSED_V6 = (
    V6("2001::/23"),  # Teredo, ORCHID, benchmarks
    V6("2001:db8::/32"),
    V6("2002::/16"),  # 6to4: contains an IPv4 address
    V6("3fff::/20"),
)
_TUNNEL_PROXY = V4("198.18.0.0/15")  # "fake IP" addresses of TUN proxies such as Clash


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public Internet."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        # NAT64, IPv4-compatible and site-local addresses are outside 2000::/3
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
    """Whether the interface identifier contains an IPv4 address (RFC 5214)."""
    return (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of DOWNLOAD_ALLOW: a network or a host name, for one port or all."""

    network: V4 | V6 | None
    host: str
    port: int | None

    def allows(self, host: str, port: int, address: Address) -> bool:
        if self.network is None:
            return self.matches(host, port)
        if self.port not in (None, port):
            return False
        return address.version == self.network.version and address in self.network

    def matches(self, host: str, port: int) -> bool:
        """Whether it names this host and port."""
        return self.port in (None, port) and host == self.host


def parse_allow(entries: tuple[str, ...]) -> tuple[Entry, ...]:
    """Parse DOWNLOAD_ALLOW. Raises SettingsError for an invalid entry."""
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
    """Return a host name for comparison: ASCII, lower case, without a trailing dot."""
    host = host.strip("[]").rstrip(".").lower()
    if not host.isascii():
        try:
            return host.encode("idna").decode("ascii")
        except UnicodeError:
            return host
    return host


class Expired(Exception):
    """The time for the download is over."""


class ConnectionGuard:
    """Makes the connections of one download, including its redirects, until its deadline.

    ``cancel`` may be called from another thread; it ends a read that is waiting.
    """

    def __init__(self, allow: tuple[Entry, ...], deadline: float, connect_seconds: float) -> None:
        self._allow = allow
        self._deadline = deadline  # time.monotonic()
        self._connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cancelled = False

    def remaining(self, at_most: float) -> float:
        """Return the seconds until the deadline, at most ``at_most``. Raises Expired after it."""
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
        """Return a socket connected to one of the host's addresses, after checking all of them.

        Raises DownloadRefused, ``socket.gaierror``, ``OSError`` of the last attempt, Expired.
        """
        self.remaining(0)
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        for *_, target in found:
            self._check(host, port, _address(target), shown)
        return self._connect_to_one(found)

    def connect_to_proxy(self, proxy: Proxy) -> socket.socket:
        """Return a socket connected to the proxy, whose address the user has chosen.

        Raises ``OSError`` of the last attempt, Expired.
        """
        self.remaining(0)
        return self._connect_to_one(
            socket.getaddrinfo(proxy.host, proxy.port, 0, socket.SOCK_STREAM)
        )

    def tunnel_target(self, proxy: Proxy, host: str, port: int, shown: str) -> str | None:
        """Return what the proxy is to connect to: an address that was checked, or the name of a host
        that only the proxy resolves. None: a machine of this network, which is connected to directly.

        Raises DownloadRefused.
        """
        named = any(e.network is None and e.matches(normal_host(host), port) for e in self._allow)
        try:
            found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except socket.gaierror:
            found = []
        if not found and not (proxy.trusted or named):
            raise DownloadRefused(
                f"{shown} was not downloaded: its host is unknown here, so that its address cannot be "
                f"checked before the proxy {proxy.shown} connects to it.",
                f"Add {host} to DOWNLOAD_ALLOW, or, if the proxy refuses private addresses, set "
                "DOWNLOAD_PROXY_TRUSTED=true in config.env.",
            )
        addresses = [_address(target) for *_, target in found]
        if proxy.trusted and all(a in _TUNNEL_PROXY for a in addresses if a.version == 4):
            addresses = [a for a in addresses if a.version == 6]
        for address in addresses:
            self._check(host, port, address, shown)
        if any(not is_public(address) for address in addresses):
            return None
        if not (proxy.trusted or named):
            return str(addresses[0])
        if not named:
            _check_port(port, shown)
        return host

    def _connect_to_one(self, found: Sequence[Found]) -> socket.socket:
        failure: OSError = OSError("the host has no IP address")
        for family, kind, protocol, _, target in found:
            try:
                return self._connect(family, kind, protocol, target)
            except OSError as error:
                failure = error
        raise failure

    def _check(self, host: str, port: int, address: Address, shown: str) -> None:
        if any(entry.allows(normal_host(host), port, address) for entry in self._allow):
            return
        if not is_public(address):
            raise DownloadRefused(
                f"{shown} was not downloaded: its host has a private IP address.",
                _private_hint(address),
            )
        _check_port(port, shown)

    def _connect(
        self, family: int, kind: int, protocol: int, target: tuple[object, ...]
    ) -> socket.socket:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(self.remaining(self._connect_seconds))
            connection.connect(target)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._cancelled:
                    raise Expired
                self._socket = connection
        except BaseException:
            connection.close()
            raise
        return connection


def _address(target: tuple[object, ...]) -> Address:
    """The address of a target of ``getaddrinfo``; an IPv4 address in IPv6 form as IPv4."""
    address = ip_address(str(target[0]).partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _check_port(port: int, shown: str) -> None:
    if port not in _DEFAULT_PORTS:
        raise DownloadRefused(
            f"{shown} was not downloaded: only the ports 80 and 443 are allowed, not {port}.",
            "If you trust this server, add host:port to DOWNLOAD_ALLOW in config.env.",
        )


def _private_hint(address: Address) -> str:
    hint = "If that machine is yours, add its host to DOWNLOAD_ALLOW in config.env."
    if isinstance(address, IPv4Address) and address in _TUNNEL_PROXY:
        hint += " A local proxy answers with fake IP addresses: add 198.18.0.0/15 to that setting."
    return hint


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Plain(HTTPConnection):
    """An HTTP connection whose socket comes from a ConnectionGuard."""

    new_socket: Callable[[], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.new_socket()


class _Secure(HTTPSConnection):
    """The same with TLS; certificate and host name are verified as usual."""

    new_socket: Callable[[], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.new_socket()


def open_connection(
    guard: ConnectionGuard,
    scheme: str,
    host: str,
    port: int | None,
    shown: str,
    read_seconds: float,
    proxy: Proxy | None = None,
) -> HTTPConnection:
    """Return a connection to ``host`` that is not connected yet, perhaps through a proxy.

    ``shown`` names the URL in errors. Raises DownloadRefused for what the proxy must not connect to.
    """
    port = port or (80 if scheme == "http" else 443)
    connection: _Plain | _Secure
    if scheme == "http":
        connection = _Plain(host, port, timeout=read_seconds)
    else:
        context = ssl.create_default_context(cafile=certifi.where())
        connection = _Secure(
            host, port, timeout=read_seconds, ssl_context=context, server_hostname=host
        )
    connection.new_socket = partial(guard.connect, host, port, shown)
    target = guard.tunnel_target(proxy, host, port, shown) if proxy else None
    if proxy is not None and target is not None:
        connection.new_socket = partial(guard.connect_to_proxy, proxy)
        connection.set_tunnel(target, port, headers=proxy.headers)
    return connection
