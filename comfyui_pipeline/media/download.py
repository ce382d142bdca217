"""Fetch one file from an address that somebody wrote: guarded, bounded, and by its own session.

What it will not do, and why, is in ``guard.py``; limits on size, time and redirects are here.
"""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from input_server.light_dataclasses import dataclass
from input_server.text_values import parse_count

from ..errors import DownloadRefused, MediaError
from .display import public_url
from .download_cache import DownloadCache
from .file_types import is_web_page

if TYPE_CHECKING:
    from urllib3 import HTTPHeaderDict
    from urllib3.response import BaseHTTPResponse

    from .address_guard import ConnectionGuard

CHUNK = 64 * 1024
MAX_URL = 4096
MAX_LENGTH = 2**50
"""Bytes; a longer Content-Length is no length."""
MAX_HEAD = 64 * 1024
"""Bytes of all headers of an answer."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": "comfyui-plugin/0.1",
}


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """What may be fetched. Times in seconds, sizes in bytes."""

    allow: tuple[
        str, ...
    ] = ()  # DOWNLOAD_ALLOW: hosts, host:port or networks beside the public ones
    max_bytes: int = 50 * 2**20
    max_redirects: int = 5
    connect_seconds: float = 5
    read_seconds: float = 10
    total_seconds: float = 60
    cache_dir: Path | None = None  # a folder for unchanged files; None fetches each time


def download(url: str, policy: DownloadPolicy, deadline: float | None = None) -> bytes:
    """The bytes behind ``url``. ``deadline``: ``time.monotonic()`` at which to give up, if earlier.

    Raises DownloadRefused for what the guard does not let through, MediaError when the fetch fails.
    """
    from . import address_guard

    begun = time.monotonic()
    end = begun + policy.total_seconds
    end = end if deadline is None else min(end, deadline)
    visit = address_guard.ConnectionGuard(
        address_guard.parse_allow(policy.allow), end, policy.connect_seconds
    )
    alarm = threading.Timer(max(0.0, end - time.monotonic()), visit.cancel)
    alarm.daemon = True
    alarm.start()
    first = url
    try:
        for _ in range(policy.max_redirects + 1):
            content, target = _visit(url, policy, visit)
            if target is None:
                return content
            url = next_hop(url, target)
    except address_guard.Expired:
        raise _slow(first, end - begun, cut=end < begun + policy.total_seconds) from None
    finally:
        alarm.cancel()
    raise DownloadRefused(
        f"{public_url(first)} was not fetched: it redirects more than {policy.max_redirects} times.",
        "Give the picture's own address.",
    )


def _visit(url: str, policy: DownloadPolicy, visit: ConnectionGuard) -> tuple[bytes, str | None]:
    """One request: the content, or where it redirects to."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    from . import address_guard

    shown = public_url(url)
    host, port, target = _parts(url, shown)
    cache = DownloadCache(policy.cache_dir)
    kept = cache.get(url)
    asked = {**HEADERS, **(kept.conditions if kept else {})}
    wire = address_guard.open_connection(
        visit, urlsplit(url).scheme.lower(), host, port, shown, policy.read_seconds
    )
    try:
        wire.request("GET", target, headers=asked, preload_content=False, decode_content=False)
        answer = wire.getresponse()
        if answer.status in REDIRECTS and answer.headers.get("Location"):
            return b"", answer.headers["Location"]
        if answer.status == 304 and kept is not None:
            if len(kept.content) > policy.max_bytes:
                raise _large(shown, policy)
            return kept.content, None
        if answer.status != 200:
            raise MediaError(
                f"{shown} was not fetched: the server answers {answer.status}.",
                "Check the address; it may have expired or need a login.",
            )
        _check_head(answer.headers, shown, policy)
        content = _body(answer, shown, policy, visit)
    except (HTTPError, HTTPException, OSError) as error:
        visit.remaining(0)
        raise _failed(shown, error, policy) from error
    except UnicodeError:  # of a library that encodes the host once more
        raise _invalid(shown) from None
    else:
        cache.put(url, answer.headers, content)
        return content, None
    finally:
        wire.close()


