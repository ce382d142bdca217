"""Which file does a URL mean? From the raw target to names, and from names to an open file.

Two halves that never mix: spelling is judged before the file system is asked (on Windows even a
look at a network path sends the user's login hash out, CVE-2026-48818), and what is opened is what
was checked.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ..device_names import is_device_name

SHORT_NAME = re.compile(r"[^.]{1,7}~\d{1,3}(\.[^.]{0,3})?")
FORBIDDEN = re.compile(r'[/\\*?"<>|\x00-\x1f\x7f]')
WINDOWS = os.name == "nt"
BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
OPENING = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # never waits, whatever the file has turned into
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
FOLDER = OPENING | getattr(os, "O_DIRECTORY", 0)
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
EXHAUSTED_WINDOWS = frozenset({4, 8, 14, 1450, 1455})
"""ERROR_TOO_MANY_OPEN_FILES, ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES and
ERROR_COMMITMENT_LIMIT (winerror.h)."""


class Refused(Exception):
    """A path that is not served, whatever lies behind it."""


class Missing(Exception):
    """There is no such file."""


class Exhausted(OSError):
    """The system has no descriptor or no memory left: whether there is such a file is not known."""


def is_exhausted(problem: BaseException) -> bool:
    """Whether an error says nothing about a file, only that the system lacks something just now."""
    if isinstance(problem, (Exhausted, MemoryError)):
        return True
    return isinstance(problem, OSError) and (
        problem.errno in EXHAUSTED or getattr(problem, "winerror", None) in EXHAUSTED_WINDOWS
    )


def lookup_error(problem: BaseException) -> Missing | Exhausted:
    """What a failed look at a file means for whoever asks for it."""
    return Exhausted(*problem.args) if is_exhausted(problem) else Missing()


def decode(part: str) -> str:
    """One part of a URL's path, percent-decoded once. Raises Refused for what is not UTF-8."""
    if "%" not in part:
        if part.isascii():
            return part
        raise Refused
    if BAD_ESCAPE.search(part):
        raise Refused
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None


def check_names(names: Sequence[str], *, windows: bool = WINDOWS) -> None:
    """Refuse what is no plain file name. Raises Refused, Missing for no names at all.

    Most of what only Windows takes for something else is refused everywhere. Two things are not, as
    ComfyUI makes such names elsewhere and they are harmless there: a colon (a stream of a file, a
    drive) and a short name like ``cat~1.png`` (another file's).
    """
    for name in names:
        odd = (
            not name
            or name[0] == "."
            or name[-1] in ". "
            or FORBIDDEN.search(name) is not None
            or is_device_name(name, streams=windows)
            or (windows and (":" in name or SHORT_NAME.fullmatch(name) is not None))
        )
        if odd:
            raise Refused
    if not names:
        raise Missing


def has_servable_names(names: Sequence[str], *, windows: bool = WINDOWS) -> bool:
    """Whether a file of these names has an address: its names are judged well, and are UTF-8."""
    try:
        check_names(names, windows=windows)
        "/".join(names).encode()
    except (Refused, Missing, UnicodeEncodeError):
        return False
    return True


def locate(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """The file of these judged names inside a folder, and the folder, both with links resolved.

    Raises Refused for what a link leads out of the folder, Missing for what is no plain file, and
    Exhausted.
    """
    try:
        root = folder.resolve(strict=True)
        path = root.joinpath(*names).resolve(strict=True)
        seen = path.stat()
    except (OSError, RuntimeError, ValueError) as problem:
        raise lookup_error(problem) from None
    if not path.is_relative_to(root):
        raise Refused
    if not stat.S_ISREG(seen.st_mode):
        raise Missing
    return path, root


@contextmanager
def open_parent(path: Path, root: Path) -> Iterator[tuple[str, int | None]]:
    """What to call a located file, and the open folder that this is in (``dir_fd``), so that no link
    which has appeared on the way meanwhile is followed. Windows has no such: there the path, and None.
    Raises OSError.
    """
    if os.open not in os.supports_dir_fd:
        yield str(path), None
        return
    *above, name = path.relative_to(root).parts
    folder = os.open(root, FOLDER)
    try:
        for part in above:
            below = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        yield name, folder
    finally:
        os.close(folder)


def open_regular_file(path: Path, root: Path) -> int:
    """A descriptor for reading a plain file that has been located. Raises Missing and Exhausted."""
    try:
        with open_parent(path, root) as (name, folder):
            descriptor = os.open(name, OPENING, dir_fd=folder)
    except (OSError, ValueError) as problem:
        raise lookup_error(problem) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Missing
    return descriptor
