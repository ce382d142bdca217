"""An answer, before anybody sends it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..mounts.open_files import OpenFile
from .ranges import ByteRange

SAFE: Mapping[str, str] = MappingProxyType(
    {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
)
"""On every answer: nothing is guessed about a body, and no page tells others the key in its URL."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of the file, with what stands before them."""

    before: bytes
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """``body``, or the ``pieces`` of ``file`` one after the other; neither for a HEAD or a 304.

    ``delay``: seconds to let pass before it is sent. ``why``: what it is counted under.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    file: OpenFile | None = None
    pieces: tuple[Piece, ...] = ()
    delay: float = 0.0
    reason: str = "ok"

    @property
    def is_complete_file(self) -> bool:
        """Whether the body is the file from its first byte to its last."""
        return (
            self.file is not None
            and len(self.pieces) == 1
            and self.pieces[0] == Piece(b"", 0, self.file.size)
        )

    @property
    def length(self) -> int:
        """Bytes of the body that goes out."""
        return len(self.body) + sum(len(p.before) + p.length for p in self.pieces)


def plain(status: int, text: str, reason: str, delay: float = 0.0, **headers: str) -> HttpResponse:
    """A short text instead of a file."""
    body = text.encode()
    head = {
        **SAFE,
        "Cache-Control": "no-store",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, {**head, **named}, body, delay=delay, reason=reason)


def busy(text: str = "You have too many copies waiting to be rendered; ask again.") -> HttpResponse:
    """For a client that asks for too much at once."""
    return plain(503, text, "busy", Retry_After="5")


def several(spans: Sequence[ByteRange], size: int, kind: str) -> tuple[tuple[Piece, ...], str]:
    """The pieces of a body with several parts, and its type (RFC 9110, 14.6)."""
    boundary = secrets.token_hex(16)
    parts = [
        Piece(
            (
                f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n"
                f"Content-Range: bytes {start}-{start + length - 1}/{size}\r\n\r\n"
            ).encode(),
            start,
            length,
        )
        for start, length in spans
    ]
    end = Piece(f"\r\n--{boundary}--\r\n".encode(), 0, 0)
    return (*parts, end), f"multipart/byteranges; boundary={boundary}"