def _parts(url: str, shown: str) -> tuple[str, int | None, str]:
    """Host, port and request target of an http(s) URL. Raises DownloadRefused for an odd one."""
    if len(url) > MAX_URL or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise DownloadRefused(f"{shown} is not a valid URL.", "Percent-encode spaces in it.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid(shown) from None
    if "@" in parts.netloc:
        raise DownloadRefused(
            f"{shown} was not fetched: it holds a user name or password.", "Leave them out."
        )
    if parts.scheme.lower() not in ("http", "https"):
        raise DownloadRefused(f"{shown} was not fetched.", "Only http and https URLs are.")
    host = _host(parts.hostname or "")
    if host is None or port == 0:
        raise _invalid(shown)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    return host, port, target


def _host(name: str) -> str | None:
    """A host name in ASCII as it can be looked up; None for one that cannot (RFC 1035, 2.3.4).

    Judged by the encoding that ``socket.getaddrinfo`` applies to it, which raises UnicodeError there.
    """
    try:
        name.encode("idna")
        return name.encode("idna").decode("ascii") if not name.isascii() else name or None
    except UnicodeError:
        return None


def _invalid(shown: str) -> DownloadRefused:
    return DownloadRefused(f"{shown} is not a valid URL.", "Check its host and its port.")


def next_hop(url: str, target: str) -> str:
    """Where a redirect leads. Raises DownloadRefused for no URL, and from https to plain http."""
    try:
        if len(target) > MAX_URL:  # reading it takes time with the square of its length
            raise ValueError
        following = urljoin(url, target)
        urlsplit(following)
    except ValueError:
        raise DownloadRefused(
            f"{public_url(url)} was not fetched: it redirects to what is not a valid URL.",
            "Give the picture's own address.",
        ) from None
    if urlsplit(url).scheme.lower() == "https" and urlsplit(following).scheme.lower() == "http":
        raise DownloadRefused(
            f"{public_url(url)} was not fetched: it redirects from https to plain http.",
            "Give the picture's own address.",
        )
    return following


def _check_head(headers: HTTPHeaderDict, shown: str, policy: DownloadPolicy) -> None:
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEAD:
        raise DownloadRefused(
            f"{shown} was not fetched: its server sends too many headers.", "Check the address."
        )
    coding = headers.get("Content-Encoding", "identity").lower()
    if coding not in ("identity", ""):
        raise DownloadRefused(
            f"{shown} was not fetched: its server insists on sending it compressed ({coding}).",
            "Save the picture and give it as a file or a data: URI.",
        )
    if (length_of(headers) or 0) > policy.max_bytes:
        raise _large(shown, policy)


def length_of(headers: HTTPHeaderDict) -> int | None:
    """Bytes that an answer promises; None when it promises none, or nothing that is a length."""
    return parse_count(headers.get("Content-Length", "").strip(), at_most=MAX_LENGTH)


def _body(
    answer: BaseHTTPResponse, shown: str, policy: DownloadPolicy, visit: ConnectionGuard
) -> bytes:
    """The body as it comes, at most ``max_bytes``; a slow drip ends at the deadline."""
    content = bytearray()
    while True:
        visit.remaining(0)
        chunk = answer.read1(CHUNK)
        if not chunk:
            break
        content += chunk
        if len(content) > policy.max_bytes:
            raise _large(shown, policy)
    visit.remaining(0)
    if length_of(answer.headers) not in (None, len(content)):
        raise MediaError(f"{shown} broke off before its end.", "Try again.")
    if is_web_page(bytes(content[:4096])):
        raise MediaError(
            f"{shown} is a web page, not a picture.", "Give the address of the picture itself."
        )
    return bytes(content)


def _failed(shown: str, error: Exception, policy: DownloadPolicy) -> MediaError:
    import ssl  # 6 ms, and only downloads need it

    from urllib3.exceptions import TimeoutError as Slow

    inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    if isinstance(error, socket.gaierror):
        what, hint = "its host name is not known", "Check the address."
    elif isinstance(error, (TimeoutError, Slow)):
        what = f"its server said nothing for {policy.read_seconds:g} s"
        hint = "Try again, or save the picture and give it as a file."
    elif isinstance(error, ssl.SSLError) or isinstance(inner, ssl.SSLError):
        what, hint = "its certificate is not valid", "Check the address."
    else:
        what, hint = "the connection failed or broke off", "Check the address, or try again."
    return MediaError(f"{shown} was not fetched: {what}.", hint)


def _slow(url: str, seconds: float, *, cut: bool) -> MediaError:
    """``seconds``: how long it had; ``cut``: the call's own limit left it no more."""
    shown = public_url(url)
    if cut:
        return MediaError(
            f"{shown} was not fetched in the {max(0.0, seconds):.1f} s that this call's time limit "
            "left for it.",
            "Save the picture and give it as a file, or raise COMFYUI_TIMEOUT in config.env.",
        )
    return MediaError(
        f"{shown} was not fetched within {seconds:g} s.",
        "Its server is too slow; save the picture and give it as a file.",
    )


def _large(shown: str, policy: DownloadPolicy) -> DownloadRefused:
    return DownloadRefused(
        f"{shown} is larger than {policy.max_bytes / 2**20:g} MB.", "Give a smaller picture."
    )
