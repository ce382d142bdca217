"""The page to look at a mount, and the answers that it asks for.

``…/gallery/<alias>/`` is the page, ``list`` below it the files and ``info`` what one of them tells.
All addresses in the answers are relative to the page, so that no key is said again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from ..auth import signing
from ..auth.access import Grant
from ..content_type import TYPES
from ..http.response import SAFE, HttpResponse, text_response
from ..images.embedded_texts import READERS as TELLING
from ..images.encode import HEIF_TYPES, readable_types
from ..images.image_info import ImageInfo, read_image_info
from ..images.memory import MemoryBudget
from ..mounts.disk_usage import Entry
from ..mounts.open_files import open_file
from ..mounts.resolve import Missing, Refused, check_names, locate
from ..mounts.table import Mount, MountTable
from ..urls import Route
from .listing import (
    CURSOR,
    FolderListings,
    SearchTexts,
    media_kind,
    next_page,
    normalized,
    position_after,
)

MOST, USUAL = 200, 60
"""Files in one answer."""
LONGEST_SEARCH = 200
THUMBNAIL = "w=320&fmt=webp&q=auto"
BROWSER_VIEW = "w=2048&fmt=webp&q=auto"
"""The copy that is shown where browsers cannot show the file itself."""
UNSHOWN = {"image/tiff", *HEIF_TYPES}
POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; "
    "style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Only the page's own script runs, and even that cannot make markup out of a text."""


class Gallery:
    """Answers below ``…/gallery/<alias>``; thread-safe. ``memory``: what long prompts may take."""

    def __init__(
        self, mounts: MountTable, signing_key: str, memory: MemoryBudget | None = None
    ) -> None:
        self._mounts = mounts
        self._memory = memory
        self._signing_key = signing_key
        self._newest = FolderListings()
        self._texts = SearchTexts()
        # read as text: the hashes are of what a browser makes of any line ends
        text = Path(__file__).with_name("page.html").read_text("utf-8")
        self._page = _reply(
            text.encode(), "text/html; charset=utf-8", content_security_policy(text)
        )

    def answer(self, route: Route, query: Mapping[str, str], grant: Grant) -> HttpResponse:
        """The page with and without a final slash (it finds its own base: this server never sends
        anybody elsewhere), ``list`` or ``info``. Raises Missing and Refused.
        """
        mount = self._mounts.get(route.alias)
        if mount is None:
            raise Missing
        if route.names in ((), ("",)):
            return self._page
        if route.names == ("list",):
            return self._list(mount, query, self._addresses(route, grant), grant)
        if route.names == ("info",):
            path = query.get("path", "")
            if not path:
                return text_response(400, "path has to be the name of a file.", "wrong query")
            return _json(_told(_info(mount, path.split("/"), self._memory)))
        raise Missing

    def _addresses(self, route: Route, grant: Grant) -> Addresses:
        above = "../.." if route.gate else "../../files"
        key = grant.signing_key or self._signing_key
        return Addresses(f"{above}/{quote(route.alias)}", route.alias, grant.expires, key)

    def _list(
        self, mount: Mount, query: Mapping[str, str], addresses: Addresses, grant: Grant
    ) -> HttpResponse:
        most, search, after = query.get("n", str(USUAL)), query.get("q", ""), query.get("after", "")
        if not (re.fullmatch("[0-9]{1,3}", most) and 1 <= int(most) <= MOST):
            return text_response(400, f"n has to be from 1 to {MOST}.", "wrong query")
        if len(search) > LONGEST_SEARCH:
            return text_response(
                400, f"q has to be {LONGEST_SEARCH} characters at most.", "wrong query"
            )
        if after and not CURSOR.fullmatch(after):
            return text_response(400, "after has to be a next of this list.", "wrong query")
        files = self._newest.files(mount.folder)
        words = normalized(search).split()
        page = next_page(
            files,
            position_after(files, after) if after else 0,
            int(most),
            (lambda entry: self._fits(mount, entry, words)) if words else None,
        )
        left = None if grant.expires is None else max(0, grant.expires - int(time.time()))
        return _json(
            {
                "items": [_item(entry, addresses) for entry in page.entries],
                "next": page.after,
                "partial": page.partial,
                "total": len(files),
                "expires_in": left,
            }
        )

    def _fits(self, mount: Mount, entry: Entry, words: list[str]) -> bool:
        """Whether all words are in the path, or in what a picture tells."""
        path = normalized(entry.path)
        absent = [word for word in words if word not in path]
        if not absent or TYPES[_suffix(entry.names[-1])] not in TELLING:
            return not absent
        text = self._texts.of(mount.folder, entry, lambda: _search_text(mount, entry, self._memory))
        return all(word in text for word in absent)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Makes the addresses of a mount's files. ``expires``: when they end; None needs no signature."""

    folder: str
    alias: str
    expires: int | None
    signing_key: str = field(repr=False)

    def of(self, names: tuple[str, ...], query: str = "") -> str:
        """Relative to the page."""
        parts = [query] if query else []
        if self.expires is not None:
            signed = signing.query(self.signing_key, "files", self.alias, names, self.expires)
            parts.insert(0, signed)
        path = "/".join(quote(name, safe="") for name in names)
        return f"{self.folder}/{path}{'?' if parts else ''}{'&'.join(parts)}"


