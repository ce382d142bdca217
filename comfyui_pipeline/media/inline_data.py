"""Files inside the call: data: URIs and base64 text, each decoded exactly once."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote, unquote_to_bytes

from ..errors import MediaError
from .file_limits import MAX_IMAGE_BYTES
from .file_types import is_known
from .redact import kilobytes

MAX_BYTES = MAX_IMAGE_BYTES
"""Largest file accepted inside a call, decoded."""
_MIN_BASE64 = 48
"""Characters; shorter base64 text holds no file."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+")


def shown_data_uri(value: str) -> str:
    return f"data: URI of {kilobytes(len(value))}"


def shown_base64(value: str) -> str:
    return f"base64 text of {kilobytes(len(value))}"


def decode_data_uri(value: str) -> bytes:
    """Decode a data: URI (RFC 2397). Base64 may be URL-safe, unpadded, percent-encoded or in lines.

    Raises MediaError for one that is invalid, empty or too large.
    """
    shown = shown_data_uri(value)
    head, comma, body = value.partition(",")
    if not comma:
        raise MediaError(f"The {shown} has no comma.", "It should read data:image/png;base64,…")
    if len(body) > 4 * MAX_BYTES:
        raise _too_large(shown)
    if head.lower().replace(" ", "").endswith(";base64"):
        content = _decode(unquote(body) if "%" in body else body)
        if content is None:
            raise MediaError(f"The {shown} is not valid base64.", "It may have been cut off.")
    else:
        content = unquote_to_bytes(body)
    if len(content) > MAX_BYTES:
        raise _too_large(shown)
    if not content:
        raise MediaError(f"The {shown} is empty.", "Add the content after the comma.")
    return content


def decode_base64_file(value: str) -> bytes | None:
    """Decode base64 text of a file of a known type; None for any other text.

    The first characters are checked before the rest is decoded. Raises MediaError for a file that is
    too large.
    """
    if len(value) < _MIN_BASE64:
        return None
    head = _decode(value[:_MIN_BASE64]) if "\n" not in value[:64] else b""
    if head is None or (head and not is_known(head)) or not _is_base64(value):
        return None
    if len(value) > 2 * MAX_BYTES:
        raise _too_large(shown_base64(value))
    content = _decode(value)
    if content is None or not is_known(content):
        return None
    if len(content) > MAX_BYTES:
        raise _too_large(shown_base64(value))
    return content


def _is_base64(value: str) -> bool:
    """Whether a text is in the alphabet of base64, with white space and at most two ``=``."""
    bare = value.rstrip()
    letters = bare.rstrip("=")
    return len(bare) - len(letters) <= 2 and _BASE64.fullmatch(letters) is not None


def _decode(text: str) -> bytes | None:
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    if len(text) % 4 == 1:
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _too_large(shown: str) -> MediaError:
    return MediaError(
        f"The {shown} is too large.",
        f"At most {MAX_BYTES // 2**20} MB are accepted inline; give a URL or a file instead.",
    )
