"""Callers' values as errors and logs show them: shortened, and without secrets."""

from __future__ import annotations

import re
import unicodedata

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
_MAX_CHARACTERS = 160
_TAIL = 29  # characters of the end, which holds a file's extension


_LONG = 4 * _MAX_CHARACTERS


def shown_value(text: str) -> str:
    """A name or path, shortened in the middle. Of a long text only the size: it may be a file's
    content.
    """
    return _shorten(text) if len(text) <= _LONG else f"a value of {kilobytes(len(text))}"


def _shorten(text: str) -> str:
    if len(text) > _LONG:
        text = text[: _LONG // 2] + text[-_LONG // 2 :]
    text = "".join("�" if unicodedata.category(c) in ("Cc", "Cs", "Cf") else c for c in text)
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[: _MAX_CHARACTERS - _TAIL - 1]}…{text[-_TAIL:]}"


def public_url(url: str) -> str:
    """A URL without user name, password, query, fragment and the file server's access key."""
    scheme, _, rest = url.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.replace("\\", "/").partition("/")
    path = re.sub(r"(?i)\bpw(?:=|%3d)[^/]*", "pw=…", path)
    return _shorten(f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{path}")


def kilobytes(size: int) -> str:
    """A number of bytes for a reader."""
    return f"{size / 1024:.0f} KB" if size >= 1024 else f"{size} bytes"
