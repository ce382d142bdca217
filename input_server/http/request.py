"""One request, independent of the server that received it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..urls import Route


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """``peer``: address of the other end of the connection. Header names are in lower case."""

    method: str
    route: Route
    query: Mapping[str, str]
    headers: Mapping[str, str]
    peer: str
