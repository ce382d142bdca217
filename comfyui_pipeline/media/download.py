"""Download one file from a URL of the caller, within limits on size, time and redirects.

Which addresses may be connected to is decided in ``address_guard.py``.
"""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from input_server.light_dataclasses import dataclass, field
from input_server.parse_values import parse_count

from ..errors import DownloadRefused, MediaError
from .download_cache import DownloadCache
from .file_limits import MAX_IMAGE_BYTES
from .file_types import is_web_page
from .redact import public_url

if TYPE_CHECKING:
    from urllib3 import HTTPHeaderDict
    from urllib3.response import BaseHTTPResponse

    from .address_guard import ConnectionGuard
    from .proxies import Proxy

CHUNK = 64 * 1024
MAX_URL = 4096
MAX_LENGTH = 2**50
"""Bytes; a larger Content-Length is ignored."""
MAX_HEADER_BYTES = 64 * 1024
"""Bytes of all headers of a response."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": "comfyui-plugin/0.1",
}


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """What may be downloaded. Times in seconds, sizes in bytes.

    ``allow``: DOWNLOAD_ALLOW, hosts, host:port or networks in addition to public ones. ``proxy``,
    ``proxy_trusted``: DOWNLOAD_PROXY and DOWNLOAD_PROXY_TRUSTED (see ``proxies.find_proxy``).
    ``cache_dir``: folder of the download cache; None disables it.
    """

    allow: tuple[str, ...] = ()
    proxy: str = field(default="", repr=False)
    proxy_trusted: bool = False
    max_bytes: int = MAX_IMAGE_BYTES
    max_redirects: int = 5
    connect_seconds: float = 5
    read_seconds: float = 10
    total_seconds: float = 60
    cache_dir: Path | None = None


def download(url: str, policy: DownloadPolicy, deadline: float | None = None) -> bytes:
    """Return the content of ``url``. ``deadline``: ``time.monotonic()``, if earlier than the policy's.

    Raises DownloadRefused for what the policy forbids, MediaError when the download fails.
    """
    from . import address_guard

    started = time.monotonic()
    end = started + policy.total_seconds
    end = end if deadline is None else min(end, deadline)
    guard = address_guard.ConnectionGuard(
        address_guard.parse_allow(policy.allow), end, policy.connect_seconds
    )
    alarm = threading.Timer(max(0.0, end - time.monotonic()), guard.cancel)
    alarm.daemon = True
    alarm.start()
    first = url
    try:
        for _ in range(policy.max_redirects + 1):
            content, target = _request(url, policy, guard)
            if target is None:
                return content
            url = next_hop(url, target)
    except address_guard.Expired:
        raise _slow(first, end - started, cut=end < started + policy.total_seconds) from None
    finally:
        alarm.cancel()
    raise DownloadRefused(
        f"{public_url(first)} was not downloaded: it redirects more than {policy.max_redirects} times.",
        "Give the URL of the file itself.",
    )


def _request(url: str, policy: DownloadPolicy, guard: ConnectionGuard) -> tuple[bytes, str | None]:
    """Send one request; return the content, or the URL of a redirect."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    from . import address_guard, proxies

    shown = public_url(url)
    host, port, target = _parts(url, shown)
    scheme = urlsplit(url).scheme.lower()
    proxy = proxies.find_proxy(scheme, host, policy.proxy, trusted=policy.proxy_trusted)
    cache = DownloadCache(policy.cache_dir)
    cached = cache.get(url)
    headers = {
        **HEADERS,
        **(cached.request_headers if cached else {}),
        "Host": _host_field(host, port),
    }
    connection = address_guard.open_connection(
        guard, scheme, host, port, shown, policy.read_seconds, proxy
    )
    try:
        connection.request(
            "GET", target, headers=headers, preload_content=False, decode_content=False
        )
        response = connection.getresponse()
        if response.status in REDIRECTS and response.headers.get("Location"):
            return b"", response.headers["Location"]
        if response.status == 304 and cached is not None:
            if len(cached.content) > policy.max_bytes:
                raise _large(shown, policy)
            return cached.content, None
        if response.status != 200:
            raise MediaError(
                f"{shown} was not downloaded: its server returned status {response.status}.",
                "Check the URL; it may have expired or require a login.",
            )
        _check_head(response.headers, shown, policy)
        content = _body(response, shown, policy, guard)
    except (HTTPError, HTTPException, OSError) as error:
        guard.remaining(0)
        raise _failed(shown, error, policy, proxy) from error
    except UnicodeError:  # urllib3 encodes the host again
        raise _invalid(shown) from None
    else:
        cache.put(url, response.headers, content)
        return content, None
    finally:
        connection.close()


