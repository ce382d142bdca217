"""URLs of files in the folders of the configured ComfyUI server, as its own web page shows them."""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qsl, urlsplit

from input_server.light_dataclasses import dataclass

from .redact import CONTROL_CHARACTERS

FOLDERS = ("input", "output", "temp")
"""ComfyUI's ``type`` of a file (server.py ``view_image``)."""
ROUTES = ("/view", "/api/view")
MAX_URL_CHARACTERS = 16_384
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the configured server is: its URL's parts, without login and query."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def file_of(self, url: str) -> str | None:
        """The file of a ``/view`` URL of this server, ``sub/name.png [output]``; None for another URL.

        A URL with a login, with another host, port or path is none of this server.
        """
        if len(url) > MAX_URL_CHARACTERS or "\\" in url or CONTROL_CHARACTERS.search(url):
            return None
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            return None
        if "@" in parts.netloc or (parts.scheme, port) != (self.scheme, self.port):
            return None
        if not same_host(parts.hostname or "", self.host):
            return None
        if parts.path not in [f"{self.path}{route}" for route in ROUTES]:
            return None
        return _file_in(parts.query)


def same_host(one: str, other: str) -> bool:
    """Whether two hosts of URLs are the same: by name, or both this machine."""
    one, other = one.lower().strip("[]").rstrip("."), other.lower().strip("[]").rstrip(".")
    return bool(one) and (one == other or (is_loopback(one) and is_loopback(other)))


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _file_in(query: str) -> str | None:
    try:
        asked = dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50))
    except ValueError:
        return None
    name, kind = asked.get("filename", ""), asked.get("type", "output")
    folder = asked.get("subfolder", "").strip("/")
    path = f"{folder}/{name}" if folder else name
    return f"{path} [{kind}]" if name and kind in FOLDERS else None
