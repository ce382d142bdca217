"""Parse a caller's string into the source of an input file. Nothing is read or fetched here.

Later stages receive the Source and never the string: its ``shown`` is what errors and logs print.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from input_server.light_dataclasses import dataclass, field

from ..errors import MediaError
from . import allowed_folders, inline_data
from .allowed_folders import AllowedFolders
from .host_files import attachment_name
from .redact import CONTROL_CHARACTERS, kilobytes, public_url, shown_value
from .written_sources import bare_source

FORMS = (
    "Give an http(s) URL, a data: URI, base64 text, a file:// URL or absolute path in an allowed "
    "folder, the name of a file in the attachments folder, of one in the server's input folder, or of a "
    'result, the prompt id of a job, or "last" for the result of the last job.'
)

_MAX_URL_CHARACTERS = 16_384  # servers accept about 8,000
_MAX_NAME_CHARACTERS = 1024
_MAX_PART_BYTES = 255  # one segment of a path, on every usual file system
_HOME = ("~/", "~\\")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_SCHEMES_WITHOUT_SLASHES = frozenset(
    {"about", "blob", "cid", "content", "javascript", "mailto", "urn"}
)


@dataclass(frozen=True, slots=True)
class Url:
    """An http(s) URL, not yet checked or fetched."""

    url: str = field(repr=False)
    shown: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Inline:
    """A file that the call itself contains, decoded."""

    content: bytes = field(repr=False)
    shown: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file in an allowed folder; symlinks are resolved."""

    path: Path
    shown: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file of the server's input folder, ``sub/name.png``; it may not exist.

    ``sub/name.png [output]`` is one of its output folder. ``attachments``: the attachments folder, in
    which there is no such file. ``fetched``: its content is read and placed as that of any other
    source; otherwise the server reads it where it is. ``exists``: the server has said that it does.
    """

    name: str
    shown: str = field(default="", compare=False)
    attachments: Path | None = field(default=None, compare=False)
    fetched: bool = False
    exists: bool = field(default=False, compare=False)


Source = Url | Inline | LocalFile | ServerFile


def parse_source(value: str, folders: AllowedFolders) -> Source:
    """Return the source that ``value`` names.

    Raises MediaError for an unknown form, a path outside the allowed folders, invalid base64, or
    inline data above ``inline_data.MAX_BYTES``.
    """
    value = value.strip()
    if not value:
        raise MediaError("The name of the file is empty.", FORMS)
    value = bare_source(value)
    if is_explicit(value):
        return _explicit(value, folders)
    _reject_other_schemes(value)
    shown = shown_value(value)
    if (path := allowed_folders.find_attachment(value, shown, folders)) is not None:
        return LocalFile(path, shown)
    if (content := inline_data.decode_base64_file(value)) is not None:
        return Inline(content, inline_data.shown_base64(value))
    allowed_folders.reject_folder_name(value, shown, folders)
    return ServerFile(_server_name(value), shown, folders.attachments)


def parse_workflow_source(value: str, folders: AllowedFolders) -> Source | None:
    """Return the source of a workflow that is not in the workflows folder; None for a plain name.

    A plain name counts only as the name of an attachment. Raises as ``parse_source`` does.
    """
    value = bare_source(value)
    if is_explicit(value):
        return _explicit(value, folders)
    shown = shown_value(value)
    try:
        path = allowed_folders.find_attachment(value, shown, folders)
    except MediaError:
        return None
    return LocalFile(path, shown) if path is not None else None


def is_explicit(value: str) -> bool:
    """Whether a value says by its beginning that it is a URL, a data: URI or an absolute path."""
    value = value.lstrip()
    start = value[:8].lower()
    return start.startswith(
        ("http://", "https://", "data:", "file:", *_HOME)
    ) or allowed_folders.is_absolute(value)


def _explicit(value: str, folders: AllowedFolders) -> Source:
    start = value[:8].lower()
    if start.startswith("data:"):
        return Inline(inline_data.decode_data_uri(value), inline_data.shown_data_uri(value))
    if start.startswith(("http://", "https://")):
        own = _own_file(value, folders) or _host_file(value, folders)
        return own or _server_file(value, folders) or _url(value)
    if start.startswith("file:"):
        shown = shown_value(value)
        return LocalFile(_local(value, shown, folders, allowed_folders.resolve_file_url), shown)
    # every JPEG begins with "/9j/" in base64
    if value.startswith("/") and (content := inline_data.decode_base64_file(value)) is not None:
        return Inline(content, inline_data.shown_base64(value))
    shown = shown_value(value)
    if value.startswith(_HOME):
        value = _in_home(value)
    return LocalFile(_local(value, shown, folders, allowed_folders.resolve), shown)


def _local(
    value: str,
    shown: str,
    folders: AllowedFolders,
    resolve: Callable[[str, str, AllowedFolders], Path],
) -> Path:
    """The file of a path or ``file:`` URL; where that may not be read, the image of the host or the
    attachment that it names on another machine. Raises MediaError.
    """
    try:
        return resolve(value, shown, folders)
    except MediaError:
        for path in _elsewhere(value, folders):
            try:
                return allowed_folders.resolve(str(path), shown, folders)
            except MediaError:
                continue
        raise


def _elsewhere(value: str, folders: AllowedFolders) -> Iterator[Path]:
    """Where the file of a path may be that the host or the chat program wrote."""
    image = folders.host.image_of_file_url(value) if folders.host else None
    if image is not None:
        yield image
    path = unquote(value) if value[:5].lower() == "file:" else value
    name = attachment_name(path)
    if name is None or ".." in name.split("/") or ":" in name or CONTROL_CHARACTERS.search(name):
        return
    for folder in (folders.attachments, *(folders.host.attachments if folders.host else ())):
        if folder is not None:
            yield folder / name


def _in_home(value: str) -> str:
    """The absolute path of ``~/name``; unchanged where the user has no home folder."""
    try:
        return str(Path(value.replace("~\\", "~/", 1)).expanduser())
    except RuntimeError:
        return value


def _url(value: str) -> Url:
    shown = public_url(value)
    if len(value) > _MAX_URL_CHARACTERS:
        raise MediaError(
            f"{shown} is longer than {_MAX_URL_CHARACTERS} characters.", "Check its spelling."
        )
    try:
        host = urlsplit(value).hostname
    except ValueError:
        host = None
    if not host or CONTROL_CHARACTERS.search(value):
        raise MediaError(f"{shown} is not a valid URL.", "Check its spelling.")
    return Url(value, shown)


def _own_file(value: str, folders: AllowedFolders) -> LocalFile | None:
    """The file behind a URL of our own file server, read without the network; None for other URLs."""
    if len(value) > _MAX_URL_CHARACTERS:
        return None
    for served in folders.served:
        if not value.startswith(served.url_prefix):
            continue
        rest, _, query = value[len(served.url_prefix) :].partition("#")[0].partition("?")
        try:
            parts = unquote(rest, errors="strict").split("/")
        except UnicodeDecodeError:
            return None
        if not served.authorizes(tuple(parts), query):
            return None
        shown = public_url(value)
        if any(part in ("", ".", "..") or part.startswith(".") or "\\" in part for part in parts):
            raise MediaError(f"{shown} is not the URL of a file in its folder.", "Check the URL.")
        inside = AllowedFolders(None, (served.folder,))
        path = allowed_folders.resolve(str(served.folder.joinpath(*parts)), shown, inside)
        return LocalFile(path, shown)
    return None


def _host_file(value: str, folders: AllowedFolders) -> LocalFile | None:
    """The file behind a URL of the host's file server; None for other URLs."""
    found = folders.host.file_of(value) if folders.host else None
    if found is None:
        return None
    root, path = found
    shown = public_url(value)
    inside = AllowedFolders(None, shown=(root,))
    return LocalFile(allowed_folders.resolve(str(path), shown, inside), shown)


