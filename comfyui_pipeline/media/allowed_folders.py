"""Files of this machine that a caller may name: paths are checked against the allowed folders.

A path is rejected by its spelling before the file system is accessed: on Windows even a look at a
network path sends the user's login hash to that host.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import unquote

from input_server.device_names import is_device_name
from input_server.light_dataclasses import dataclass, field

from ..errors import MediaError
from . import folder_listing
from .host_files import HostFiles
from .redact import CONTROL_CHARACTERS
from .server_files import ServerAddress

_MAX_PATH_CHARACTERS = 32_767  # the limit of Windows; Linux has 4,096
_MAX_NAME_CHARACTERS = 1024
_MAX_ATTACHMENTS = 20_000
_MAX_LISTED = 10
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class ServedFolder:
    """A folder of our own file server, and the beginning of its URLs.

    ``authorizes``: whether a URL with these path segments and this query is valid.
    """

    url_prefix: str = field(repr=False)
    folder: Path
    authorizes: Callable[[tuple[str, ...], str], bool] = lambda names, query: True


@dataclass(frozen=True, slots=True)
class AllowedFolders:
    """Folders of this machine from which a caller may read."""

    attachments: Path | None  # its files may be named without a path: "cat.png", "sub/cat.png"
    allowed: tuple[Path, ...] = ()  # their files may be named by absolute path or file:// URL
    served: tuple[ServedFolder, ...] = ()  # their files may be named by our own URLs
    shown: tuple[Path, ...] = ()  # as ``allowed``, except hidden files: what answers name
    host: HostFiles | None = None  # its images may be named by its URLs
    server: ServerAddress | None = None  # its files may be named by their URLs there


def is_absolute(value: str) -> bool:
    """Whether a value is an absolute path on any system."""
    return value[:1] in ("/", "\\") or _DRIVE.match(value) is not None


def resolve(path: str, shown: str, folders: AllowedFolders) -> Path:
    """Return the regular file at an absolute path, symlinks resolved, inside one of the folders.

    Outside them nothing is revealed about a file, not even whether it exists. Raises MediaError.
    """
    _reject_spelling(path, shown, windows=os.name == "nt")
    roots, without_hidden = _roots(folders), _resolved(folders.shown)
    try:
        real = Path(path).resolve()
        if any(real.is_relative_to(root) for root in roots) or any(
            _is_shown_in(root, real) for root in without_hidden
        ):
            if folder_listing.is_pattern(path) and not real.exists():
                raise folder_listing.pattern_error(real.parent, real.name, shown)
            if stat.S_ISREG(real.stat().st_mode):
                return real
            if real.is_dir():
                raise folder_listing.folder_error(real, shown)
            raise MediaError(f"{shown} is not a file.", "Give the path of a file.")
    except FileNotFoundError as error:
        raise MediaError(f"{shown} does not exist.", "Check the path.") from error
    except (OSError, RuntimeError, ValueError) as error:  # too long, a symlink loop, no permission
        raise MediaError(f"{shown} cannot be read.", "Check the path.") from error
    raise _outside(shown, folders)


def resolve_file_url(value: str, shown: str, folders: AllowedFolders) -> Path:
    """Return the file of a ``file:`` URL (RFC 8089), also of the usual misspellings: ``file://C:/x``,
    unescaped ``%`` or ``#``. Raises MediaError.

    The percent-decoded path is tried first, the literal one only when that file does not exist.
    """
    spellings = [_without_slash_before_drive(path) for path in _paths_of(value, shown)]
    if not is_absolute(spellings[0]):
        raise MediaError(f"{shown} is not an absolute path.", "Write file:///folder/name.")
    try:
        return resolve(spellings[0], shown, folders)
    except MediaError:
        for spelling in spellings[1:]:
            if _exists(spelling, folders):
                return resolve(spelling, shown, folders)
        raise


def find_attachment(value: str, shown: str, folders: AllowedFolders) -> Path | None:
    """Return the file of this name in the attachments folder, None when there is none.

    Slashes may be backslashes, and the name may be in another Unicode normalization form.
    """
    if folders.attachments is None or not _is_name(value):
        return None
    for form in dict.fromkeys((value, value.replace("\\", "/"))):
        for name in dict.fromkeys(
            (form, unicodedata.normalize("NFC", form), unicodedata.normalize("NFD", form))
        ):
            file = folders.attachments / name
            try:
                exists = file.is_file()
            except (OSError, ValueError):  # longer than any name
                return None
            if exists:
                return resolve(str(file.absolute()), shown, folders)
    near = _attachments_like(folders.attachments, value.replace("\\", "/"))
    if len(near) > 1:
        names = ", ".join(near[:_MAX_LISTED])
        raise MediaError(f"{shown} could be several attachments: {names}.", "Give the full name.")
    return (
        resolve(str((folders.attachments / near[0]).absolute()), shown, folders) if near else None
    )


def _attachments_like(folder: Path, name: str) -> list[str]:
    """Attachments of this name without their extension, or in other case."""
    head, _, wanted = name.casefold().rpartition("/")
    if not wanted or head:
        return []
    stems = "." not in wanted.strip(".")
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry, _ in zip(entries, range(_MAX_ATTACHMENTS), strict=False):
                listed = unicodedata.normalize("NFC", entry.name).casefold()
                if listed == unicodedata.normalize("NFC", wanted) or (
                    stems and listed.rpartition(".")[0] == unicodedata.normalize("NFC", wanted)
                ):
                    found.append(entry.name)
    except OSError:
        return []
    return sorted(found)


def reject_folder_name(value: str, shown: str, folders: AllowedFolders) -> None:
    """Raise MediaError, naming the files, for a folder or a pattern in the attachments folder."""
    if folders.attachments is None or not _is_name(value):
        return
    name = value.replace("\\", "/").rstrip("/")
    try:
        path = (folders.attachments / name).resolve()
        root = folders.attachments.resolve()
        if not path.is_relative_to(root):
            return
        if folder_listing.is_pattern(name) and path.parent.is_dir():
            raise folder_listing.pattern_error(path.parent, path.name, shown)
        if name and path.is_dir():
            raise folder_listing.folder_error(path, shown)
    except (OSError, RuntimeError, ValueError):
        return


def open_resolved_file(path: Path) -> int:
    """Open a regular file by its resolved path and return the descriptor.

    A symlink that has replaced a part of the path since it was resolved is not followed, so that the
    file that was checked is the one that is read. Raises OSError.
    """
    if os.open in os.supports_dir_fd:
        descriptor = _open_without_symlinks(path)
    else:
        descriptor = os.open(path, _FILE_FLAGS)
        if path.resolve() != path or not os.path.samestat(os.fstat(descriptor), path.lstat()):
            os.close(descriptor)
            raise OSError(errno.ELOOP, "it is a symlink")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return descriptor


def _open_without_symlinks(path: Path) -> int:
    """Open one folder after another from the root (openat(2) with O_NOFOLLOW)."""
    if sys.platform == "win32":  # has neither
        return os.open(path, _FILE_FLAGS)
    *parents, name = path.parts
    folder = os.open(parents[0], _FOLDER_FLAGS)
    try:
        for part in parents[1:]:
            below = os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(name, _FILE_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


_FILE_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe that has replaced the file must not block
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
"""O_PATH: passing through a folder needs no permission to list it."""


def _paths_of(value: str, shown: str) -> list[str]:
    """The percent-decoded and the literal path of a ``file:`` URL."""
    rest = value[len("file:") :]
    path = rest
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if _DRIVE.match(host):  # file://C:/x and file://C:\x
            path = rest[2:]
        elif host.lower() in ("", "localhost"):
            path = slash + path
        else:
            raise _network_path(shown)
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError as error:
        raise MediaError(
            f"{shown} is not UTF-8 after percent-decoding.", "Check its spelling."
        ) from error
    return list(dict.fromkeys((decoded, path)))


def _without_slash_before_drive(path: str) -> str:
    return path[1:] if path[:1] in ("/", "\\") and _DRIVE.match(path, 1) else path


def _exists(path: str, folders: AllowedFolders) -> bool:
    try:
        resolve(path, "", folders)
    except MediaError:
        return False
    return True


def _is_name(value: str) -> bool:
    """Whether a value can be a name inside a folder."""
    parts = re.split(r"[\\/]", value)
    return not (
        len(value) > _MAX_NAME_CHARACTERS
        or ".." in parts
        or CONTROL_CHARACTERS.search(value)
        or (":" in value and os.name == "nt")
        or any(is_device_name(part) for part in parts)
    )


def _outside(shown: str, folders: AllowedFolders) -> MediaError:
    readable = (folders.attachments, *folders.allowed, *folders.shown)
    names = dict.fromkeys(str(folder) for folder in readable if folder)
    return MediaError(
        f"{shown} is outside the folders that may be read ({', '.join(names) or 'none is set'}).",
        "Move the file there, or add its folder to COMFYUI_ALLOWED_DIRS in config.env.",
    )


def _roots(folders: AllowedFolders) -> list[Path]:
    return _resolved((folders.attachments, *folders.allowed))


def _resolved(folders: Iterable[Path | None]) -> list[Path]:
    roots = []
    for folder in folders:
        if folder is not None:
            try:
                roots.append(folder.resolve())
            except (OSError, RuntimeError):
                continue
    return roots


def _is_shown_in(root: Path, real: Path) -> bool:
    """Whether a resolved path is below a folder and no part of it is hidden."""
    if not real.is_relative_to(root):
        return False
    return not any(part.startswith(".") for part in real.relative_to(root).parts)


def _reject_spelling(path: str, shown: str, *, windows: bool) -> None:
    """Raise MediaError for control characters, network and device paths, and NTFS streams."""
    if len(path) > _MAX_PATH_CHARACTERS:
        raise MediaError(f"{shown} is longer than any path.", "Check the path.")
    if CONTROL_CHARACTERS.search(path):
        raise MediaError(f"{shown} contains control characters.", "Check the path.")
    if path.replace("\\", "/").startswith("//"):
        raise _network_path(shown)
    if _DRIVE.match(path) and not windows:
        raise MediaError(
            f"{shown} is a Windows path, and this tool does not run on Windows.",
            "Give a path of the machine on which the tool runs.",
        )
    if not windows:
        if path.startswith("\\"):
            raise _network_path(shown)
        return
    if not re.match(r"[A-Za-z]:[\\/]", path):
        raise MediaError(f"{shown} has no drive letter.", "Give the full path.")
    if ":" in path[2:] or any(is_device_name(part) for part in re.split(r"[\\/]", path[2:])):
        raise MediaError(f"{shown} names a device or a stream.", "Name a plain file.")


def _network_path(shown: str) -> MediaError:
    return MediaError(
        f"{shown} is a network or device path, which is not accepted.",
        "Copy the file to this machine, or give an http(s) URL.",
    )
