"""Named folders, and the way from the parts of a URL to a file that lies inside one of them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"]
)
"""Names that Windows keeps for devices, with any extension and in any folder."""
SHORT_NAME = re.compile(r"[^.]{1,7}~\d{1,3}(\.[^.]{0,3})?")
FORBIDDEN = frozenset('/\\:*?"<>|')


class ConfigError(Exception):
    """A setting of the file server is wrong; the text says which, and what would be right."""


class Refused(Exception):
    """A path that is not served, whatever lies behind it."""


class Missing(Exception):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that is served under ``alias``."""

    alias: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file inside its mount. ``path`` has every link resolved."""

    path: Path
    size: int
    mtime_ns: int
    inode: int


def parse_mounts(text: str, base: Path) -> tuple[Mount, ...]:
    r"""``alias:folder;alias:folder``, split at the first colon, so that ``pics:D:\pics`` works.

    A relative folder begins at ``base``. A folder need not exist yet. Raises ConfigError.
    """
    mounts: dict[str, Mount] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        alias, colon, folder = (part.strip() for part in entry.partition(":"))
        if not colon or not folder or not re.fullmatch(r"[\w-]+", alias):
            raise ConfigError(
                f"COMFYUI_MOUNTS has the entry {entry!r}. It has to be alias:folder, the alias of "
                "letters, digits, - and _; several are separated by ;"
            )
        if alias in mounts:
            raise ConfigError(
                f"COMFYUI_MOUNTS names {alias!r} twice. Give each folder its own alias."
            )
        mounts[alias] = Mount(alias, base / Path(folder).expanduser())
    if not mounts:
        raise ConfigError("COMFYUI_MOUNTS is empty. It has to be alias:folder;alias:folder.")
    return tuple(mounts.values())


def decode(part: str) -> str:
    """One part of a URL's path, percent-decoded once. Raises Refused for what is not UTF-8."""
    if re.search("%(?![0-9A-Fa-f]{2})", part):
        raise Refused
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None


def find(mounts: Sequence[Mount], alias: str, names: Sequence[str]) -> Found:
    """The file that the decoded ``names`` lead to. Raises Refused and Missing.

    Spelling is judged before the file system is asked: on Windows even a look at a network path
    sends the user's login hash out (CVE-2026-48818).
    """
    for name in names:
        _judge(name)
    mount = next((mount for mount in mounts if mount.alias == alias), None)
    if mount is None or not names:
        raise Missing
    try:
        root = mount.folder.resolve(strict=True)
        path = root.joinpath(*names).resolve(strict=True)
        seen = path.stat()
    except (OSError, RuntimeError, ValueError):
        raise Missing from None
    if not path.is_relative_to(root):
        raise Refused
    if not stat.S_ISREG(seen.st_mode):
        raise Missing
    return Found(path, seen.st_size, seen.st_mtime_ns, seen.st_ino)


def open_file(path: Path) -> int:
    """A descriptor for reading; never waits, whatever the file has turned into. Raises Missing."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        raise Missing from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Missing
    return descriptor


def _judge(name: str) -> None:
    """Refuse what is no plain file name on every system, also where this one would take it."""
    odd = (
        not name
        or name.startswith(".")
        or name[-1] in ". "
        or any(letter in FORBIDDEN or ord(letter) < 32 or ord(letter) == 127 for letter in name)
        or name.split(".")[0].strip().upper() in DEVICES
        or SHORT_NAME.fullmatch(name) is not None
    )
    if odd:
        raise Refused