def _server_file(value: str, folders: AllowedFolders) -> ServerFile | None:
    """The file behind a URL of the configured ComfyUI server, which is asked for it with its login;
    None for other URLs.
    """
    file = folders.server.file_of(value) if folders.server else None
    if file is None:
        return None
    name, _, kind = file.rpartition(" ")
    name = _server_name(name)
    shown = shown_value(name)
    return ServerFile(name, shown) if kind == "[input]" else ServerFile(file, shown, fetched=True)


def _reject_other_schemes(value: str) -> None:
    match = _SCHEME.match(value)
    if match is None:
        return
    scheme = match[1].lower()
    if value.startswith("//", match.end()) or scheme in _SCHEMES_WITHOUT_SLASHES:
        shown = public_url(value) if "://" in value else shown_value(value)
        raise MediaError(f"{shown} has the scheme {scheme}:, which is not supported.", FORMS)


def _server_name(value: str) -> str:
    """A name in the server's input folder, with forward slashes."""
    name = value.replace("\\", "/")
    parts = name.split("/")
    if len(name) > _MAX_NAME_CHARACTERS or any(
        len(part.encode("utf-8", "replace")) > _MAX_PART_BYTES for part in parts
    ):
        raise MediaError(
            f"A value of {kilobytes(len(value))} is neither a file name nor base64 text of a known "
            "file type.",
            FORMS,
        )
    if ".." in parts or "" in parts or ":" in name or CONTROL_CHARACTERS.search(name):
        raise MediaError(f"{shown_value(value)} is not a plain file name.", FORMS)
    return name
