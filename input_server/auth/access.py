"""Who may: keys in the address or in a header, signatures, networks."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from ..errors import ConfigError
from ..paths import expand_path
from ..urls import PREFIX, SIGNED, Route
from . import signing
from .lockout import DenyList, LockoutTracker, Network, canonical, is_in, networks

PW = re.compile("(?:p|%70|%50)(?:w|%77|%57)(?:=|%3d)", re.IGNORECASE)
"""How the part of an address with a key begins, whatever of it is escaped."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``mounts``: those it opens, None for all; ``networks``: where it must come from.

    ``signature``: a second secret; an address must be signed with it too. Keys are in no repr.
    """

    name: str
    key: str = field(repr=False)
    mounts: frozenset[str] | None = None
    networks: tuple[Network, ...] = ()
    signature: str = field(repr=False, default="")

    def opens(self, route: Route) -> bool:
        """Whether it is good for the mount; figures are for keys of all mounts."""
        return self.mounts is None or (route.resource != "metrics" and route.alias in self.mounts)


@dataclass(frozen=True, slots=True)
class Grant:
    """Somebody who may. ``key``: the name of the key, "" where a signature was enough.

    ``expires``: when a signed address ends, for the addresses that its page hands on. Those are
    signed with ``signing_key``, where the key asks for a signature of its own.
    """

    key: str
    expires: int | None = None
    signing_key: str = field(repr=False, default="")

    @property
    def holder(self) -> str:
        """What several requests with the same key, or with addresses of the same page, have in common."""
        return f"key {self.key}" if self.key else f"link {self.expires}"


class Denied(Exception):
    """``status``, words, what it is counted under, and the seconds that the answer should wait."""

    def __init__(
        self, status: int, text: str, why: str, delay: float = 0.0, retry_after: int | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.reason = why
        self.delay = delay
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: the address that counts, and the request's headers in lower case."""

    address: str
    headers: Mapping[str, str] = field(repr=False)


class Access:
    """Decides on every request. ``signing_key`` is what addresses are signed with."""

    def __init__(
        self, keys: Sequence[Key], signing_key: str, guard: LockoutTracker, deny: DenyList
    ) -> None:
        self._keys = tuple((key, _bytes(key.key)) for key in keys)
        self._signing_key = signing_key
        self.guard = guard
        self._deny = deny

    def admit(self, route: Route, query: Mapping[str, str], asker: Client) -> Grant:
        """Raises Denied.

        A signed address that is good opens its file for a client that is locked out, too: it cannot be
        guessed. A key does not, or whoever guesses would see which one was right. For the same reason a
        right key without its second factor counts like a wrong one. A wrong signature does not count.
        """
        if self._deny.holds(asker.address):
            raise Denied(403, "Forbidden.", "denied")
        grant = self._by_signature(route, query)
        if grant is not None:
            return grant
        locked = self.guard.locked_out_for(asker.address)
        if locked > 0:
            raise Denied(429, "Too many wrong keys.", "shut out", retry_after=int(locked) + 1)
        given = self._given_key(route, query, asker)
        if given is None:
            why = "wrong signature" if "sig" in query else "no key"
            raise Denied(401, "Unauthorized.", why)
        grant = self._by_key(given, route, query, asker)
        if grant is None:
            delay = self.guard.record_failure(asker.address, given)
            raise Denied(401, "Unauthorized.", "wrong key", delay)
        return grant

    def _given_key(self, route: Route, query: Mapping[str, str], asker: Client) -> str | None:
        """The key that a request brings; None where it brings none, or a mere signature."""
        if route.key is None:
            return _bearer(asker.headers)
        if not route.key or (route.gate and route.key == SIGNED and "sig" in query):
            return None
        return route.key

    def _by_signature(self, route: Route, query: Mapping[str, str]) -> Grant | None:
        unkeyed = route.key is None or (route.gate and route.key == SIGNED)
        if not unkeyed or not self._signing_key or "sig" not in query:
            return None
        if _is_signed(self._signing_key, route, query):
            return Grant("", int(query["exp"]))
        return None

    def _by_key(
        self, given: str, route: Route, query: Mapping[str, str], asker: Client
    ) -> Grant | None:
        """Every key is compared, so that the time taken tells nothing of which one was near."""
        raw = _bytes(given)
        fitting = [key for key, right in self._keys if hmac.compare_digest(raw, right)]
        for key in fitting:
            if self._second_factor(key, route, query, asker):
                if not key.opens(route):
                    raise Denied(404, "Not found.", "no such mount")
                return Grant(key.name, int(query["exp"]) if key.signature else None, key.signature)
        return None

    def _second_factor(
        self, key: Key, route: Route, query: Mapping[str, str], asker: Client
    ) -> bool:
        if key.networks and not is_in(asker.address, key.networks):
            return False
        if not key.signature:
            return True
        return _is_signed(key.signature, route, query)


