"""Addresses that guess: they are made to wait, then shut out for a while. And those never let in."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from .mounts import ConfigError

Network = IPv4Network | IPv6Network

REMEMBERED = 10_000
"""Addresses of which something is remembered; the oldest is forgotten first."""
HALF_LIFE = 300.0
"""Seconds after which half of a score is forgotten."""
FADED = 0.5
"""What a score may have lost of its limit meanwhile, so that so many wrong keys are enough."""
BURST = 0.1
"""Seconds; a second failure this soon is a program's, not a person's, and counts twice."""
LOOK_SECONDS = 2.0
LONGEST_DELAY = 2.0


@dataclass(frozen=True, slots=True)
class Policy:
    """``limit``: the score at which an address is shut out, for ``seconds``; 0 shuts nobody out.

    A wrong key scores 1, a path that means harm ``probe``. ``exempt``: networks that are spared,
    since many people may stand behind one of their addresses.
    """

    limit: float = 10.0
    seconds: float = 600.0
    probe: float = 0.25
    exempt: tuple[Network, ...] = ()


@dataclass(slots=True)
class _Score:
    value: float = 0.0
    moment: float = 0.0
    shut_until: float = 0.0


class Guard:
    """The risk of each address, from its failures of late; thread-safe. Times are monotonic seconds."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._scores: OrderedDict[str, _Score] = OrderedDict()

    def shut_for(self, address: str) -> float:
        """Seconds for which an address is still shut out; 0 when it is not."""
        if not self._scores:
            return 0.0
        with self._lock:
            score = self._scores.get(_group(address))
            return max(0.0, score.shut_until - time.monotonic()) if score else 0.0

    def wrong_key(self, address: str) -> float:
        """Note a wrong key; gives the seconds that its answer should wait."""
        return self._add(address, 1.0)

    def probe(self, address: str) -> None:
        """Note a path that no honest client asks for."""
        self._add(address, self._policy.probe)

    def _add(self, address: str, amount: float) -> float:
        if self._policy.limit <= 0 or any(is_in(address, (net,)) for net in self._policy.exempt):
            return 0.0
        now = time.monotonic()
        with self._lock:
            key = _group(address)
            score = self._scores.pop(key, None) or _Score(moment=now - HALF_LIFE)
            since = now - score.moment
            score.value = score.value * 0.5 ** (since / HALF_LIFE)
            score.value += amount * (2 if since < BURST else 1)
            score.moment = now
            self._scores[key] = score
            if score.value > self._policy.limit - FADED:
                score.shut_until, score.value = now + self._policy.seconds, 0.0
            while len(self._scores) > REMEMBERED:
                self._scores.popitem(last=False)
            return min(LONGEST_DELAY, 0.05 * 2**score.value) if score.value >= 1 else 0.0


def networks(text: str, setting: str) -> tuple[Network, ...]:
    """Networks or addresses with ; between. Raises ConfigError naming the setting."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        try:
            found.append(ip_network(entry, strict=False))
        except ValueError:
            raise ConfigError(
                f"{setting} has {entry!r}. It has to be addresses or networks like 192.168.1.0/24, "
                "with ; between."
            ) from None
    return tuple(found)


def is_in(address: str, nets: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; an IPv4 address inside IPv6 counts as IPv4."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found.version == net.version and found in net for net in nets)


def _group(address: str) -> str:
    """What counts as one party: an IPv4 address, or the /64 that one IPv6 line is given."""
    if ":" not in address:
        return address
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


class DenyList:
    """Networks in a file, one a line, ``#`` for a comment; read again when the file has changed.

    What goes wrong later leaves the list as it was, and ``tell`` is told. Raises ConfigError when
    the file cannot be read at first.
    """

    def __init__(self, file: Path | None, tell: Callable[[str], None]) -> None:
        self._file = file
        self._tell = tell
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
