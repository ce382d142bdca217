"""Which workflow of the folder a caller means: names as people write them.

``z image turbo`` means ``video/Z-Image_Turbo.json`` where no other name fits as well. ``strict``
leaves only the exact name, which ``files.load`` finds by itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from input_server.light_dataclasses import dataclass

MIN_PART = 3
"""Letters of a name from which it may be part of a longer one; ideographs count as two."""
MAX_COMPARED = 200
"""Characters of a name that are compared."""
SUGGESTED = 0.7
"""Similarity (difflib, 0 to 1) from which a name is suggested in an error."""
MISSPELT = 0.9
"""Similarity from which a single name is taken for a misspelt one."""
FOLDER_WORDS = ("workflows/", "user/default/workflows/", "default/workflows/")
"""Folders that callers write before a name: ours and the editor's."""
NO_MEANING = frozenset({"workflow", "json", "api", "the", "a", "工作流"})
"""Parts of a name that do not tell workflows apart."""
CHUNKS = re.compile(r"\d+(?:\.\d+)+|[^\W_]+(?:\.\d+)*")
PIECES = re.compile(r"[a-z]+|\d+(?:\.\d+)*|[^\W\d_a-z]+")
"""``wan2.2 i2v`` has the words ``wan2.2`` and ``i2v``; the first has the parts ``wan`` and ``2.2``."""


@dataclass(frozen=True, slots=True)
class Found:
    """The names that fit. ``same``: by the same letters, so that nothing needs to be said."""

    names: tuple[str, ...]
    same: bool = False


NOTHING = Found(())


def match(wanted: str, existing: Sequence[str]) -> Found:
    """The names that are meant: one, several that fit equally well, or none."""
    same = same_letters(wanted, existing)
    return Found(same, same=True) if same else _partly(wanted, existing)


def same_letters(wanted: str, existing: Sequence[str]) -> tuple[str, ...]:
    """The names with the same letters and digits, with their folders or without."""
    folded = letters(bare(wanted))
    if not folded:
        return ()
    whole = tuple(name for name in existing if letters(bare(name)) == folded)
    if whole or "/" in bare(wanted):
        return whole
    return tuple(name for name in existing if letters(_base(name)) == folded)


def _partly(wanted: str, existing: Sequence[str]) -> Found:
    """Names that contain all words of the wanted one, else a single one that is nearly the same."""
    words = _words(wanted)
    folded = "".join(words)
    if sum(1 if letter.isascii() else 2 for letter in folded) < MIN_PART:
        return NOTHING
    for contains in (_has_words, _has_beginnings, _has_letters):
        found = tuple(name for name in existing if contains(name, words))
        if found:
            return Found(found)
    near = similar(wanted, existing, at_least=MISSPELT)
    near = [name for name in near if _numbers(name) == _numbers(wanted)]
    return Found((near[0],)) if len(near) == 1 else NOTHING


def _has_words(name: str, words: Sequence[str]) -> bool:
    return set(words) <= _parts(name)


def _has_beginnings(name: str, words: Sequence[str]) -> bool:
    parts = _parts(name)
    return all(any(part.startswith(word) for part in parts) for word in words)


def _has_letters(name: str, words: Sequence[str]) -> bool:
    """The words one after another, as in ``textimage`` for ``text_image_2``."""
    return "".join(words) in letters(bare(name))


def similar(wanted: str, existing: Iterable[str], at_least: float = SUGGESTED) -> list[str]:
    """Names worth suggesting: at most three that are nearly the same, or share a telling word."""
    from difflib import SequenceMatcher

    words, ranked = _telling(wanted), []
    for name in existing:
        score = max(
            SequenceMatcher(None, one, other, autojunk=False).ratio()
            for one, other in zip(_spellings(wanted), _spellings(name), strict=True)
        )
        if words & _telling(name) and at_least <= SUGGESTED:
            score = max(score, SUGGESTED)
        if score >= at_least:
            ranked.append((-score, name))
    return [name for _, name in sorted(ranked)[:3]]


def _spellings(name: str) -> tuple[str, str]:
    """The letters of a name without its folder: all, and those of the words with a meaning."""
    return letters(_base(name)), "".join(_words(_base(name)))


def _telling(name: str) -> set[str]:
    return {word for word in _words(name) if len(word) > 3 and not word.isdigit()}


def bare(name: str) -> str:
    """The name without quotes, the workflows folder in front of it, and ``.json``."""
    text = fold(name).strip(" \t\r\n\"'`“”‘’「」《》").replace("\\", "/")
    while text.startswith("./"):
        text = text[2:]
    for folder in FOLDER_WORDS:
        if folder in text:
            text = text.rpartition(folder)[2]
            break
    return text.removesuffix(".json").strip("/ ")


def fold(name: str) -> str:
    """Without differences of case and width (NFKC)."""
    return unicodedata.normalize("NFKC", name[:MAX_COMPARED]).casefold()


def letters(name: str) -> str:
    """Letters and digits only; a folder stays apart."""
    return "".join(letter for letter in fold(name) if letter.isalnum() or letter == "/")


def _base(name: str) -> str:
    return bare(name).rpartition("/")[2]


def _words(name: str) -> list[str]:
    found: list[str] = CHUNKS.findall(bare(name))
    return [word for word in found if word not in NO_MEANING]


def _parts(name: str) -> set[str]:
    """The words of a name, and their parts of letters and of digits."""
    words = CHUNKS.findall(bare(name))
    return {*words, *(part for word in words for part in PIECES.findall(word))}


def _numbers(name: str) -> list[str]:
    return [part for part in PIECES.findall(bare(name)) if part[0].isdigit()]
