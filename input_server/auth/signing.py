"""Addresses that need no key and end: ``?exp=<seconds>&sig=<signature>``.

HMAC-SHA256 by itsdangerous over what is shown, the mount, the path and the end. Whoever knows a
signing key can make them; the pipeline does, so that no key stands in a chat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from itsdangerous import Signer

SALT = b"comfyui input server, signed address"
MAX_LIFETIME = 366 * 24 * 3600
"""Seconds; an address that would live longer is not believed."""


def signature(key: str, what: str, alias: str, names: Sequence[str], expires: int) -> str:
    """The signature of one address. ``expires``: seconds since 1970."""
    return _signer(key).get_signature(_message(what, alias, names, expires)).decode()


def query(key: str, what: str, alias: str, names: Sequence[str], expires: int) -> str:
    """``exp=…&sig=…`` for one address."""
    return f"exp={expires}&sig={quote(signature(key, what, alias, names, expires))}"


Verdict = Literal["good", "ended", "wrong"]


def check_signature(
    key: str, what: str, alias: str, names: Sequence[str], asked: Mapping[str, str], now: float
) -> Verdict:
    """What the signature in a query is worth. One that has ended was right once. Never raises."""
    end = asked.get("exp", "")
    if not (end.isascii() and end.isdigit() and len(end) < 12):
        return "wrong"
    expires = int(end)
    given = asked.get("sig", "").encode("utf-8", "replace")
    right = _signer(key).verify_signature(_message(what, alias, names, expires), given)
    if not right or expires > now + MAX_LIFETIME:
        return "wrong"
    return "good" if now <= expires else "ended"


def _signer(key: str) -> Signer:
    from itsdangerous import Signer  # here, so that a server without signed addresses starts sooner

    return Signer(key.encode(), salt=SALT, key_derivation="hmac", digest_method=hashlib.sha256)


def _message(what: str, alias: str, names: Sequence[str], expires: int) -> bytes:
    """Every part by its length, so that no two addresses share a message."""
    parts = [what, alias, *names]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return f"{expires}|{text}".encode("utf-8", "replace")
