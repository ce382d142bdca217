"""The address of the ComfyUI server: its parts, its login, and whether a plain socket reaches it."""

from __future__ import annotations

import base64
import ipaddress
import os
import sys
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from input_server.light_dataclasses import dataclass, field

PROXY_SETTINGS = ("http_proxy", "all_proxy")  # in lower or upper case, as requests reads them


@dataclass(frozen=True, slots=True)
class Tls:
    """How the certificate of an ``https://`` server is checked: by the CAs in ``ca_file`` (PEM) in place
    of the usual ones, or not at all.
    """

    ca_file: str = ""
    insecure: bool = False


USUAL_TLS = Tls()


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """``COMFYUI_BASE_URL`` taken apart.

    ``base``: without query. ``login``: the value of an ``Authorization`` header. ``query``: what
    every request repeats, such as the ``token=…`` of a login at a rented GPU.
    """

    base: str = field(repr=False)
    scheme: str
    host: str
    port: int
    path: str
    login: str | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)
    tls: Tls = USUAL_TLS

    def with_query(self, target: str) -> str:
        """What follows the base URL in a request: ``target`` and the URL's own query."""
        if not self.query:
            return target
        return f"{target}{'&' if '?' in target else '?'}{self.query}"

    @property
    def shown(self) -> str:
        """The URL without user name, password and query."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host and port as a URL and a ``Host`` header have them (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    def with_port(self, port: int) -> ServerUrl:
        """The root of another port of the same machine, without login."""
        return ServerUrl("", self.scheme, self.host, port, "")

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def parse(base_url: str, tls: Tls = USUAL_TLS) -> ServerUrl:
    """Raises ValueError for a port that is no number."""
    base, _, query = base_url.partition("#")[0].partition("?")
    parts = urlsplit(base.rstrip("/"))
    login = None
    if parts.username:
        login = _basic(unquote(parts.username), unquote(parts.password or ""))
    return ServerUrl(
        base=base.rstrip("/"),
        scheme=parts.scheme,
        host=parts.hostname or "localhost",
        port=parts.port or _default_port(parts.scheme),
        path=parts.path,
        login=login,
        query=query,
        tls=tls,
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_direct(url: ServerUrl, headers: Mapping[str, str]) -> bool:
    """Whether a plain socket does what requests would: no TLS, no proxy, no login from ~/.netrc.

    Loopback addresses never use a proxy or ~/.netrc. Windows and macOS can have a proxy in their
    system settings, which only the libraries know how to read.
    """
    if url.scheme != "http" or not url.host.isascii():
        return False
    if url.is_loopback:
        return True
    if sys.platform in ("win32", "darwin"):
        return False
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXY_SETTINGS):
        return False
    has_login = bool(url.login) or any(name.lower() == "authorization" for name in headers)
    return has_login or not _netrc_exists()


def _netrc_exists() -> bool:
    """The files that requests looks into (requests ``utils.get_netrc_auth``)."""
    named = os.environ.get("NETRC")
    names = [named] if named else ["~/.netrc", "~/_netrc"]
    return any(os.path.exists(os.path.expanduser(name)) for name in names)  # noqa: PTH110, PTH111


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _basic(user: str, password: str) -> str:
    """RFC 7617; Latin-1 where that is possible, as requests does it."""
    text = f"{user}:{password}"
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode()
    return "Basic " + base64.b64encode(raw).decode()
