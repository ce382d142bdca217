"""URLs of results at the file server: write them, and recognise them in later calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from input_server.light_dataclasses import dataclass, field

DAY = 24 * 3600
CONTAINER_SUFFIXES = (".docker.internal", ".containers.internal")
PAGES: Mapping[str, str] = MappingProxyType(
    {
        "server": "/comfyui_server/{key}gallery/{alias}/",
        "host": "/{key}files/comfyui/gallery/{alias}/",
    }
)
"""The same for the gallery of a mount (input_server/urls.py)."""
STYLES: Mapping[str, str] = MappingProxyType(
    {
        "server": "/comfyui_server/{key}files/{alias}/",
        "host": "/{key}files/comfyui/{alias}/",
    }
)
"""Paths of a mount's files: at the file server's own port or VCPDistributedServer's, and at
VCPToolBox's port, whose server.js authorises them by the leading key."""


@dataclass(frozen=True, slots=True)
class ResultLinks:
    """How URLs are written. ``base``: scheme, host and port; ``style``: one of ``STYLES``.

    ``signed``: with a signature that expires at the end of the day (UTC) in which
    ``seconds`` have passed (FILE_SERVER_URL_HOURS), instead of the key. ``quality``: of
    images ("" for the original files). Without the key that it needs there is no URL.
    """

    base: str
    style: str
    access_key: str = field(repr=False)
    signing_key: str = field(repr=False)
    signed: bool = False
    seconds: float = 0.0
    quality: str = ""

    def url(self, alias: str, relative: str, modified: float, *, is_image: bool) -> str | None:
        """Return the URL of a file of a mount; None without a key.

        ``modified`` (seconds) becomes ``t``, so that browsers do not show a cached older file.
        """
        if not (self.signing_key if self.signed else self.access_key):
            return None
        query = {"t": str(int(modified))}
        if is_image and self.quality:
            query["quality"] = self.quality
        if self.signed:
            query |= self._signature(alias, relative)
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{self._begin(alias, self.style)}{quote(relative, safe='/')}?{parameters}"

    def gallery(self, alias: str) -> str | None:
        """Return the URL of a mount's gallery; None without a key."""
        if not (self.signing_key if self.signed else self.access_key):
            return None
        begin = self._begin(alias, self.style, pages=PAGES)
        if not self.signed:
            return begin
        signature = self._signature(alias, "", "gallery")
        return f"{begin}?" + "&".join(f"{name}={value}" for name, value in signature.items())

    def own_prefixes(self, alias: str) -> list[tuple[str, Callable[[tuple[str, ...], str], bool]]]:
        """Return the prefixes of our own URLs of this mount, in every style, each with a check of the
        rest: of the decoded names and the raw query.
        """
        found: list[tuple[str, Callable[[tuple[str, ...], str], bool]]] = []
        for style in STYLES:
            if self.access_key:
                found.append((self._begin(alias, style, signed=False), lambda names, query: True))
            if self.signing_key:
                found.append((self._begin(alias, style, signed=True), self._checker(alias)))
        return found

    def _begin(
        self,
        alias: str,
        style: str,
        *,
        signed: bool | None = None,
        pages: Mapping[str, str] = STYLES,
    ) -> str:
        signed = self.signed if signed is None else signed
        key = f"pw={quote(self.access_key, safe='')}/"
        if signed:  # VCPToolBox requires something in place of the key
            key = "pw=signed/" if style == "host" else ""
        return self.base + pages[style].format(key=key, alias=quote(alias, safe=""))

    def _signature(self, alias: str, relative: str, what: str = "files") -> dict[str, Any]:
        """Expires at the end of a day (UTC), so that the URL of a file stays the same for a day."""
        from input_server.auth import signing

        expires = int(-(-(time.time() + self.seconds) // DAY) * DAY)
        names = tuple(relative.split("/")) if what == "files" else ()
        signature = signing.signature(self.signing_key, what, alias, names, expires)
        return {"exp": expires, "sig": quote(signature)}

    def _checker(self, alias: str) -> Callable[[tuple[str, ...], str], bool]:
        def opens(names: tuple[str, ...], query: str) -> bool:
            from input_server.auth import signing

            asked = dict(parse_qsl(query))
            worth = signing.check_signature(
                self.signing_key, "files", alias, names, asked, time.time()
            )
            return worth == "valid"

        return opens


def unreachable_host(links_base: str, server_url: str) -> str:
    """The host of the links if only containers know it; "" otherwise.

    That is a name without a dot that the ComfyUI server has as well, or one that a container runtime
    gives to its host.
    """
    host = urlsplit(links_base).hostname or ""
    if host.endswith(CONTAINER_SUFFIXES):
        return host
    is_service = "." not in host and ":" not in host and host != "localhost"
    return host if is_service and host == urlsplit(server_url).hostname else ""


def is_servable(relative: str) -> bool:
    """Whether the file server serves files of this path below a mount, by its own rule."""
    from input_server.mounts import resolve

    return resolve.has_servable_names(relative.split("/"))


def url_for_file(
    links: ResultLinks, alias: str, relative: str, file: Path, kind: str
) -> str | None:
    """Return the URL of a file on this disk; None if such names are not served, or without a key."""
    if not is_servable(relative):
        return None
    return links.url(alias, relative, file.stat().st_mtime, is_image=kind == "image")
