"""From the names in a URL to an open file inside a mount.

Names are checked before the file system is accessed: on Windows even a stat of a network path sends
the user's login hash out (CVE-2026-48818). The file that is opened is the one that was checked.
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

SHORT_NAME = r"[^.]{1,7}~\d{1,3}(\.[^.]{0,3})?"
FORBIDDEN = re.compile(r'[/\\*?"<>|\x00-\x1f\x7f]')
WINDOWS = os.name == "nt"
INVALID_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # does not wait if the file has been replaced by a pipe
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
DIRECTORY_FLAGS = OPEN_FLAGS | getattr(os, "O_DIRECTORY", 0)
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
EXHAUSTED_WINDOWS = frozenset({4, 8, 14, 1450, 1455})
"""ERROR_TOO_MANY_OPEN_FILES, ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES and
ERROR_COMMITMENT_LIMIT (winerror.h)."""


class Refused(Exception):
    """The path is never served, whether it exists or not."""


class Missing(Exception):
    """There is no such file."""


class Exhausted(OSError):
    """The system is out of descriptors or memory: whether the file exists is unknown."""


def is_exhausted(error: BaseException) -> bool:
    """Return whether an error is due to a lack of descriptors or memory, not to the file."""
    if isinstance(error, (Exhausted, MemoryError)):
        return True
    return isinstance(error, OSError) and (
        error.errno in EXHAUSTED or getattr(error, "winerror", None) in EXHAUSTED_WINDOWS
    )


def lookup_error(error: BaseException) -> Missing | Exhausted:
    """Return the exception to raise when looking up a file has failed."""
    return Exhausted(*error.args) if is_exhausted(error) else Missing()


def decode(part: str) -> str:
    """Percent-decode one part of a URL's path, once. Raises Refused unless it is UTF-8."""
    if "%" not in part:
        if part.isascii():
            return part
        raise Refused
    if INVALID_ESCAPE.search(part):
        raise Refused
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None


def check_names(names: Sequence[str], *, windows: bool = WINDOWS) -> None:
    """Check the parts of a path. Raises Refused for an unsafe name, Missing for an empty path.

    Names with a special meaning on Windows are refused everywhere, except two that are harmless
    elsewhere and that ComfyUI creates there: with a colon (on Windows a drive or stream), and short
    names like ``cat~1.png`` (on Windows an alias of another file).
    """
    for name in names:
        unsafe = (
            not name
            or name[0] == "."
            or name[-1] in ". "
            or FORBIDDEN.search(name) is not None
            or is_device_name(name, streams=windows)
            or (windows and (":" in name or re.fullmatch(SHORT_NAME, name) is not None))
        )
        if unsafe:
            raise Refused
    if not names:
        raise Missing


def has_servable_names(names: Sequence[str], *, windows: bool = WINDOWS) -> bool:
    """Return whether a file of these names has a URL: the names are safe and can be UTF-8."""
    try:
        check_names(names, windows=windows)
        "/".join(names).encode()
    except (Refused, Missing, UnicodeEncodeError):
        return False
    return True


def locate(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Return the path of a file inside ``folder``, and that of ``folder``, symlinks resolved.

    ``names`` must have been checked. Raises Refused if a symlink leads out of the folder, Missing
    unless it is a regular file, and Exhausted.
    """
    try:
        root = folder.resolve(strict=True)
        path = root.joinpath(*names).resolve(strict=True)
        mode = path.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:
        raise lookup_error(error) from None
    if not path.is_relative_to(root):
        raise Refused
    if not stat.S_ISREG(mode):
        raise Missing
    return path, root


@contextmanager
def open_parent(path: Path, root: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the name of a located file and a descriptor of its directory (``dir_fd``).

    Symlinks that have appeared on the path since are not followed. Windows has no ``dir_fd``: there
    the complete path and None. Raises OSError.
    """
    if os.open not in os.supports_dir_fd:
        yield str(path), None
        return
    *parents, name = path.relative_to(root).parts
    directory = os.open(root, DIRECTORY_FLAGS)
    try:
        for part in parents:
            child = os.open(part, DIRECTORY_FLAGS, dir_fd=directory)
            os.close(directory)
            directory = child
        yield name, directory
    finally:
        os.close(directory)


def open_located_file(path: Path, root: Path) -> int:
    """Return a descriptor for reading a located file. Raises Missing and Exhausted."""
    try:
        with open_parent(path, root) as (name, directory):
            descriptor = os.open(name, OPEN_FLAGS, dir_fd=directory)
    except (OSError, ValueError) as error:
        raise lookup_error(error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Missing
    return descriptor
