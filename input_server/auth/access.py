"""Authentication of requests: key in the URL or in a header, signed link, deny list, lockout."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..urls import SIGNED, Route
from . import signing
from .deny_list import DenyList
from .keys import Key
from .lockout import LockoutTracker
from .networks import in_networks


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request: its address, and the request's headers (names in lower case)."""

    address: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """Proof of successful authentication.

    ``key``: the name of the key, "" for a signed link. ``expires``: when the signed link expires
    (seconds since 1970); links on its page expire then, too. ``signing_key``: signs those links where
    the key has its own signing secret.
    """

    key: str
    expires: int | None = None
    signing_key: str = field(repr=False, default="")

    @property
    def holder(self) -> str:
        """What requests with the same key, or with links of the same page, have in common."""
        return f"key {self.key}" if self.key else f"link {self.expires}"


class Denied(Exception):
    """A refused request.

    ``reason``: its label in the metrics; ``delay``: seconds to wait before the response;
    ``retry_after``: seconds for the ``Retry-After`` header.
    """

    def __init__(
        self,
        status: int,
        text: str,
        reason: str,
        delay: float = 0.0,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.reason = reason
        self.delay = delay
        self.retry_after = retry_after


class Access:
    """Authenticates requests. ``signing_key``: verifies signed links, "" accepts none."""

    def __init__(
        self, keys: Sequence[Key], signing_key: str, lockouts: LockoutTracker, deny: DenyList
    ) -> None:
        self._keys = tuple((key, _bytes(key.key)) for key in keys)
        self._signing_key = signing_key
        self._lockouts = lockouts
        self._deny = deny

    def authenticate(self, route: Route, query: Mapping[str, str], client: Client) -> Grant:
        """Return the grant of a request. Raises Denied.

        A valid signed link works for a client that is locked out, too: signatures cannot be guessed.
        A key does not, otherwise a guesser would learn which one was right. For the same reason a
        correct key without its second factor counts as a wrong key. Invalid signatures do not count.
        """
        if self._deny.contains(client.address):
            raise Denied(403, "Forbidden.", "denied")
        grant = self._by_signature(route, query)
        if grant is not None:
            return grant
        locked = self._lockouts.locked_out_for(client.address)
        if locked > 0:
            raise Denied(429, "Too many wrong keys.", "shut out", retry_after=int(locked) + 1)
        given = self._given_key(route, query, client)
        if given is None:
            reason = "wrong signature" if "sig" in query else "no key"
            raise Denied(401, "Unauthorized.", reason)
        grant = self._by_key(given, route, query, client)
        if grant is None:
            delay = self._lockouts.record_failure(client.address, given)
            raise Denied(401, "Unauthorized.", "wrong key", delay)
        return grant

    def _given_key(self, route: Route, query: Mapping[str, str], client: Client) -> str | None:
        """Return the key of a request, None if it has none or only a signature."""
        if route.key is None:
            return _bearer(client.headers)
        if not route.key or (route.gate and route.key == SIGNED and "sig" in query):
            return None
        return route.key

    def _by_signature(self, route: Route, query: Mapping[str, str]) -> Grant | None:
        without_key = route.key is None or (route.gate and route.key == SIGNED)
        if not without_key or not self._signing_key or "sig" not in query:
            return None
        if _is_signed(self._signing_key, route, query):
            return Grant("", int(query["exp"]))
        return None

    def _by_key(
        self, given: str, route: Route, query: Mapping[str, str], client: Client
    ) -> Grant | None:
        """Compare all keys, so that the time taken does not depend on which one matches."""
        raw = _bytes(given)
        matching = [key for key, secret in self._keys if hmac.compare_digest(raw, secret)]
        for key in matching:
            if self._has_second_factor(key, route, query, client):
                if not key.allows(route):
                    raise Denied(404, "Not found.", "no such mount")
                return Grant(key.name, int(query["exp"]) if key.signature else None, key.signature)
        return None

    def _has_second_factor(
        self, key: Key, route: Route, query: Mapping[str, str], client: Client
    ) -> bool:
        if key.networks and not in_networks(client.address, key.networks):
            return False
        return not key.signature or _is_signed(key.signature, route, query)


def _is_signed(key: str, route: Route, query: Mapping[str, str]) -> bool:
    """Return whether a URL has a valid signature. Raises Denied for an expired one."""
    names = () if route.resource == "gallery" else route.names
    status = signing.check_signature(key, route.resource, route.alias, names, query, time.time())
    if status == "expired":
        raise Denied(401, "Link expired.", "ended")
    return status == "valid"


def _bytes(text: str) -> bytes:
    """Encode a key for hmac.compare_digest, which takes no non-ASCII strings."""
    return text.encode("utf-8", "replace")


def _bearer(headers: Mapping[str, str]) -> str | None:
    """Return the key of ``Authorization: Bearer`` (RFC 6750, 2.1)."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None
