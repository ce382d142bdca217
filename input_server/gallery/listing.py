"""The files of a mount that can be looked at, newest first, page by page, and those that fit a search."""

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

from ..content_type import TYPES
from ..mounts.disk_usage import Entry, walk

MIN_CACHE_SECONDS = 1.0
"""How old a walk may be; one that takes long is kept for as long as it took three times."""
MAX_FOLDERS = 8
SEARCH_SECONDS = 0.5
"""How long one request looks for fitting files before it tells what it has."""
MAX_TEXTS = 20_000
MAX_CHARACTERS = 16_000_000
MAX_TEXT_CHARS = 4000
"""What is remembered for searches: files, characters in all and of each."""
PIECE = 2000  # characters
CURSOR = re.compile(r"-?[0-9]{1,20}\.[0-9a-f]{16}")


def media_kind(name: str) -> str | None:
    """``image``, ``video``, ``audio``, ``model`` (3D), ``text`` or ``document``; None is not shown."""
    kind = TYPES.get(PurePath(name).suffix.lower())
    if kind is None:
        return None
    general = kind.partition("/")[0]
    if general == "application":
        return "document" if kind.endswith("pdf") else "text"
    return general


def make_cursor(entry: Entry) -> str:
    """Where a page ended. New files on top do not move it; neither does the loss of its own file."""
    digest = hashlib.blake2b(entry.path.encode(), digest_size=8).hexdigest()
    return f"{entry.mtime_ns}.{digest}"


def position_after(files: Sequence[Entry], cursor: str) -> int:
    """The first file behind a cursor. When the cursor's own file is gone, those of the same moment
    come again rather than being lost.
    """
    moment = int(cursor.partition(".")[0])
    start = bisect_left(files, -moment, key=lambda entry: -entry.mtime_ns)
    for at in range(start, len(files)):
        if files[at].mtime_ns != moment:
            break
        if make_cursor(files[at]) == cursor:
            return at + 1
    return start


class FolderListings:
    """The files of each folder as a walk found them a moment ago; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def files(self, folder: Path) -> Sequence[Entry]:
        """Newest first; of those that ask at the same time one walks."""
        with self._lock:
            kept = self._kept.setdefault(folder, _Kept())
            self._kept.move_to_end(folder)
            while len(self._kept) > MAX_FOLDERS:
                self._kept.popitem(last=False)
        with kept.lock:
            begun = time.monotonic()
            if begun >= kept.until:
                shown = [entry for entry in walk(folder) if _is_shown(entry)]
                kept.files = sorted(shown, key=lambda e: (e.mtime_ns, e.names), reverse=True)
                ended = time.monotonic()
                kept.until = ended + max(MIN_CACHE_SECONDS, 3 * (ended - begun))
            return kept.files


@dataclass(slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float = 0.0
    files: Sequence[Entry] = ()


def _is_shown(entry: Entry) -> bool:
    """Whether a file has a kind, and a name that an address can hold."""
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        return False
    return media_kind(entry.names[-1]) is not None


def normalized(text: str) -> str:
    """A text as searches compare it: without case, and without the width of Chinese typing.

    In pieces, since sorting a run of combining marks takes time by the square of its length.
    """
    pieces = (text[at : at + PIECE] for at in range(0, len(text), PIECE))
    return "".join(unicodedata.normalize("NFKC", piece) for piece in pieces).casefold()


@dataclass(frozen=True, slots=True)
class Page:
    """``entries``; ``after``: the cursor of what follows, None at the end. ``partial``: time ran out."""

    entries: Sequence[Entry]
    after: str | None
    partial: bool


def next_page(
    files: Sequence[Entry], start: int, most: int, fits: Callable[[Entry], bool] | None
) -> Page:
    """The next files that fit, ``most`` of them or as many as time allows; one is always looked at."""
    deadline = time.monotonic() + SEARCH_SECONDS
    found: list[Entry] = []
    at, partial = start, False
    while at < len(files) and len(found) < most and not partial:
        if fits is None or fits(files[at]):
            found.append(files[at])
        at += 1
        partial = fits is not None and time.monotonic() > deadline
    more = at < len(files)
    return Page(found, make_cursor(files[at - 1]) if more else None, partial and more)


class SearchTexts:
    """What searches know of files: the texts that were asked for last, in bounds; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._characters = 0

    def of(self, folder: Path, entry: Entry, read: Callable[[], str]) -> str:
        """The text of a file as it is now; ``read`` when it is not known yet."""
        key = (folder, entry.names, entry.mtime_ns, entry.size)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        text = normalized(read()[:MAX_TEXT_CHARS])
        with self._lock:
            self._characters += len(text) - len(self._kept.pop(key, ""))
            self._kept[key] = text
            while len(self._kept) > MAX_TEXTS or self._characters > MAX_CHARACTERS:
                self._characters -= len(self._kept.popitem(last=False)[1])
        return text
