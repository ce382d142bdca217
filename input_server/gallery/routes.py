"""Routes of the gallery: the page, the list of files, and details of one image.

``…/gallery/<alias>/`` is the page; ``list`` and ``info`` below it return JSON. URLs in the responses
are relative to the page, so they do not contain the access key.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ..auth import signing
from ..auth.access import Grant
from ..content_type import TYPES
from ..http.response import SAFE, HttpResponse, text_response
from ..images.embedded_texts import READERS, WITHOUT_TEXTS
from ..images.formats import HEIF_TYPES, readable_types
from ..images.image_info import ImageInfo, read_image_info
from ..images.memory import MemoryBudget
from ..mounts.disk_usage import Entry
from ..mounts.mount import Mount
from ..mounts.open_files import open_file
from ..mounts.resolve import Missing, Refused, check_names, locate
from ..mounts.table import MountTable
from ..urls import Route
from .listing import (
    CURSOR,
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    FolderListings,
    SearchText,
    SearchTexts,
    media_kind,
    next_page,
    normalized,
    position_after,
    version,
)
from .page import load_page

MAX_SEARCH_CHARS = 200
MAX_SHOWN_CHARS = 20_000
"""Characters of a prompt in ``info``."""
THUMBNAIL = "w=320&h=1280&fmt=webp&q=auto"
"""Query of the variants in the grid. Their tiles are filled, so that a side of 320 counts."""
BROWSER_VIEW = "w=2048&h=2048&fmt=webp&q=auto"
"""Query of the variant shown instead of a file that browsers cannot display."""
UNDISPLAYABLE = {"image/tiff", *HEIF_TYPES}
SEARCHABLE = READERS.keys() - WITHOUT_TEXTS
"""Types of files that may hold a prompt."""


class Gallery:
    """Handles requests below ``…/gallery/<alias>``; thread-safe. ``memory``: budget for long prompts."""

    def __init__(
        self, mounts: MountTable, signing_key: str, memory: MemoryBudget | None = None
    ) -> None:
        self._mounts = mounts
        self._memory = memory
        self._signing_key = signing_key
        self._listings = FolderListings()
        self._texts = SearchTexts()
        page, policy = load_page()
        self._page = _response(page.encode(), "text/html; charset=utf-8", policy)

    def answer(self, route: Route, query: Mapping[str, str], grant: Grant) -> HttpResponse:
        """Return the page, ``list`` or ``info``. Raises Missing and Refused.

        The page is served without its final slash as well, instead of a redirect: it determines its
        own base URL.
        """
        mount = self._mounts.get(route.alias)
        if mount is None:
            raise Missing
        if route.names in ((), ("",)):
            return self._page
        if route.names == ("list",):
            return self._list(mount, query, self._urls(route, grant), grant)
        if route.names == ("info",):
            path = query.get("path", "")
            if not path:
                return text_response(400, "path must be the name of a file.", "wrong query")
            return _json(_info_json(_read_info(mount, path.split("/"), self._memory)))
        raise Missing

    def _urls(self, route: Route, grant: Grant) -> FileUrls:
        parent = "../.." if route.gate else "../../files"
        key = grant.signing_key or self._signing_key
        return FileUrls(f"{parent}/{quote(route.alias)}", route.alias, grant.expires, key)

    def _list(
        self, mount: Mount, query: Mapping[str, str], urls: FileUrls, grant: Grant
    ) -> HttpResponse:
        limit, search, after = (
            query.get("n", str(PAGE_SIZE)),
            query.get("q", ""),
            query.get("after", ""),
        )
        if not (re.fullmatch("[0-9]{1,3}", limit) and 1 <= int(limit) <= MAX_PAGE_SIZE):
            return text_response(400, f"n must be from 1 to {MAX_PAGE_SIZE}.", "wrong query")
        if len(search) > MAX_SEARCH_CHARS:
            return text_response(
                400, f"q must have at most {MAX_SEARCH_CHARS} characters.", "wrong query"
            )
        if after and not CURSOR.fullmatch(after):
            return text_response(400, 'after must be the "next" of a list response.', "wrong query")
        files = self._listings.files(mount.folder)
        words = normalized(search).split()
        partly: list[Entry] = []
        page = next_page(
            files,
            position_after(files, after) if after else 0,
            int(limit),
            (lambda entry: self._matches(mount, entry, words, partly)) if words else None,
        )
        expires_in = None if grant.expires is None else max(0, grant.expires - int(time.time()))
        return _json(
            {
                "items": [_item(entry, urls) for entry in page.entries],
                "next": page.after,
                "partial": page.partial,
                "total": len(files),
                "expires_in": expires_in,
                **({"partly_searched": len(partly)} if partly else {}),
            }
        )

    def _matches(self, mount: Mount, entry: Entry, words: list[str], partly: list[Entry]) -> bool:
        """Whether each word occurs in the path, or in what is embedded in the file.

        Adds a file without a match to ``partly`` if it is not known completely.
        """
        path = normalized(entry.path)
        missing = [word for word in words if word not in path]
        if not missing or TYPES[_suffix(entry.names[-1])] not in SEARCHABLE:
            return not missing
        found = self._texts.of(
            mount.folder, entry, lambda: _search_text(mount, entry, self._memory)
        )
        matches = all(word in found.text for word in missing)
        if not matches and found.is_partial:
            partly.append(entry)
        return matches


@dataclass(frozen=True, slots=True)
class FileUrls:
    """Builds URLs of a mount's files. ``expires``: Unix time for signed links, None if the key of the
    page applies.
    """

    folder: str
    alias: str
    expires: int | None
    signing_key: str = field(repr=False)

    def of(self, entry: Entry, query: str = "") -> str:
        """Return a URL relative to the page; another one once the file has changed."""
        parts = [f"t={version(entry)}", *([query] if query else [])]
        if self.expires is not None:
            key = self.signing_key
            parts.insert(0, signing.query(key, "files", self.alias, entry.names, self.expires))
        path = "/".join(quote(name, safe="") for name in entry.names)
        return f"{self.folder}/{path}?{'&'.join(parts)}"


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def _item(entry: Entry, urls: FileUrls) -> dict[str, Any]:
    """One file of the list; ``mtime`` in seconds since 1970."""
    mime = TYPES[_suffix(entry.names[-1])]
    needs_view = mime in readable_types() and mime in UNDISPLAYABLE
    return {
        "name": entry.path,
        "bytes": entry.size,
        "mtime": entry.mtime_ns / 10**9,
        "kind": media_kind(entry.names[-1]),
        "url": urls.of(entry),
        "thumb": urls.of(entry, THUMBNAIL) if mime in readable_types() else None,
        "view": urls.of(entry, BROWSER_VIEW) if needs_view else None,
    }


def _read_info(mount: Mount, names: list[str], memory: MemoryBudget | None) -> ImageInfo:
    """Read what is embedded in a file. Raises Missing and Refused, as for the file itself."""
    check_names(names)
    path, root = locate(mount.folder, names)
    file = open_file(path, root, names[-1], cached=False)
    try:
        return read_image_info(file, memory)
    finally:
        os.close(file.descriptor)


def _search_text(mount: Mount, entry: Entry, memory: MemoryBudget | None) -> SearchText:
    try:
        info = _read_info(mount, list(entry.names), memory)
    except (Missing, Refused):  # deleted since the folder was listed
        return SearchText("")
    return SearchText(info.search_text, info.is_partial)


def _info_json(info: ImageInfo) -> dict[str, Any]:
    """Seeds as strings, because JavaScript numbers are exact up to 2^53 only."""
    return {
        "width": info.width,
        "height": info.height,
        "positive": info.positive[:MAX_SHOWN_CHARS],
        "negative": info.negative[:MAX_SHOWN_CHARS],
        "seeds": [str(seed) for seed in info.seeds],
        "models": info.models,
        "samplers": info.samplers,
        "schedulers": info.schedulers,
        "steps": info.steps,
        "cfg": info.cfg,
        "workflow": info.has_workflow,
    }


def _json(document: Mapping[str, Any]) -> HttpResponse:
    return _response(json.dumps(document).encode(), "application/json", "default-src 'none'")


def _response(body: bytes, mime: str, policy: str) -> HttpResponse:
    """Not cacheable, because the URL may contain the key."""
    headers = {
        **SAFE,
        "Cache-Control": "no-store",
        "Content-Type": mime,
        "Content-Length": str(len(body)),
        "Content-Security-Policy": policy,
    }
    return HttpResponse(200, headers, body)
