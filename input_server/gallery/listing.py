"""List the displayable files of a mount, newest first, in pages, and search them."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import unicodedata
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from ..content_type import TYPES
from ..mounts.disk_usage import Entry, walk

PAGE_SIZE, MAX_PAGE_SIZE = 60, 200
"""Files in one response: the default, and the most that a client may request."""
MIN_CACHE_SECONDS = 1.0
"""How long a listing is cached at least; one that took long to create, three times that long."""
MAX_FOLDERS = 8
"""Cached listings."""
SEARCH_SECONDS = 0.5
"""Time limit of one search request; the client continues with the cursor it receives."""
MAX_TEXTS = 20_000
MAX_CHARACTERS = 16_000_000
"""Limits of the search cache: files, and characters in total."""
MAX_TEXT_CHARS = 400_000
"""Characters of a file that are searched. Its prompts are limited as well, but letters can become several
when they are normalized."""
NORMALIZED_AT_ONCE = 2000  # characters
CURSOR = re.compile(r"-?[0-9]{1,20}\.[0-9a-f]{16}")


def version(entry: Entry) -> str:
    """Return a text that changes with the file, so that no cache shows an earlier one of that name."""
    return f"{entry.mtime_ns:x}-{entry.size:x}"


def media_kind(name: str) -> str | None:
    """Return ``image``, ``video``, ``audio``, ``model`` (3D), ``text`` or ``document``; None for files
    that are not listed.
    """
    mime = TYPES.get(PurePath(name).suffix.lower())
    if mime is None:
        return None
    general = mime.partition("/")[0]
    if general == "application":
        return "document" if mime.endswith("pdf") else "text"
    return general


def make_cursor(entry: Entry) -> str:
    """Return a cursor for the position after ``entry``. It stays valid when files are added or deleted."""
    digest = hashlib.blake2b(entry.path.encode(), digest_size=8).hexdigest()
    return f"{entry.mtime_ns}.{digest}"


def position_after(files: Sequence[Entry], cursor: str) -> int:
    """Return the index of the first file after a cursor.

    If the cursor's file was deleted, files with the same modification time are listed again rather
    than skipped.
    """
    mtime_ns = int(cursor.partition(".")[0])
    start = bisect_left(files, -mtime_ns, key=lambda entry: -entry.mtime_ns)
    for at in range(start, len(files)):
        if files[at].mtime_ns != mtime_ns:
            break
        if make_cursor(files[at]) == cursor:
            return at + 1
    return start


class FolderListings:
    """Cached listings of the most recently used folders; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cached: OrderedDict[Path, _CachedListing] = OrderedDict()

    def files(self, folder: Path) -> Sequence[Entry]:
        """Return the files, newest first. One of several concurrent callers walks the folder.

        Raises Missing if the folder is not there, and Exhausted.
        """
        with self._lock:
            cached = self._cached.setdefault(folder, _CachedListing())
            self._cached.move_to_end(folder)
            while len(self._cached) > MAX_FOLDERS:
                self._cached.popitem(last=False)
        with cached.lock:
            started = time.monotonic()
            if started >= cached.valid_until:
                listed = [entry for entry in walk(folder) if _is_listed(entry)]
                cached.files = sorted(listed, key=lambda e: (e.mtime_ns, e.names), reverse=True)
                finished = time.monotonic()
                cached.valid_until = finished + max(MIN_CACHE_SECONDS, 3 * (finished - started))
            return cached.files


@dataclass(slots=True)
class _CachedListing:
    lock: threading.Lock = field(default_factory=threading.Lock)
    valid_until: float = 0.0
    files: Sequence[Entry] = ()


def _is_listed(entry: Entry) -> bool:
    """Whether a file is of a displayable kind and its name can be encoded in a URL."""
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        return False
    return media_kind(entry.names[-1]) is not None


def normalized(text: str) -> str:
    """Return a text for comparison in searches: case and full-width letters do not matter.

    It is normalized in pieces, because a run of combining marks takes quadratic time.
    """
    step = NORMALIZED_AT_ONCE
    pieces = (text[at : at + step] for at in range(0, len(text), step))
    return "".join(unicodedata.normalize("NFKC", piece) for piece in pieces).casefold()


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing. ``after``: cursor of the next page, None at the end. ``partial``: the time
    limit of a search was reached.
    """

    entries: Sequence[Entry]
    after: str | None
    partial: bool


def next_page(
    files: Sequence[Entry], start: int, limit: int, matches: Callable[[Entry], bool] | None
) -> Page:
    """Return up to ``limit`` matching files from index ``start`` on.

    Stops at the time limit, but checks at least one file, so that a search always advances.
    """
    deadline = time.monotonic() + SEARCH_SECONDS
    found: list[Entry] = []
    at, partial = start, False
    while at < len(files) and len(found) < limit and not partial:
        if matches is None or matches(files[at]):
            found.append(files[at])
        at += 1
        partial = matches is not None and time.monotonic() > deadline
    has_more = at < len(files)
    return Page(found, make_cursor(files[at - 1]) if has_more else None, partial and has_more)


class SearchText(NamedTuple):
    """The searchable text of a file. ``is_partial``: there is more that is not known."""

    text: str
    is_partial: bool = False


class SearchTexts:
    """Cache of the searchable texts of the most recently searched files; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: OrderedDict[tuple[object, ...], SearchText] = OrderedDict()
        self._characters = 0

    def of(self, folder: Path, entry: Entry, read: Callable[[], SearchText]) -> SearchText:
        """Return the normalized text of a file; calls ``read`` if this version is not cached."""
        key = (folder, entry.names, entry.mtime_ns, entry.size)
        with self._lock:
            if key in self._texts:
                self._texts.move_to_end(key)
                return self._texts[key]
        raw = read()
        text = normalized(raw.text)
        is_partial = raw.is_partial or len(text) > MAX_TEXT_CHARS
        found = SearchText(text[:MAX_TEXT_CHARS], is_partial)
        with self._lock:
            replaced = self._texts.pop(key, SearchText(""))
            self._characters += len(found.text) - len(replaced.text)
            self._texts[key] = found
            while len(self._texts) > MAX_TEXTS or self._characters > MAX_CHARACTERS:
                self._characters -= len(self._texts.popitem(last=False)[1].text)
        return found
