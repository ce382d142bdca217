"""The encoding of a call's bytes, which depends on the shell that sends them.

Runs on older Pythons than the rest (see ``stdio``).
"""

from __future__ import annotations

import codecs

_UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def utf16_of(raw: bytes | bytearray) -> str:
    """Return which UTF-16 the bytes are in, as PowerShell's files are; "" for another encoding.

    Without a byte order mark the first character is ASCII (a brace, a quote or a space).
    """
    first = bytes(raw[:2])
    if first in _UTF16_MARKS:
        return _UTF16_MARKS[first]
    if len(first) < 2 or (first[0] == 0) == (first[1] == 0):
        return ""
    return "utf-16-be" if first[0] == 0 else "utf-16-le"


def as_utf8(raw: bytearray) -> bytes | bytearray:
    """The bytes received so far, in UTF-8 if they are UTF-16; a longer ``raw`` only adds to the end."""
    encoding = utf16_of(raw)
    if not encoding:
        return raw
    text = codecs.getincrementaldecoder(encoding)("replace").decode(bytes(raw))
    return text.encode("utf-8", "replace")
