"""Where an input file comes from: one string of the caller's, recognised.

Nothing is fetched or read here. What is refused is refused by its spelling before the file
system is asked, since on Windows even a look at a network path sends the user's login hash out.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from input_server.light_dataclasses import dataclass, field

from ..errors import MediaError
from .file_names import is_device_name
from .file_types import is_known

MAX_INLINE_BYTES = 50 * 2**20
"""Largest file taken as a data URI or as base64 text, decoded."""

FORMS = (
    "Give an http(s) URL, a data: URI, base64 text, a file:// URL or absolute path in an allowed "
    "folder, the name of a file in the attachments folder, or of one in the server's input folder."
)

_SHOWN = 160  # characters of a value shown in answers and logs
_SHORTEST_BASE64 = 48  # characters: below that no file fits
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+")
_LONGEST_URL = 16_384  # characters; servers take about 8,000
_LONGEST_PATH = 32_767  # characters; Windows' own limit, Linux has 4,096
_LONGEST_NAME = 1024  # characters of a name below the attachments or the input folder
_DRIVE = re.compile(r"[A-Za-z]:")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_BARE_SCHEMES = frozenset({"about", "blob", "cid", "content", "javascript", "mailto", "urn"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ServedFolder:
    """A folder that our own file server shows under URLs that begin so.

    ``opens``: whether such a URL is good for these names, by its query.
    """

    url_prefix: str = field(repr=False)
    folder: Path
    authorizes: Callable[[tuple[str, ...], str], bool] = lambda names, query: True


@dataclass(frozen=True, slots=True)
class AllowedFolders:
    """The folders of this machine that a caller may read from."""

    attachments: Path | None  # its files may be named bare: "cat.png", "sub/cat.png"
    allowed: tuple[Path, ...] = ()  # files below may be named by absolute path or file://
    served: tuple[ServedFolder, ...] = ()  # what our own file server shows


@dataclass(frozen=True, slots=True)
class Url:
    """An http(s) address, not yet fetched or judged."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inline:
    """A file that came inside the call."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file below an allowed folder; links are resolved."""

    path: Path


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file of the server's input folder, ``sub/name.png``; whether it is there is not known."""

    name: str


Source = Url | Inline | LocalFile | ServerFile


def recognise(value: str, places: AllowedFolders) -> Source:
    """Say where the file named by ``value`` comes from.

    Raises MediaError for a form that is not taken, a path outside the allowed folders, base64
    that cannot be decoded, or one above ``MAX_INLINE_BYTES``.
    """
    value = value.strip()
    if not value:
        raise MediaError("The file's value is empty.", FORMS)
    lower = value[:8].lower()
    if lower.startswith("data:"):
        return Inline(_data_uri(value))
    if lower.startswith(("http://", "https://")):
        return _served(value, places) or _url(value)
    if lower.startswith("file:"):
        return _file_url(value, places)
    _refuse_other_schemes(value)
    if value.startswith("/") and (content := _file_in_base64(value)) is not None:
        return Inline(content)  # every JPEG begins with "/9j/" in base64
    if _is_absolute(value):
        return LocalFile(_local(value, value, places))
    if (attachment := _attachment(value, places)) is not None:
        return LocalFile(attachment)
    if (content := _file_in_base64(value)) is not None:
        return Inline(content)
    return ServerFile(_server_name(value))


def describe(value: str) -> str:
    """The value in short, for answers and logs: never its content, user-info, query or key."""
    value = value.strip()
    scheme = value[:8].lower()
    if scheme.startswith("data:"):
        return f"data: URI of {_kilobytes(len(value))}"
    if scheme.startswith(("http://", "https://")):
        return _shorten(_public_url(value))
    if len(value) > 4 * _SHOWN or (
        len(value) >= _SHORTEST_BASE64 and _file_in_base64(value) is not None
    ):
        return f"base64 text of {_kilobytes(len(value))}"
    if _SCHEME.match(value) and "://" in value and not scheme.startswith("file:"):
        return _shorten(_public_url(value))
    return _shorten(value)


def _public_url(url: str) -> str:
    head, _, rest = url.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.replace("\\", "/").partition("/")
    path = re.sub(r"(?i)\bpw(?:=|%3d)[^/]*", "pw=…", path)  # the file server keeps its key there
    return f"{head.lower()}://{host.rpartition('@')[2]}{slash}{path}"


def _shorten(text: str) -> str:
    text = text if len(text) <= 4 * _SHOWN else text[: 2 * _SHOWN] + text[-2 * _SHOWN :]
    text = "".join("�" if unicodedata.category(c) in ("Cc", "Cs", "Cf") else c for c in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 30]}…{text[-29:]}"


def _kilobytes(size: int) -> str:
    return f"{size / 1024:.0f} KB" if size >= 1024 else f"{size} bytes"


