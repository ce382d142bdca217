"""Turn names from a server or a caller into file names that are valid on every system.

The results never lead out of a folder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from input_server.device_names import is_device_name

_MAX_NAME_BYTES = 200  # most file systems allow 255; the rest is for a number
_MAX_DEPTH = 16
_MAX_READ = 1024  # characters: NFC normalization takes quadratic time for combining marks

MAX_PREFIX_BYTES = 48
"""Of a prefix from a prompt: forty ASCII letters, or sixteen ideographs."""

_FORBIDDEN = frozenset('<>:"|?*/\\')
_JOINERS = "\u200c\u200d"  # parts of words in Persian and Indic scripts, and of emoji
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
_APOSTROPHES = frozenset("'’ʼ＇")


def safe_name(name: str) -> str:
    """Return a file name that is valid on Linux, Windows and macOS: one segment, never hidden.

    Folders before the last slash or backslash are dropped; at most ``_MAX_NAME_BYTES`` bytes of
    UTF-8 remain, including the extension; ``file`` when nothing remains. Idempotent.
    """
    return _safe_part(re.split(r"[/\\]", name)[-1]) or "file"


def safe_subfolder(sub: str) -> str:
    """Return a relative folder with forward slashes, without ``..``; empty for the root itself."""
    parts = (_safe_part(part) for part in re.split(r"[/\\]", sub))
    return "/".join([part for part in parts if part][:_MAX_DEPTH])


def _safe_part(part: str) -> str:
    if len(part) > _MAX_READ:
        part = part[: _MAX_READ - 32] + part[-32:]  # with the extension
    part = "".join(_safe_letter(letter) for letter in unicodedata.normalize("NFC", part))
    part = _shorten(unicodedata.normalize("NFC", part).strip(" .\u00a0\u3000"))
    return f"_{part}" if part and is_device_name(part) else part


def _safe_letter(letter: str) -> str:
    if letter in _FORBIDDEN:
        return "_"
    category = unicodedata.category(letter)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return "_"
    if (
        category == "Cf" and letter not in _JOINERS
    ):  # text direction marks can disguise an extension
        return ""
    return letter


def _shorten(part: str) -> str:
    if len(part.encode()) <= _MAX_NAME_BYTES:
        return part
    stem, dot, extension = part.rpartition(".")
    if not stem or len(extension.encode()) > 16:
        stem, dot, extension = part, "", ""
    room = _MAX_NAME_BYTES - len((dot + extension).encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip(" .\u00a0\u3000")
    return f"{stem}{dot}{extension}"


def prefix_from_words(text: str, limit: int = 40) -> str:
    """Return a file name prefix from the words of a prompt text: at most ``limit`` characters, NFC.

    Letters and digits of every script and their combining marks remain; spaces and punctuation become
    one ``_``. Empty when nothing remains. It is cut between words if that costs less than half, and
    never between a letter and its marks.
    """
    text = unicodedata.normalize("NFC", "".join(_word_letters(text[:_MAX_READ])))
    text = _cut(text.strip("_-"), limit).strip("_-")
    if is_device_name(text):
        text = f"_{text}" if len(text) < limit else ""
    return text


def prefix_from_prompt(text: str) -> str:
    """A short prefix from a prompt: each letter is up to nine characters of the result's link."""
    limit, room = 0, MAX_PREFIX_BYTES
    for letter in prefix_from_words(text):
        room -= len(letter.encode())
        if room < 0:
            break
        limit += 1
    return prefix_from_words(text, limit)


def _word_letters(text: str) -> Iterable[str]:
    """The letters that remain, with a single ``_`` between words."""
    last = "_"
    for letter in unicodedata.normalize("NFC", text):
        category = unicodedata.category(letter)
        if category == "Cf" or letter in _APOSTROPHES or letter in _INVISIBLE_LETTERS:
            continue
        if category[0] == "M":
            if last in "_-" or _selects_a_variant(letter):
                continue  # there is no letter for it to combine with
        elif letter == "-" and last not in "_-":
            pass
        elif category[0] not in "LN":
            if last == "_":
                continue
            letter = "_"
        yield letter
        last = letter


def _selects_a_variant(mark: str) -> bool:
    return "\ufe00" <= mark <= "\ufe0f" or "\U000e0100" <= mark <= "\U000e01ef"


def _cut(text: str, limit: int) -> str:
    if len(text) <= max(limit, 0):
        return text
    end = max(limit, 0)
    while end and unicodedata.category(text[end])[0] == "M":
        end -= 1
    if text[end : end + 1] not in ("_", "-"):
        between = max(text.rfind("_", 0, end), text.rfind("-", 0, end))
        if between > limit // 2:
            end = between
    return text[:end]