def _is_signed(key: str, route: Route, query: Mapping[str, str]) -> bool:
    """Whether an address bears a good signature. Raises Denied for one that was good once."""
    names = () if route.resource == "gallery" else route.names
    worth = signing.check_signature(key, route.resource, route.alias, names, query, time.time())
    if worth == "ended":
        raise Denied(401, "This address has ended.", "ended")
    return worth == "good"


def _bytes(text: str) -> bytes:
    """Keys are compared as bytes: strings with other letters than ASCII cannot be."""
    return text.encode("utf-8", "replace")


def _bearer(headers: Mapping[str, str]) -> str | None:
    """The key of ``Authorization: Bearer`` (RFC 6750, 2.1)."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def client_address(peer: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> str:
    """Whose request it is: the peer's, or, behind proxies that are trusted, whom the first of them
    saw. Read from the right, since what stands further left was written by strangers.
    """
    peer = canonical(peer)
    if not trusted or not is_in(peer, trusted):
        return peer
    for hop in reversed(
        [canonical(_bare(h)) for h in headers.get("x-forwarded-for", "").split(",")]
    ):
        if not hop:
            continue
        if not is_in(hop, trusted):
            return hop
        peer = hop
    return peer


def _bare(hop: str) -> str:
    """An address without the port and the brackets that some proxies write."""
    bracketed = re.fullmatch(r"\s*\[([^]]*)\](:\d+)?\s*", hop)
    ported = re.fullmatch(r"\s*([\d.]+):\d+\s*", hop)
    found = bracketed or ported
    return found[1] if found else hop.strip()


def redact_target(target: str) -> str:
    """A target for a log: keys and signatures are blotted out, what is no ASCII is escaped."""
    plain = target.encode("ascii", "backslashreplace").decode()
    path, mark, query = plain.partition("?")
    parts = path.split("/")
    for at, part in enumerate(parts):
        below = at == 2 and parts[1] == PREFIX and part not in ("files", "gallery", "metrics")
        if below or PW.match(part):
            parts[at] = "pw=…"
    pairs = [pair.partition("=") for pair in query.split("&")]
    told = [name + is_ + ("…" if _is_secret(name) else value) for name, is_, value in pairs]
    return "/".join(parts) + mark + "&".join(told)


def _is_secret(name: str) -> bool:
    return unquote_plus(name).lower() in ("sig", "pw", "key")


def parse_keys(text: str, base: Path) -> tuple[Key, ...]:
    """``COMFYUI_KEYS``: a JSON list, or the path of a file that holds one. Raises ConfigError."""
    if not text:
        return ()
    try:
        if not text.lstrip().startswith("["):
            text = expand_path(text, base, "COMFYUI_KEYS").read_text("utf-8-sig")
        entries = json.loads(text)
    except (OSError, ValueError):
        entries = None
    if not isinstance(entries, list):
        raise ConfigError(
            "COMFYUI_KEYS is no JSON list and no file that holds one (its value is not shown). It has "
            'to be [{"name": "alice", "key": "…", "mounts": ["output"], "networks": ["10.0.0.0/8"], '
            '"signature": "…"}], of which only name and key are needed.'
        )
    keys = tuple(_key(entry) for entry in entries)
    names = [key.name for key in keys]
    if len(set(names)) != len(names):
        raise ConfigError("COMFYUI_KEYS uses a name twice. Give each key its own.")
    return keys


def _key(entry: Any) -> Key:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError('COMFYUI_KEYS: every entry needs a "name" and a "key".')
    name, key = entry["name"], entry.get("key")
    unknown = entry.keys() - {"name", "key", "mounts", "networks", "signature"}
    if (
        not isinstance(key, str)
        or len(key) < 8
        or unknown
        or not re.fullmatch(r"[\w.-]{1,64}", name)
    ):
        raise ConfigError(
            f"COMFYUI_KEYS: the entry {name[:64]!r} needs a key of 8 characters or more, a name of "
            "letters and digits, and nothing but mounts, networks and signature beside them."
        )
    mounts, nets = _texts(entry, "mounts"), _texts(entry, "networks")
    second = entry.get("signature") or ""
    if not isinstance(second, str):
        raise ConfigError(
            f"COMFYUI_KEYS: the signature of {name} has to be a text, a second secret."
        )
    return Key(
        name,
        key,
        None if mounts is None else frozenset(mounts),
        networks(";".join(nets or ()), f"COMFYUI_KEYS, the networks of {name},"),
        second,
    )


def _texts(entry: Mapping[str, Any], field: str) -> list[str] | None:
    """A list of texts; None where there is none. Raises ConfigError for anything else."""
    value = entry.get(field)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ConfigError(
            f'COMFYUI_KEYS: {field} of {entry["name"]} has to be a list, like ["output"].'
        )
    return value
