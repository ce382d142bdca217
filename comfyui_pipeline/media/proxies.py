"""The proxy of downloads: DOWNLOAD_PROXY, else that of the environment or the system."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from input_server.light_dataclasses import dataclass, field

from ..errors import SettingsError

DIRECT = "none"
"""The value of DOWNLOAD_PROXY that uses no proxy."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that opens tunnels (RFC 9110, 9.3.6). ``headers`` may hold its password.

    ``trusted``: it refuses private addresses itself, so that it may resolve names for us.
    """

    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)
    trusted: bool = False

    @property
    def shown(self) -> str:
        """How errors name it: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def check_setting(value: str) -> None:
    """Raise SettingsError unless DOWNLOAD_PROXY is ``none`` or the URL of an HTTP proxy."""
    if value.lower() != DIRECT and _parse(value, trusted=False) is None:
        raise SettingsError(
            "DOWNLOAD_PROXY is not the URL of an HTTP proxy.",
            "Write for example http://127.0.0.1:7890; programs with a SOCKS port usually have an "
            f"HTTP port too. {DIRECT} uses no proxy.",
        )


def find_proxy(scheme: str, host: str, setting: str, *, trusted: bool) -> Proxy | None:
    """Return the proxy for a host; None where the connection is made without one.

    ``setting``: DOWNLOAD_PROXY. Without it, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY count, or
    the system's settings on Windows and macOS; proxies there that are no HTTP proxies do not.
    """
    if setting:
        return None if setting.lower() == DIRECT else _parse(setting, trusted)
    from urllib.request import getproxies, proxy_bypass

    found = getproxies()
    url = found.get(scheme) or found.get("all")
    return _parse(url, trusted) if url and not proxy_bypass(host) else None


def _parse(url: str, trusted: bool) -> Proxy | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
        host = host and host.encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        return None
    if parts.scheme.lower() != "http" or not host or parts.path not in ("", "/"):
        return None
    if parts.username is None:
        return Proxy(host, port, {}, trusted)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    basic = b64encode(login.encode()).decode()
    return Proxy(host, port, {"Proxy-Authorization": f"Basic {basic}"}, trusted)
