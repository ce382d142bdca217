"""``INPUT_SERVER_OFFLOAD``: nginx in front sends large files itself (``X-Accel-Redirect``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ..mounts.open_files import OpenFile
from ..parse_values import parse_count

MAX_CACHED_HEADER = "x-offload-keeps"
"""Request header: up to how many bytes the proxy caches a body. Larger files are offloaded."""
PROXY_CACHE_SECONDS = 5
"""How long the proxy may cache a body (``X-Accel-Expires``)."""
CACHE_ALIAS = "_cache"
"""The alias under which the proxy finds the variant cache."""
PROXY_SETS = ("ETag", "Last-Modified", "Accept-Ranges")
"""Headers that the proxy generates for a file it sends."""


@dataclass(frozen=True, slots=True)
class Offload:
    """``prefix``: where the proxy maps the mounts. ``same_for_all_clients``: whether access depends on
    the key or signature alone, not on the client's address.
    """

    prefix: str
    same_for_all_clients: bool

    def is_for(self, file: OpenFile, headers: Mapping[str, str]) -> bool:
        """Return whether the proxy sends the file itself. Without the header it sends every file."""
        limit = parse_count(headers.get(MAX_CACHED_HEADER, ""), clamp=True)
        return file.size > (-1 if limit is None else limit)

    def redirect_headers(
        self, headers: Mapping[str, str], file: OpenFile, alias: str
    ) -> dict[str, str]:
        """Return the headers of the response that makes the proxy send the file."""
        relative = os.path.relpath(file.path, file.root).replace(os.sep, "/")
        return {
            **{name: value for name, value in headers.items() if name not in PROXY_SETS},
            "X-Accel-Redirect": quote(f"{self.prefix}/{alias}/{relative}"),
            "Content-Length": "0",
        }

    def cache_headers(self, cache_control: str) -> dict[str, str]:
        """Return the header that lets the proxy cache a response to reuse it for the same key."""
        if self.same_for_all_clients and cache_control.startswith("public"):
            return {"X-Accel-Expires": str(PROXY_CACHE_SECONDS)}
        return {}
