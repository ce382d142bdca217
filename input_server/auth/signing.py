"""Signed links: URLs that need no key and expire, ``?exp=<seconds>&sig=<signature>``.

The signature is an HMAC-SHA256 (itsdangerous) over the resource, the mount, the path and the expiry.
The pipeline signs the links of results, so that no key appears in a chat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from itsdangerous import Signer

SALT = b"comfyui input server, signed address"  # part of every signature: never change
MAX_LIFETIME = 366 * 24 * 3600
"""Seconds. A link that would be valid for longer is invalid."""
MAX_EXPIRY_DIGITS = 11

SignatureStatus = Literal["valid", "expired", "invalid"]


def signature(key: str, resource: str, alias: str, names: Sequence[str], expires: int) -> str:
    """Return the signature of a URL. ``expires``: seconds since 1970."""
    return _signer(key).get_signature(_message(resource, alias, names, expires)).decode()


def query(key: str, resource: str, alias: str, names: Sequence[str], expires: int) -> str:
    """Return the query ``exp=…&sig=…`` that signs a URL."""
    return f"exp={expires}&sig={quote(signature(key, resource, alias, names, expires))}"


def check_signature(
    key: str, resource: str, alias: str, names: Sequence[str], query: Mapping[str, str], now: float
) -> SignatureStatus:
    """Check the signature in a query. "expired" means that it was valid once. Never raises."""
    end = query.get("exp", "")
    if not (end.isascii() and end.isdigit() and len(end) <= MAX_EXPIRY_DIGITS):
        return "invalid"
    expires = int(end)
    given = query.get("sig", "").encode("utf-8", "replace")
    matches = _signer(key).verify_signature(_message(resource, alias, names, expires), given)
    if not matches or expires > now + MAX_LIFETIME:
        return "invalid"
    return "valid" if now <= expires else "expired"


def _signer(key: str) -> Signer:
    from itsdangerous import Signer  # imported late: most servers start without signed links

    return Signer(key.encode(), salt=SALT, key_derivation="hmac", digest_method=hashlib.sha256)


def _message(resource: str, alias: str, names: Sequence[str], expires: int) -> bytes:
    """Join the parts with their lengths, so that two URLs never have the same message."""
    parts = [resource, alias, *names]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return f"{expires}|{text}".encode("utf-8", "replace")
