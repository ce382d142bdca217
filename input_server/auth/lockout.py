"""Lockouts of clients that guess keys, and the networks that are never let in.

Only a *new* wrong key counts: whoever repeats one, as an old chat does with the address it has, learns
nothing by it. A client is an IPv4 address or the /64 of an IPv6 one; the /48 above it has a score too.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from ..errors import ConfigError

Network = IPv4Network | IPv6Network

MAX_TRACKED = 10_000
"""Clients with a score; the one whose last new wrong key is the oldest is forgotten first."""
MAX_LOCKOUTS = 10_000
"""Lockouts of single clients. While so many are active, a further one is put on a wider network of
that client (``WIDER``): an active one never ends before its time, and memory stays bounded."""
WIDER = {4: (16, 8), 6: (32, 16)}
"""The prefixes taken then: the first for as many lockouts again, then the second, of which there are few."""
SITE_PREFIX, SITE_FACTOR = 48, 4
"""The prefix of an IPv6 site, which may own 65,536 clients, and how many times ``limit`` it has."""
MAX_KEYS_PER_CLIENT = 32
"""Wrong keys of one client that are recognised when they come again."""
HALF_LIFE = 300.0
"""Seconds after which half of a score is forgotten."""
FADED = 0.5
"""What a score may have lost of its limit meanwhile, so that so many wrong keys are enough."""
LOOK_SECONDS = 2.0
FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
MAPPED_PREFIX = 96
"""Of IPv4 addresses inside IPv6 (::ffff:0:0/96)."""
NO_ADDRESS = "clients without an address"
LONGEST_ADDRESS = 64
"""Characters kept of what a proxy names as the client where that is no address."""


@dataclass(frozen=True, slots=True)
class LockoutPolicy:
    """``limit``: the different wrong keys after which a client is locked out, for ``seconds``; 0 locks
    nobody out. ``exempt``: networks that are spared, since many people may share an address there.
    """

    limit: float = 10.0
    seconds: float = 600.0
    exempt: tuple[Network, ...] = ()


@dataclass(slots=True)
class _Score:
    """``keys``: salted hashes of the wrong keys that came last."""

    moment: float
    value: float = 0.0
    keys: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_KEYS_PER_CLIENT))

    def at(self, now: float) -> float:
        return float(self.value * 0.5 ** ((now - self.moment) / HALF_LIFE))


class LockoutTracker:
    """The score of each client, from its different wrong keys of late; thread-safe.

    ``log`` is given a line for each lockout; ``clock`` gives monotonic seconds.
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
        self._lockouts: OrderedDict[str, float] = OrderedDict()  # network -> its end

    def locked_out_for(self, address: str) -> float:
        """Seconds for which a client is still locked out; 0 when it is not."""
        if not self._lockouts:
            return 0.0
        with self._lock:
            ends = [self._lockouts.get(network, 0.0) for network in _enclosing(address)]
            return max(0.0, max(ends) - self._clock())

    def record_failure(self, address: str, key: str) -> float:
        """Note a wrong key; gives the seconds that its answer should wait."""
        policy = self._policy
        if policy.limit <= 0 or is_in(address, policy.exempt):
            return 0.0
        now = self._clock()
        digest = blake2b(key.encode("utf-8", "replace"), digest_size=16, key=self._salt).digest()
        locked = []
        with self._lock:
            client, *sites = _scored(address)
            value, is_new = self._add(client, digest, now)
            if value > policy.limit - FADED:
                locked.append(self._lock_out(client, now))
            for site in sites if is_new else ():
                if self._add(site, digest, now)[0] > policy.limit * SITE_FACTOR - FADED:
                    locked.append(self._lock_out(site, now))
        for network in filter(None, locked):
            self._log(
                f"Warning: {network} is locked out for {policy.seconds:g} s after too many different "
                f"wrong keys, the last from {canonical(address)[:LONGEST_ADDRESS]!r}."
            )
        return min(LONGEST_DELAY, FIRST_DELAY * 2**value) if value >= 1 else 0.0

    def _add(self, network: str, digest: bytes, now: float) -> tuple[float, bool]:
        """Add a wrong key to a score, unless it is a repeated one; gives the score, and which it is."""
        score = self._scores.setdefault(network, _Score(now))
        if digest in score.keys:
            return score.at(now), False
        score.keys.append(digest)
        score.value, score.moment = score.at(now) + 1.0, now
        self._scores.move_to_end(network)
        while len(self._scores) > MAX_TRACKED:
            self._scores.popitem(last=False)
        return score.value, True

    def _lock_out(self, network: str, now: float) -> str:
        """Lock a network out, or a wider one where the table is full, and start its score anew. Gives
        what has been locked; "" where it was already.
        """
        if network in self._scores:
            self._scores[network].value = 0.0
        enclosing = _enclosing(network)
        if any(self._lockouts.get(one, 0.0) > now for one in enclosing):
            return ""
        while self._lockouts and next(iter(self._lockouts.values())) <= now:
            self._lockouts.popitem(last=False)  # all last equally long: the first one ends first
        tables = len(self._lockouts) // MAX_LOCKOUTS
        chosen = [network, *enclosing[-2:]][min(tables, 2)]
        self._lockouts[chosen] = now + self._policy.seconds
        self._lockouts.move_to_end(chosen)
        return chosen


