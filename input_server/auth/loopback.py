"""Access without a key for clients on this machine, safe from DNS rebinding."""

from __future__ import annotations

from ..parse_values import parse_count
from .access import Client

LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
LOOPBACK_NAMES = frozenset({"localhost", *LOOPBACK_ADDRESSES})


class LoopbackAccess:
    """``host`` and ``base_url``: settings whose host names also name this server, like localhost."""

    def __init__(self, host: str, base_url: str) -> None:
        configured = base_url.partition("://")[2].partition("/")[0]
        self._own_names = LOOPBACK_NAMES | {host.strip("[]").lower(), host_name(configured)}

    def applies_to(self, client: Client) -> bool:
        """Return whether the client is on this machine, and not behind a proxy on it."""
        return (
            client.address in LOOPBACK_ADDRESSES
            and "x-forwarded-for" not in client.headers
            and "forwarded" not in client.headers
        )

    def is_own_host(self, client: Client) -> bool:
        """Return whether the Host header names this server (RFC 9110, 7.4).

        A web page that points its own host name to 127.0.0.1 (DNS rebinding) sends that name.
        """
        name = host_name(client.headers.get("host", ""))
        return bool(name) and name in self._own_names


def host_name(host: str) -> str:
    """Return the name in a Host header (RFC 9110, 7.2), without port, brackets and final dot."""
    name, _, port = host.strip(" \t").rpartition(":")
    if not name or (port and parse_count(port, clamp=True) is None):
        name = host.strip(" \t")
    if name.startswith("["):
        return name[1:-1].lower() if name.endswith("]") else ""
    return name.removesuffix(".").lower()
