"""Files encoded in texts: find ``data:`` URIs and base64, decode them, or replace them by a note.

All functions take time in proportion to their input. Runs on older Pythons than the rest (see
``stdio``).
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIN_BASE64 = 512
"""Consecutive characters of base64's alphabet that count as an encoded file."""
MIN_URI = 100
"""Characters behind the comma of a ``data:`` URI without base64 that count as a file."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\\]+={0,2}")  # a backslash: JSON inside JSON writes \/
_BASE64_LINES = re.compile(
    r"^(?:[ \t>]{0,8}[A-Za-z0-9+/_\-]{60,90}[ \t]{0,4}\r?\n){4,}[ \t>]{0,8}[A-Za-z0-9+/_\-]*={0,2}",
    re.MULTILINE,
)
"""Base64 in lines (RFC 2045, 6.8)."""
_URI = re.compile(
    r"(?<!\w)data:[\w.+\-/\\]{0,100}(?:;[\w.+\-]{1,40}(?:=[\w.+\-\"]{0,80})?){0,6},", re.IGNORECASE
)
"""RFC 2397."""
_URI_END = re.compile(r"""[\s"'<>)\]}|]""")


def encoded_parts(text: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each encoded file in ``text``, in order and without overlaps."""
    at = 0
    for begin, end in sorted([*_uris(text), *_base64(text)]):
        if begin >= at:
            yield begin, end
            at = end


def decoded(part: str) -> bytes | None:
    """Return the bytes of a ``data:`` URI or base64 text; None if it is not valid base64."""
    head, comma, body = part.partition(",") if part[:5].lower() == "data:" else ("", "", part)
    if comma and ";base64" not in head.lower():
        return None
    letters = re.sub(r"[\s>\\=]+", "", body).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError:
        return None


def without_encoded_files(text: str, note: Callable[[str], str] | None = None) -> str:
    """Return the text with ``note(part)`` for each encoded file; by default its type and size."""
    if len(text) < 64:
        return text
    pieces, at = [], 0
    for begin, end in encoded_parts(text):
        part = text[begin:end]
        pieces += [text[at:begin], note(part) if note else _note(part)]
        at = end
    return "".join([*pieces, text[at:]]) if pieces else text


def _note(part: str) -> str:
    kind = "data: URI" if part[:5].lower() == "data:" else "base64"
    return f"({kind} of {max(1, len(part) // 1024)} KB left out)"


def _uris(text: str) -> Iterator[tuple[int, int]]:
    for match in _URI.finditer(text):
        body = match.end()
        if ";base64" in match.group().lower():
            yield match.start(), _end_of_base64(text, body)
        elif "/" in match.group():
            found = _URI_END.search(text, body)
            end = found.start() if found else len(text)
            if end - body >= MIN_URI:
                yield match.start(), end


def _base64(text: str) -> Iterator[tuple[int, int]]:
    for match in _BASE64.finditer(text):
        begin, end = match.span()
        is_long = end - begin >= MIN_BASE64 and not _is_uniform(match.group())
        if is_long and not _is_in_url(text, begin):
            yield begin, _end_of_base64(text, begin)
    for match in _BASE64_LINES.finditer(text):
        yield match.span()


def _end_of_base64(text: str, begin: int) -> int:
    """Return the end of base64 that begins here, including the lines that follow."""
    run = _BASE64.match(text, begin)
    end = run.end() if run else begin
    following = end + (2 if text.startswith("\r\n", end) else 1)
    if text[end : end + 1] in ("\r", "\n") and (lines := _BASE64_LINES.match(text, following)):
        return lines.end()
    return end


def _is_in_url(text: str, at: int) -> bool:
    """Whether a position is in the path of a URL."""
    words = text[max(0, at - 300) : at].split()
    return (
        bool(words) and not text[at - 1].isspace() and "://" in words[-1] and "?" not in words[-1]
    )


def _is_uniform(run: str) -> bool:
    """Whether a run is a line of dashes or a repeated letter rather than a file."""
    return len(set(run)) < 8