# --- data URIs and base64 -------------------------------------------------------------------------


def _data_uri(value: str) -> bytes:
    """RFC 2397. Base64 may be URL-safe, unpadded, percent-encoded or broken into lines."""
    head, comma, body = value.partition(",")
    if not comma:
        raise MediaError(
            f"The {describe(value)} has no comma.", "It should read data:image/png;base64,…"
        )
    if len(body) > 4 * MAX_INLINE_BYTES:
        raise _too_large(value)
    if head.lower().replace(" ", "").endswith(";base64"):
        content = _from_base64(unquote(body) if "%" in body else body)
        if content is None:
            raise MediaError(
                f"The {describe(value)} is not valid base64.", "It may have been cut off."
            )
    else:
        content = unquote_to_bytes(body)
    if len(content) > MAX_INLINE_BYTES:
        raise _too_large(value)
    if not content:
        raise MediaError("The data: URI is empty.", FORMS)
    return content


def _too_large(value: str) -> MediaError:
    return MediaError(
        f"The {describe(value)} is too large.",
        f"At most {MAX_INLINE_BYTES // 2**20} MB are taken inline; give a URL or a file instead.",
    )


def _from_base64(text: str) -> bytes | None:
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    if len(text) % 4 == 1:
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _file_in_base64(value: str) -> bytes | None:
    """The file in bare base64 text; None when it is no such text, or no file of a known kind."""
    if len(value) < _SHORTEST_BASE64:
        return None
    head = _from_base64(value[:_SHORTEST_BASE64]) if "\n" not in value[:64] else b""
    if head is None or (head and not is_known(head)) or not _is_base64(value):
        return None
    if len(value) > 2 * MAX_INLINE_BYTES:
        raise _too_large(value)
    content = _from_base64(value)
    if content is None or not is_known(content):
        return None
    if len(content) > MAX_INLINE_BYTES:
        raise _too_large(value)
    return content


def _is_base64(value: str) -> bool:
    """Letters of base64 and white space, then at most two ``=``."""
    bare = value.rstrip()
    letters = bare.rstrip("=")
    return len(bare) - len(letters) <= 2 and _BASE64.fullmatch(letters) is not None


# --- URLs -----------------------------------------------------------------------------------------


def _url(value: str) -> Url:
    if len(value) > _LONGEST_URL:
        raise MediaError(
            f"{describe(value)} is longer than {_LONGEST_URL} characters.", "Check its spelling."
        )
    try:
        host = urlsplit(value).hostname
    except ValueError:
        host = None
    if not host or _CONTROL.search(value):
        raise MediaError(f"{describe(value)} is not a valid URL.", "Check its spelling.")
    return Url(value)


def _served(value: str, places: AllowedFolders) -> LocalFile | None:
    """The file behind a URL of our own file server, which need not pass the network; else None."""
    for served in places.served if len(value) <= _LONGEST_URL else ():
        if not value.startswith(served.url_prefix):
            continue
        rest, _, query = value[len(served.url_prefix) :].partition("#")[0].partition("?")
        try:
            parts = unquote(rest, errors="strict").split("/")
        except UnicodeDecodeError:
            return None
        if not served.authorizes(tuple(parts), query):
            return None
        if any(part in ("", ".", "..") or part.startswith(".") or "\\" in part for part in parts):
            raise MediaError(f"{describe(value)} names no file of that folder.", "Check the URL.")
        inside = AllowedFolders(None, (served.folder,))
        return LocalFile(_local(str(served.folder.joinpath(*parts)), value, inside))
    return None


def _refuse_other_schemes(value: str) -> None:
    match = _SCHEME.match(value)
    if match is None:
        return
    scheme = match[1].lower()
    if value.startswith("//", match.end()) or scheme in _BARE_SCHEMES:
        raise MediaError(f"{describe(value)}: {scheme}: addresses are not taken.", FORMS)


# --- files of this machine ------------------------------------------------------------------------


