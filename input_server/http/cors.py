"""Which web pages of other origins may read responses (``INPUT_SERVER_CORS_ORIGINS``).

Browsers show an image in any page, but let only the pages named here read its pixels, for example
after drawing it on a canvas (Fetch standard, CORS protocol). Keys and signatures are required all the
same; cookies play no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..origins import ANY
from .response import SAFE, HttpResponse

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
PREFLIGHT_SECONDS = 600
READABLE = "Content-Disposition, Content-Length, Content-Range, ETag"
"""Response headers that scripts may read; others are always readable."""
SENT = "Authorization, If-Modified-Since, If-None-Match, If-Range, Range"
"""Request headers that scripts may send."""


@dataclass(frozen=True, slots=True)
class Cors:
    """``origins``: the pages that may read responses; none if it is empty."""

    origins: frozenset[str] = frozenset()

    def allowed(self, response: HttpResponse, headers: Mapping[str, str]) -> HttpResponse:
        """Return a response with the headers that let the page of a request read it.

        It says that the headers depend on the page, because caches would give them to another one.
        """
        if not self.origins:
            return response
        origin = self._match(headers)
        added = {ALLOW_ORIGIN: origin, "Access-Control-Expose-Headers": READABLE} if origin else {}
        if ANY not in self.origins:
            before = response.headers.get("Vary")
            added["Vary"] = f"{before}, Origin" if before else "Origin"
        return replace(response, headers={**response.headers, **added})

    def preflight(self, method: str, headers: Mapping[str, str]) -> HttpResponse | None:
        """Return the answer to a browser that asks before it sends a request; None for others.

        Without a key, because browsers send none then; it says nothing about files.
        """
        asks = method == "OPTIONS" and "access-control-request-method" in headers
        if not asks or not self._match(headers):
            return None
        answer = {
            **SAFE,
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": SENT,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            "Cache-Control": "no-store",
        }
        return HttpResponse(204, answer, reason="preflight")

    def _match(self, headers: Mapping[str, str]) -> str:
        """What the page of a request is allowed as; "" if it is not, or the request names none.

        If all are, also without a name: a browser keeps an image of an ordinary tag for its scripts.
        """
        origin = headers.get("origin", "")
        if ANY in self.origins:
            return ANY
        return origin if origin in self.origins else ""