def canonical(address: str) -> str:
    """An address as it is compared: without a zone, IPv4 inside IPv6 as IPv4 (RFC 4291, 2.5.5.2)."""
    if ":" not in address:
        return address
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _scored(address: str) -> tuple[str, ...]:
    """The networks that have a score: the client, and for IPv6 its site."""
    network = _network(address)
    if network is None:
        return (address[:LONGEST_ADDRESS],)
    if network.version == 4:
        return (str(network.network_address),)
    return _within(network, 64), _within(network, SITE_PREFIX)


def _enclosing(address: str) -> tuple[str, ...]:
    """Every network by which an address or a network may be locked out, the widest last."""
    network = _network(address)
    if network is None:
        return (address[:LONGEST_ADDRESS], NO_ADDRESS, NO_ADDRESS)
    wider = (_within(network, prefix) for prefix in WIDER[network.version])
    return (*_scored(address), *wider)


def _network(address: str) -> Network | None:
    try:
        return ip_network(canonical(address), strict=False)
    except ValueError:
        return None


def _within(network: Network, prefix: int) -> str:
    """The network of that prefix around another; that itself where it is wider."""
    return str(network if network.prefixlen <= prefix else network.supernet(new_prefix=prefix))


def networks(text: str, setting: str) -> tuple[Network, ...]:
    """Networks or addresses with ; between, IPv4 inside IPv6 as IPv4. Raises ConfigError naming the
    setting.
    """
    found = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        try:
            found.append(_unmapped(ip_network(entry, strict=False)))
        except ValueError:
            raise ConfigError(
                f"{setting} has {entry!r}. It has to be addresses or networks like 192.168.1.0/24, "
                "with ; between."
            ) from None
    return tuple(found)


def _unmapped(network: Network) -> Network:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))


def is_in(address: str, nets: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; an IPv4 address inside IPv6 counts as IPv4."""
    if not nets:
        return False
    try:
        found = ip_address(canonical(address))
    except ValueError:
        return False
    return any(found.version == net.version and found in net for net in nets)


class DenyList:
    """Networks in a file, one a line, ``#`` for a comment; read again when the file has changed.

    What goes wrong later leaves the list as it was, and ``tell`` is told. Raises ConfigError when
    the file cannot be read at first.
    """

    def __init__(self, file: Path | None, log_line: Callable[[str], None]) -> None:
        self._file = file
        self._tell = log_line
        self._looked = time.monotonic()
        self._stamp: int | None = None
        self._networks: tuple[Network, ...] = ()
        self._problem = ""
        if file is not None:
            self._read(file)

    def holds(self, address: str) -> bool:
        """Whether this address is never let in."""
        if self._file is None:
            return False
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look(self._file)
        return bool(self._networks) and is_in(address, self._networks)

    def _look(self, file: Path) -> None:
        problem = ""
        try:
            self._read(file)
        except ConfigError as found:
            problem = f"{found} The networks that were denied before still are."
        if problem and problem != self._problem:
            self._tell(problem)
        self._problem = problem

    def _read(self, file: Path) -> None:
        try:
            stamp = file.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            lines = file.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            why = getattr(problem, "strerror", None) or "it is no UTF-8 text"
            raise ConfigError(f"INPUT_SERVER_DENY_FILE, {file}, cannot be read: {why}.") from None
        bare = (line.partition("#")[0].strip() for line in lines)
        self._networks = networks(";".join(bare), str(file))
        self._stamp = stamp