def _file_url(value: str, places: AllowedFolders) -> LocalFile:
    """RFC 8089, and the near misses that programs write: ``file://C:/x``, unescaped ``%`` or ``#``.

    The percent-decoded path counts first; the literal one only when that file does not exist.
    """
    rest = value[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if _DRIVE.match(host):  # file://C:/x and file://C:\x
            path = rest[2:]
        elif host.lower() in ("", "localhost"):
            path = slash + path
        else:
            raise _network_path(value)
    else:
        path = rest
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError as error:
        raise MediaError(
            f"{describe(value)} is not UTF-8 after percent-decoding.", "Check its spelling."
        ) from error
    spellings = [_without_slash_before_drive(text) for text in dict.fromkeys((decoded, path))]
    if not _is_absolute(spellings[0]):
        raise MediaError(f"{describe(value)} is not an absolute path.", FORMS)
    try:
        return LocalFile(_local(spellings[0], value, places))
    except MediaError:
        for spelling in spellings[1:]:
            if _exists_inside(spelling, places):
                return LocalFile(_local(spelling, value, places))
        raise


def _without_slash_before_drive(path: str) -> str:
    return path[1:] if path[:1] in ("/", "\\") and _DRIVE.match(path, 1) else path


def _exists_inside(path: str, places: AllowedFolders) -> bool:
    try:
        _local(path, path, places)
    except MediaError:
        return False
    return True


def _is_absolute(value: str) -> bool:
    return value[:1] in ("/", "\\") or _DRIVE.match(value) is not None


def _local(path: str, shown: str, places: AllowedFolders) -> Path:
    """The regular file at an absolute path, links resolved, below one of the folders.

    Whether a file exists is told only inside them.
    """
    _refuse_spelling(path, shown, windows=os.name == "nt")
    roots = _roots(places)
    try:
        real = Path(path).resolve()
        if any(real.is_relative_to(root) for root in roots):
            if stat.S_ISREG(real.stat().st_mode):
                return real
            raise MediaError(f"{describe(shown)} is not a file.", FORMS)
    except FileNotFoundError as error:
        raise MediaError(f"{describe(shown)} does not exist.", "Check the path.") from error
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, no access
        raise MediaError(f"{describe(shown)} cannot be read.", "Check the path.") from error
    raise _outside(shown, places)


def _outside(shown: str, places: AllowedFolders) -> MediaError:
    folders = [str(folder) for folder in (places.attachments, *places.allowed) if folder]
    return MediaError(
        f"{describe(shown)} is outside the folders that may be read "
        f"({', '.join(folders) or 'none is set'}).",
        "Move the file there, or add its folder to COMFYUI_ALLOWED_DIRS in config.env.",
    )


def _roots(places: AllowedFolders) -> list[Path]:
    roots = []
    for folder in (places.attachments, *places.allowed):
        if folder is not None:
            try:
                roots.append(folder.resolve())
            except (OSError, RuntimeError):
                continue
    return roots


def _refuse_spelling(path: str, shown: str, *, windows: bool) -> None:
    """Refuse what must not reach the file system: NUL, network and device paths, streams."""
    if len(path) > _LONGEST_PATH:
        raise MediaError(f"{describe(shown)} is longer than any path.", "Check the path.")
    if _CONTROL.search(path):
        raise MediaError(f"{describe(shown)} holds control characters.", "Check the path.")
    if path.replace("\\", "/").startswith("//"):
        raise _network_path(shown)
    if _DRIVE.match(path) and not windows:
        raise MediaError(
            f"{describe(shown)} is a Windows path, and this tool does not run on Windows.",
            "Give a path of the machine on which the tool runs.",
        )
    if not windows:
        if path.startswith("\\"):
            raise _network_path(shown)
        return
    if not re.match(r"[A-Za-z]:[\\/]", path):
        raise MediaError(f"{describe(shown)} has no drive letter.", "Give the whole path.")
    if ":" in path[2:] or any(is_device_name(part) for part in re.split(r"[\\/]", path[2:])):
        raise MediaError(f"{describe(shown)} names a device or a stream.", "Name a plain file.")


def _network_path(shown: str) -> MediaError:
    return MediaError(
        f"{describe(shown)} is a network or device path, which is not taken.",
        "Copy the file to this machine, or give an http(s) URL.",
    )


def _attachment(value: str, places: AllowedFolders) -> Path | None:
    """The attachments folder's file of this name, None when there is none."""
    if len(value) > _LONGEST_NAME:
        return None
    parts = re.split(r"[\\/]", value)
    if (
        places.attachments is None
        or ".." in parts
        or _CONTROL.search(value)
        or (":" in value and os.name == "nt")
        or any(is_device_name(part) for part in parts)
    ):
        return None
    for form in dict.fromkeys((value, value.replace("\\", "/"))):
        for name in dict.fromkeys(
            (form, unicodedata.normalize("NFC", form), unicodedata.normalize("NFD", form))
        ):
            file = places.attachments / name
            try:
                there = file.is_file()
            except (OSError, ValueError):  # longer than any name
                return None
            if there:
                return _local(str(file.absolute()), value, places)
    return None


# --- names at the server --------------------------------------------------------------------------


def _server_name(value: str) -> str:
    """A name below the server's input folder, with forward slashes."""
    name = value.replace("\\", "/")
    parts = name.split("/")
    if len(name) > _LONGEST_NAME or any(
        len(part.encode("utf-8", "replace")) > 255 for part in parts
    ):
        raise MediaError(
            f"A value of {_kilobytes(len(value))} is neither a file name nor a known file in base64.",
            FORMS,
        )
    if ".." in parts or "" in parts or ":" in name or _CONTROL.search(name):
        raise MediaError(f"{describe(value)} is not a plain file name.", FORMS)
    return name
