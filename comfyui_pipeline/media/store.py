"""File names that every system takes, and files that appear whole or not at all.

Names come from a server or a caller, and nothing they say leads out of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import secrets
import stat
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import MediaError

INCOMING = ".incoming"
"""Folder below the root where files grow. Hidden, and on the same file system as their end."""

_STALE_SECONDS = 24 * 3600  # a file that grows for longer belongs to a killed process
_MAX_NAME_BYTES = 200  # most file systems take 255; the rest is room for a number
_MAX_DEPTH = 16
_MAX_NUMBER = 10_000
_BLOCK = 2**20

_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"]
)
_DISLIKED = frozenset('<>:"|?*/\\')
_JOINERS = "\u200c\u200d"  # parts of words in Persian and Indic scripts, and of emoji
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
_APOSTROPHES = frozenset("'’ʼ＇")


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file; ``relative`` is its path below the root with forward slashes."""

    path: Path
    relative: str
    size: int
    sha256: str


def store(
    chunks: Iterable[bytes],
    root: Path,
    subfolder: str,
    filename: str,
    *,
    length: int | None = None,
) -> Stored:
    """Write ``chunks`` to a new file ``root/subfolder/filename`` that no other file suffers from.

    A file of that name and content is used as it is; beside one of other content the new file
    is called ``name_1.png`` and so on, also when several processes store at the same moment.
    ``length``: bytes that must arrive. Raises MediaError when they do not, when the disk does not
    take them, or when a link would lead out of ``root``; errors of ``chunks`` pass through.
    """
    name = safe_name(filename)
    try:
        folder, real_root = _folder(root, safe_subfolder(subfolder))
        incoming = real_root / INCOMING
        temporary, handle = _new_file(incoming)
    except OSError as error:
        raise _disk_error(name, root, error) from error
    try:
        size, digest = _fill(handle, chunks, name, root)
        if length is not None and size != length:
            raise MediaError(
                f"{name} was cut off: {size} of {length} bytes arrived.", "Fetch it again."
            )
        try:
            path = _publish(temporary, folder, name, size, digest)
        except OSError as error:
            raise _disk_error(name, root, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    relative = path.relative_to(real_root).as_posix()
    return Stored(root / relative, relative, size, digest)


def _disk_error(name: str, root: Path, error: OSError) -> MediaError:
    return MediaError(
        f"{name} cannot be stored in {root}: {error.strerror or type(error).__name__}.",
        "Check the folder's rights and the free space.",
    )


def _folder(root: Path, subfolder: str) -> tuple[Path, Path]:
    """The target folder and the root, links resolved; both exist afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    real_root = root.resolve()
    try:
        folder = (real_root / subfolder).resolve()
    except RuntimeError as error:  # a loop of links, before Python 3.13
        raise MediaError(f"The folder {subfolder} is a loop of links.") from error
    if not folder.is_relative_to(real_root):
        raise MediaError(
            f"The folder {subfolder} leads out of {root} through a link.", "Remove that link."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder, real_root


def _new_file(incoming: Path) -> tuple[Path, int]:
    """An empty file of this process alone, with the rights that the user's umask gives."""
    incoming.mkdir(exist_ok=True)
    _sweep(incoming)
    path = incoming / f"{os.getpid()}-{secrets.token_hex(8)}.part"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    return path, os.open(path, flags, 0o666)


def _sweep(incoming: Path) -> None:
    """Remove what killed processes left behind."""
    oldest = time.time() - _STALE_SECONDS
    with contextlib.suppress(OSError), os.scandir(incoming) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    Path(entry.path).unlink()


def _fill(handle: int, chunks: Iterable[bytes], name: str, root: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(handle, "wb", buffering=0) as file:
        for chunk in chunks:
            try:
                _write_all(file.fileno(), chunk)
            except OSError as error:
                raise _disk_error(name, root, error) from error
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _write_all(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def _publish(temporary: Path, folder: Path, name: str, size: int, digest: str) -> Path:
    for number in itertools.count():
        target = folder / _numbered(name, number)
        if _claim(temporary, target):
            return target
        if _same_file(target, size, digest):
            return target
        if number >= _MAX_NUMBER:
            break
    raise MediaError(f"{folder} holds too many files called {name}.", "Tidy the folder up.")


def _numbered(name: str, number: int) -> str:
    if not number:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem}_{number}{dot}{extension}" if stem else f"{name}_{number}"


def _claim(temporary: Path, target: Path) -> bool:
    """Give the finished file its name unless that is taken; False when it is."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:
        return _claim_without_links(temporary, target)
    return True


def _claim_without_links(temporary: Path, target: Path) -> bool:
    """FAT, exFAT and some network file systems know no hard links.

    On Windows a rename never replaces. Elsewhere it does: there an empty file takes the name
    first, since only creating one is exclusive, and is replaced by the whole file.
    """
    try:
        if os.name == "nt":
            temporary.rename(target)
            return True
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    try:
        temporary.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return True


def _same_file(path: Path, size: int, digest: str) -> bool:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        theirs = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                theirs.update(block)
    except OSError:
        return False
    return theirs.hexdigest() == digest


# --- names ----------------------------------------------------------------------------------------


def is_device_name(part: str) -> bool:
    """Whether Windows takes this path segment for a device: ``con``, ``NUL.txt``, ``COM¹ .x``."""
    return re.split(r"[.:]", part, maxsplit=1)[0].strip().upper() in _DEVICES


def safe_name(name: str) -> str:
    """A file name made of ``name`` that Linux, Windows and macOS take: one segment, never hidden.

    Folders before the last slash or backslash are dropped; at most ``_MAX_NAME_BYTES`` bytes of
    UTF-8, the extension kept; ``file`` when nothing remains. Idempotent.
    """
    return _safe_part(re.split(r"[/\\]", name)[-1]) or "file"


def safe_subfolder(sub: str) -> str:
    """A relative folder made of ``sub``, forward slashes, no ``..``; empty for the root itself."""
    parts = (_safe_part(part) for part in re.split(r"[/\\]", sub))
    return "/".join([part for part in parts if part][:_MAX_DEPTH])


def _safe_part(part: str) -> str:
    part = "".join(_safe_letter(letter) for letter in unicodedata.normalize("NFC", part))
    part = _shorten(unicodedata.normalize("NFC", part).strip(" .\u00a0\u3000"))
    return f"_{part}" if part and is_device_name(part) else part


def _safe_letter(letter: str) -> str:
    if letter in _DISLIKED:
        return "_"
    category = unicodedata.category(letter)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return "_"
    if category == "Cf" and letter not in _JOINERS:  # text direction marks disguise extensions
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
    """A file-name prefix from a prompt's own words, at most ``limit`` characters, in NFC.

    Letters and digits of every script stay with their marks; spaces and punctuation become one
    ``_``. Empty when nothing remains. No cut separates a letter from its marks, and a cut falls
    between words where that costs less than half.
    """
    text = unicodedata.normalize("NFC", "".join(_word_letters(text)))
    text = _cut(text.strip("_-"), limit).strip("_-")
    if is_device_name(text):
        text = f"_{text}" if len(text) < limit else ""
    return text


def _word_letters(text: str) -> Iterable[str]:
    """The kept letters one by one, with a single ``_`` for whatever stood between words."""
    last = "_"
    for letter in unicodedata.normalize("NFC", text):
        category = unicodedata.category(letter)
        if category == "Cf" or letter in _APOSTROPHES or letter in _INVISIBLE_LETTERS:
            continue
        if category[0] == "M":
            if last in "_-" or _selects_a_variant(letter):
                continue  # nothing that it could stand on
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