def _parts(url: str, shown: str) -> tuple[str, int | None, str]:
    """Host, port and request target of an http(s) URL. Raises DownloadRefused for an invalid one."""
    if len(url) > MAX_URL or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise DownloadRefused(f"{shown} is not a valid URL.", "Percent-encode spaces in it.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid(shown) from None
    if "@" in parts.netloc:
        raise DownloadRefused(
            f"{shown} was not downloaded: it contains a user name or password.", "Remove them."
        )
    if parts.scheme.lower() not in ("http", "https"):
        raise DownloadRefused(
            f"{shown} was not downloaded: it is not an http or https URL.", "Give an http(s) URL."
        )
    host = _host(parts.hostname or "")
    if host is None or port == 0:
        raise _invalid(shown)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    return host, port, target


def _host(name: str) -> str | None:
    """A host name in ASCII; None for one that cannot be looked up (RFC 1035, 2.3.4).

    Checked with the encoding that ``socket.getaddrinfo`` uses, which would raise UnicodeError later.
    """
    try:
        name.encode("idna")
        return name.encode("idna").decode("ascii") if not name.isascii() else name or None
    except UnicodeError:
        return None


def _host_field(host: str, port: int | None) -> str:
    """The ``Host`` field (RFC 9110, 7.2), which a tunnel to an address would change."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def _invalid(shown: str) -> DownloadRefused:
    return DownloadRefused(f"{shown} is not a valid URL.", "Check its host and its port.")


def next_hop(url: str, target: str) -> str:
    """Return the URL of a redirect. Raises DownloadRefused for an invalid one, and for https to http."""
    try:
        if len(target) > MAX_URL:  # urljoin takes quadratic time
            raise ValueError
        following = urljoin(url, target)
        urlsplit(following)
    except ValueError:
        raise DownloadRefused(
            f"{public_url(url)} was not downloaded: it redirects to an invalid URL.",
            "Give the URL of the file itself.",
        ) from None
    if urlsplit(url).scheme.lower() == "https" and urlsplit(following).scheme.lower() == "http":
        raise DownloadRefused(
            f"{public_url(url)} was not downloaded: it redirects from https to plain http.",
            "Give the URL of the file itself.",
        )
    return following


def _check_head(headers: HTTPHeaderDict, shown: str, policy: DownloadPolicy) -> None:
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise DownloadRefused(
            f"{shown} was not downloaded: its server sends too many headers.", "Check the URL."
        )
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", ""):
        raise DownloadRefused(
            f"{shown} was not downloaded: its server sent it compressed ({encoding}).",
            "Download the file yourself and give its path or a data: URI.",
        )
    if (length_of(headers) or 0) > policy.max_bytes:
        raise _large(shown, policy)


def length_of(headers: HTTPHeaderDict) -> int | None:
    """Return the Content-Length in bytes; None when it is absent or invalid."""
    return parse_count(headers.get("Content-Length", "").strip(), at_most=MAX_LENGTH)


def _body(
    response: BaseHTTPResponse, shown: str, policy: DownloadPolicy, guard: ConnectionGuard
) -> bytes:
    """Read the body, at most ``max_bytes``, until the deadline."""
    content = bytearray()
    while True:
        guard.remaining(0)
        chunk = response.read1(CHUNK)
        if not chunk:
            break
        content += chunk
        if len(content) > policy.max_bytes:
            raise _large(shown, policy)
    guard.remaining(0)
    if length_of(response.headers) not in (None, len(content)):
        raise MediaError(f"{shown} was cut off.", "Try again.")
    if is_web_page(bytes(content[:4096])):
        raise MediaError(f"{shown} is a web page, not a file.", "Give the URL of the file itself.")
    return bytes(content)


def _failed(
    shown: str, error: Exception, policy: DownloadPolicy, proxy: Proxy | None
) -> MediaError:
    import ssl  # 6 ms, and only downloads need it

    from urllib3.exceptions import TimeoutError as Slow

    inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    if isinstance(error, socket.gaierror):
        what, hint = "its host name is unknown", "Check the URL."
    elif isinstance(error, (TimeoutError, Slow)):
        what = f"its server sent nothing for {policy.read_seconds:g} s"
        hint = "Try again, or download the file yourself and give its path."
    elif isinstance(error, ssl.SSLError) or isinstance(inner, ssl.SSLError):
        what, hint = "its certificate is invalid", "Check the URL."
    else:
        what, hint = "the connection failed or was closed", "Check the URL, or try again."
    if proxy is not None:
        what += f" (through the proxy {proxy.shown})"
        hint += (
            " Check the proxy, or set DOWNLOAD_PROXY in config.env to another one or none."
            if proxy.trusted
            else " If the proxy refuses private addresses itself, DOWNLOAD_PROXY_TRUSTED=true in "
            "config.env lets it resolve names."
        )
    return MediaError(f"{shown} was not downloaded: {what}.", hint)


def _slow(url: str, seconds: float, *, cut: bool) -> MediaError:
    """``seconds``: the time it had; ``cut``: the call's time limit left no more."""
    shown = public_url(url)
    if cut:
        return MediaError(
            f"{shown} was not downloaded within the {max(0.0, seconds):.1f} s left of this call's time "
            "limit.",
            "Download the file yourself and give its path, or raise COMFYUI_TIMEOUT in config.env.",
        )
    return MediaError(
        f"{shown} was not downloaded within {seconds:g} s.",
        "Its server is too slow; download the file yourself and give its path.",
    )


def _large(shown: str, policy: DownloadPolicy) -> DownloadRefused:
    return DownloadRefused(
        f"{shown} is larger than {policy.max_bytes / 2**20:g} MB.", "Give a smaller file."
    )
