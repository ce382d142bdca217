"""A response before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..mounts.open_files import OpenFile

SAFE: Mapping[str, str] = MappingProxyType(
    {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
)
"""Headers of every response: no type sniffing, and pages never send their URL, which may hold a key."""


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` bytes of the file from ``start``, preceded by the bytes of ``before``."""

    before: bytes
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The body is ``body``, or the ``pieces`` of ``file``; neither for a 304.

    ``delay``: seconds to wait before sending. ``reason``: label of a failure in the metrics.
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
        """Whether the body is the complete file."""
        return (
            self.file is not None
            and len(self.pieces) == 1
            and self.pieces[0] == Piece(b"", 0, self.file.size)
        )

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) + sum(len(p.before) + p.length for p in self.pieces)


def text_response(
    status: int, text: str, reason: str, delay: float = 0.0, **headers: str
) -> HttpResponse:
    """Return a short text. In names of ``headers``, ``_`` means ``-``."""
    body = text.encode()
    fixed = {
        **SAFE,
        "Cache-Control": "no-store",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
    }
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, {**fixed, **given}, body, delay=delay, reason=reason)


def busy_response(
    text: str = "Too many of your images are waiting to be rendered. Try again later.",
) -> HttpResponse:
    """Return the 503 for a client with too many requests at once."""
    return text_response(503, text, "busy", Retry_After="5")
