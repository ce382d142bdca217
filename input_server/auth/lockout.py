"""Lockout of clients that guess keys.

Only a new wrong key counts: repeating one, as an old link in a chat does, does not help a guesser.
A client is an IPv4 address or the /64 of an IPv6 address; its /48 has a score of its own.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import ip_network

from .networks import Network, canonical, in_networks

MAX_TRACKED = 10_000
"""Clients with a score. Beyond it, the one whose last new wrong key is the oldest is dropped."""
MAX_LOCKOUTS = 10_000
"""Lockouts of single clients. While so many are active, the next ones lock a wider network of the
client (``WIDER``): no active lockout is dropped, and memory stays bounded."""
WIDER = {4: (16, 8), 6: (32, 16)}
"""Prefix lengths by IP version: the first for the next ``MAX_LOCKOUTS``, then the second."""
CLIENT_PREFIX = 64
"""Prefix length of one IPv6 client."""
SITE_PREFIX, SITE_FACTOR = 48, 4
"""Prefix length of an IPv6 site, which may own 65,536 clients, and its limit in multiples of ``limit``."""
MAX_KEYS_PER_CLIENT = 32
"""Wrong keys of one client that are recognised when repeated."""
HALF_LIFE = 300.0
"""Seconds in which a score drops by half."""
DECAY_TOLERANCE = 0.5
"""Subtracted from the limit, so that exactly ``limit`` wrong keys lock out although the score decays."""
FIRST_DELAY, MAX_DELAY = 0.05, 2.0
"""Seconds by which the response to a wrong key is delayed; doubles with each one."""
NO_ADDRESS = "clients without an IP address"
MAX_ADDRESS_CHARACTERS = 64
"""Limit for what a proxy sends as client address when that is not an IP address."""


@dataclass(frozen=True, slots=True)
class LockoutPolicy:
    """After ``limit`` different wrong keys a client is locked out for ``seconds``; 0 disables it.

    Clients in the ``exempt`` networks are never locked out: many users may share an address there.
    """

    limit: float
    seconds: float
    exempt: tuple[Network, ...] = ()


@dataclass(slots=True)
class _Score:
    """``value`` as of ``updated``; ``keys``: salted hashes of the latest wrong keys."""

    updated: float
    value: float = 0.0
    keys: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_KEYS_PER_CLIENT))

    def at(self, now: float) -> float:
        """Return the score after decay."""
        return float(self.value * 0.5 ** ((now - self.updated) / HALF_LIFE))


class LockoutTracker:
    """Tracks the wrong keys of each client and locks clients out. Thread-safe.

    ``log`` gets one line per lockout; ``clock`` returns monotonic seconds.
    """

    def __init__(
        self,
        policy: LockoutPolicy,
        log: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._log = log
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._scores: OrderedDict[str, _Score] = OrderedDict()
        self._lockouts: OrderedDict[str, float] = OrderedDict()  # network -> end

    def locked_out_for(self, address: str) -> float:
        """Return the remaining seconds of the client's lockout, 0 if there is none."""
        if not self._lockouts:
            return 0.0
        with self._lock:
            ends = [self._lockouts.get(network, 0.0) for network in _enclosing(address)]
            return max(0.0, max(ends) - self._clock())

    def record_failure(self, address: str, key: str) -> float:
        """Record a wrong key. Returns the seconds by which the response should be delayed."""
        policy = self._policy
        if policy.limit <= 0 or in_networks(address, policy.exempt):
            return 0.0
        now = self._clock()
        digest = blake2b(key.encode("utf-8", "replace"), digest_size=16, key=self._salt).digest()
        locked = []
        with self._lock:
            client, *sites = _scored(address)
            value, is_new = self._add(client, digest, now)
            if value > policy.limit - DECAY_TOLERANCE:
                locked.append(self._lock_out(client, now))
            for site in sites if is_new else ():
                score, _ = self._add(site, digest, now)
                if score > policy.limit * SITE_FACTOR - DECAY_TOLERANCE:
                    locked.append(self._lock_out(site, now))
        for network in filter(None, locked):
            self._log(
                f"Warning: {network} is locked out for {policy.seconds:g} s after too many wrong keys, "
                f"the last from {canonical(address)[:MAX_ADDRESS_CHARACTERS]!r}."
            )
        return min(MAX_DELAY, FIRST_DELAY * 2**value) if value >= 1 else 0.0

    def _add(self, network: str, digest: bytes, now: float) -> tuple[float, bool]:
        """Add a wrong key to a score. Returns the score, and whether the key was new."""
        score = self._scores.setdefault(network, _Score(now))
        if digest in score.keys:
            return score.at(now), False
        score.keys.append(digest)
        score.value, score.updated = score.at(now) + 1.0, now
        self._scores.move_to_end(network)
        while len(self._scores) > MAX_TRACKED:
            self._scores.popitem(last=False)
        return score.value, True

    def _lock_out(self, network: str, now: float) -> str:
        """Lock out a network, or a wider one if the table is full, and reset the network's score.

        Returns the network that is locked out, "" if it already was.
        """
        if network in self._scores:
            self._scores[network].value = 0.0
        enclosing = _enclosing(network)
        if any(self._lockouts.get(candidate, 0.0) > now for candidate in enclosing):
            return ""
        while self._lockouts and next(iter(self._lockouts.values())) <= now:
            self._lockouts.popitem(last=False)  # all are equally long: the first ends first
        tables = len(self._lockouts) // MAX_LOCKOUTS
        chosen = [network, *enclosing[-2:]][min(tables, 2)]
        self._lockouts[chosen] = now + self._policy.seconds
        self._lockouts.move_to_end(chosen)
        return chosen


def _scored(address: str) -> tuple[str, ...]:
    """Return the networks that have a score: the client, and for IPv6 its site."""
    network = _network(address)
    if network is None:
        return (address[:MAX_ADDRESS_CHARACTERS],)
    if network.version == 4:
        return (str(network.network_address),)
    return _widen(network, CLIENT_PREFIX), _widen(network, SITE_PREFIX)


def _enclosing(address: str) -> tuple[str, ...]:
    """Return every network under which an address or network may be locked out, the widest last."""
    network = _network(address)
    if network is None:
        return (address[:MAX_ADDRESS_CHARACTERS], NO_ADDRESS, NO_ADDRESS)
    wider = (_widen(network, prefix) for prefix in WIDER[network.version])
    return (*_scored(address), *wider)


def _network(address: str) -> Network | None:
    try:
        return ip_network(canonical(address), strict=False)
    except ValueError:
        return None


def _widen(network: Network, prefix: int) -> str:
    """Return the enclosing network of that prefix length, or the network itself if it is wider."""
    return str(network if network.prefixlen <= prefix else network.supernet(new_prefix=prefix))
