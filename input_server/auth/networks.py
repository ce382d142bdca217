"""IP networks in settings, and the client address of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ..errors import ConfigError

Network = IPv4Network | IPv6Network

MAPPED_PREFIX = 96
"""Prefix length of IPv4 addresses inside IPv6 (``::ffff:0:0/96``)."""


def parse_networks(text: str, setting: str) -> tuple[Network, ...]:
    """Parse addresses and networks separated by ``;``. IPv4 inside IPv6 becomes IPv4.

    Raises ConfigError, naming ``setting``.
    """
    found = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        try:
            found.append(_unmapped(ip_network(entry, strict=False)))
        except ValueError:
            raise ConfigError(
                f"{setting}: {entry!r} is not an IP address or network. Use values like "
                "192.168.1.0/24, separated by ;"
            ) from None
    return tuple(found)


def _unmapped(network: Network) -> Network:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))


def in_networks(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is in one of the networks; False for text that is no address."""
    if not networks:
        return False
    try:
        found = ip_address(canonical(address))
    except ValueError:
        return False
    return any(found.version == net.version and found in net for net in networks)


def canonical(address: str) -> str:
    """Return an address without its zone, and IPv4 inside IPv6 as IPv4 (RFC 4291, 2.5.5.2)."""
    if ":" not in address:
        return address
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def client_address(peer: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> str:
    """Return the address of the client of a request.

    That is ``peer``, or behind trusted proxies the last address in ``X-Forwarded-For`` that is not a
    trusted proxy. The list is read from the right: a client can write anything further left.
    """
    peer = canonical(peer)
    if not trusted or not in_networks(peer, trusted):
        return peer
    hops = [canonical(_bare(hop)) for hop in headers.get("x-forwarded-for", "").split(",")]
    for hop in filter(None, reversed(hops)):
        if not in_networks(hop, trusted):
            return hop
        peer = hop
    return peer


def _bare(hop: str) -> str:
    """Return an address without the port and brackets that some proxies add."""
    bracketed = re.fullmatch(r"\s*\[([^]]*)\](:\d+)?\s*", hop)
    with_port = re.fullmatch(r"\s*([\d.]+):\d+\s*", hop)
    found = bracketed or with_port
    return found[1] if found else hop.strip()
