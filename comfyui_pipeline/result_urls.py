"""The addresses of results at the file server: as they are written, and as they are known again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote

from input_server.light_dataclasses import dataclass, field

DAY = 24 * 3600
PAGES: Mapping[str, str] = MappingProxyType(
    {
        "server": "/comfyui_server/{key}gallery/{alias}/",
        "host": "/{key}files/comfyui/gallery/{alias}/",
    }
)
"""The same of the page that shows all files of a mount (input_server/urls.py)."""
STYLES: Mapping[str, str] = MappingProxyType(
    {
        "server": "/comfyui_server/{key}files/{alias}/",
        "host": "/{key}files/comfyui/{alias}/",
    }
)
"""How a mount's addresses begin: on the file server's own port or VCPDistributedServer's, and as
VCPToolBox's gate lets them pass (its server.js)."""


@dataclass(frozen=True, slots=True)
class ResultLinks:
    """How addresses are made. ``base``: scheme, host and port; ``style``: one of ``STYLES``.

    ``signed``: with a signature that ends after ``seconds`` in the place of the key; ``quality``: of
    the pictures that are shown ("" leaves them as they are). No address without a key to make it.
    """

    base: str
    style: str
    access_key: str = field(repr=False)
    signing_key: str = field(repr=False)
    signed: bool = False
    seconds: float = 30 * DAY
    quality: str = ""

    def url(self, alias: str, relative: str, modified: float, *, picture: bool) -> str | None:
        """The address of one file of a mount.

        ``modified`` (seconds) goes in as ``t``, so that a newer file is not taken for an older one.
        """
        if not (self.signing_key if self.signed else self.access_key):
            return None
        query = {"t": str(int(modified))}
        if picture and self.quality:
            query["quality"] = self.quality
        if self.signed:
            query |= self._signature(alias, relative)
        told = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{self._begin(alias, self.style)}{quote(relative, safe='/')}?{told}"

    def gallery(self, alias: str) -> str | None:
        """The address of the page that shows a mount, newest files first; None without a key."""
        if not (self.signing_key if self.signed else self.access_key):
            return None
        begin = self._begin(alias, self.style, pages=PAGES)
        if not self.signed:
            return begin
        signature = self._signature(alias, "", "gallery")
        return f"{begin}?" + "&".join(f"{name}={value}" for name, value in signature.items())

    def own_prefixes(self, alias: str) -> list[tuple[str, Callable[[tuple[str, ...], str], bool]]]:
        """How an own address of this mount begins, in every style, and a test of the rest of it:
        the decoded names, the query as it stands.
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
        if signed:  # a host's gate wants something where the key stands
            key = "pw=signed/" if style == "host" else ""
        return self.base + pages[style].format(key=key, alias=quote(alias, safe=""))

    def _signature(self, alias: str, relative: str, what: str = "files") -> dict[str, Any]:
        """Rounded up to a day, so that a file keeps its address for as long."""
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


def is_servable(relative: str) -> bool:
    """Whether the file server serves a file of this path below a mount: its rule, not another."""
    from input_server.mounts import resolve

    return resolve.has_servable_names(relative.split("/"))


def url_for_file(
    links: ResultLinks, alias: str, relative: str, file: Path, kind: str
) -> str | None:
    """The address of a file that lies here; None where its name is never served, or without a key."""
    if not is_servable(relative):
        return None
    return links.url(alias, relative, file.stat().st_mtime, picture=kind == "image")
