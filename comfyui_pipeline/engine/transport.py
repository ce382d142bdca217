"""What carries a request to the server and its response back: the interface and its errors.

``socket_http`` speaks HTTP/1.1 on a plain socket; ``requests_http`` uses requests, for TLS, proxies
and ~/.netrc. Importing requests takes ten times as long as starting Python, so it is imported only
where it is needed. The same tests run over both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from input_server.light_dataclasses import dataclass, field

PIECE = 2**18
"""Bytes of a body that are read at once."""
CONNECT_SECONDS = 5.0
NO_TLS = "no TLS"


@dataclass(frozen=True, slots=True)
class Request:
    """``target``: what follows the base URL: path and query, percent-encoded."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


class Response(Protocol):
    """A response whose head was read. The names of ``headers`` ignore case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def read(self, until: float) -> bytes:
        """The next bytes of the body, at most PIECE, still compressed; empty at its end.

        Raises OutOfTime at ``until`` (``time.monotonic()``), and any other exception when the body
        breaks off or is malformed.
        """
        ...

    def close(self) -> None:
        """Free the connection; it is used again when the body was read to its end."""
        ...


class Transport(Protocol):
    """Connections to one server; thread-safe."""

    def open(self, request: Request, until: float) -> Response:
        """Send a request and read the head of its response.

        Raises NotConnected, OutOfTime at ``until`` (``time.monotonic()``), Disconnected or
        InvalidResponse.
        """
        ...

    def close(self) -> None: ...


class NotConnected(Exception):
    """There is no connection, so that nothing was sent.

    ``certificate``: what is wrong with the server's certificate, or "no TLS" if it does not use TLS.
    """

    def __init__(self, *, refused: bool, certificate: str = "") -> None:
        super().__init__("refused" if refused else certificate or "not reachable")
        self.refused = refused
        self.certificate = certificate


class Disconnected(Exception):
    """The connection ended before the response began; the request may have arrived."""


class InvalidResponse(Exception):
    """The bytes that came are not HTTP (RFC 9112)."""


class Headers(Mapping[str, str]):
    """Header fields by name, in any case; the values of a repeated field are joined by commas."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        name = name.lower()
        before = self._values.get(name)
        self._values[name] = value if before is None else f"{before}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