def content_security_policy(page: str) -> str:
    """The policy under which a page's own style and script work, and nothing else (CSP 3)."""
    allowed = {}
    for tag in ("style", "script"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in found]
        allowed[tag] = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return POLICY.format(**allowed)


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def _item(entry: Entry, addresses: Addresses) -> dict[str, Any]:
    """One file as the page is told of it; ``mtime`` in seconds since 1970."""
    kind = TYPES[_suffix(entry.names[-1])]
    unshown = readable_types().keys() & UNSHOWN
    return {
        "name": entry.path,
        "bytes": entry.size,
        "mtime": entry.mtime_ns / 10**9,
        "kind": media_kind(entry.names[-1]),
        "url": addresses.of(entry.names),
        "thumb": addresses.of(entry.names, THUMBNAIL) if kind in readable_types() else None,
        "view": addresses.of(entry.names, BROWSER_VIEW) if kind in unshown else None,
    }


def _info(mount: Mount, names: list[str], memory: MemoryBudget | None) -> ImageInfo:
    """What a file tells. Raises Missing and Refused, as for the file itself."""
    check_names(names)
    path, root = locate(mount.folder, names)
    file = open_file(path, root, names[-1], cached=False)
    try:
        return read_image_info(file, memory)
    finally:
        os.close(file.descriptor)


def _search_text(mount: Mount, entry: Entry, memory: MemoryBudget | None) -> str:
    try:
        return _info(mount, list(entry.names), memory).search_text
    except (Missing, Refused):  # it has gone since the walk
        return ""


def _told(info: ImageInfo) -> dict[str, Any]:
    """An ImageInfo as JSON; seeds as texts, since JavaScript's numbers end at 2^53."""
    return {
        "width": info.width,
        "height": info.height,
        "positive": info.positive,
        "negative": info.negative,
        "seeds": [str(seed) for seed in info.seeds],
        "models": info.models,
        "samplers": info.samplers,
        "schedulers": info.schedulers,
        "steps": info.steps,
        "cfg": info.cfg,
        "workflow": info.has_workflow,
    }


def _json(document: Mapping[str, Any]) -> HttpResponse:
    return _reply(json.dumps(document).encode(), "application/json", "default-src 'none'")


def _reply(body: bytes, kind: str, policy: str) -> HttpResponse:
    """Kept nowhere: the key may be in the address."""
    headers = {
        **SAFE,
        "Cache-Control": "no-store",
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Content-Security-Policy": policy,
    }
    return HttpResponse(200, headers, body)
