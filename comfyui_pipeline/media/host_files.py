"""Files of the program that runs this plugin, by the URLs and paths under which it shows them.

VCPToolBox serves ``image`` and ``file`` of its folder as ``/pw=<key>/images/…`` and
``/pw=<key>/files/…`` (Plugin/ImageFileServer) and passes port and keys to its plugins. A URL with
the right port and key is read from these folders, without the network.
"""

from __future__ import annotations

import hmac
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from input_server.light_dataclasses import dataclass, field

from ..errors import MediaError
from .redact import CONTROL_CHARACTERS, public_url
from .server_files import is_loopback, same_host

MAX_URL_CHARACTERS = 16_384
IMAGES = "image"
FILES = "file"
SECTIONS = {"images": IMAGES, "image": IMAGES, "files": FILES, "file": FILES}
"""First part of a URL's path after the key -> folder; the host redirects the singular."""
_FILE_URL = re.compile(r"file://([^/\\?#@]*)/image/(.+)", re.IGNORECASE | re.DOTALL)
_ATTACHMENT = re.compile(
    r"(?:^|.*[\\/])AppData[\\/]UserData[\\/]attachments[\\/](.+)", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class HostFiles:
    """The host's folder and how its file server is reached. ``host``: its name in URLs, besides the
    names of this machine; ``port``: 0 where it is unknown; an empty key opens nothing.
    """

    folder: Path
    host: str = ""
    port: int = 0
    image_key: str = field(default="", repr=False)
    file_key: str = field(default="", repr=False)
    attachments: tuple[Path, ...] = ()  # of the chat program beside it

    @property
    def images(self) -> Path:
        return self.folder / IMAGES

    def file_of(self, url: str) -> tuple[Path, Path] | None:
        """The folder and the file of one of its URLs; None for any other URL, also for one with a
        wrong key. Raises MediaError for a path that names no file below the folder.
        """
        if len(url) > MAX_URL_CHARACTERS or "\\" in url or CONTROL_CHARACTERS.search(url):
            return None
        try:
            parts = urlsplit(url)
            port = parts.port or 80
            _, key, section, *names = (unquote(p, errors="strict") for p in parts.path.split("/"))
        except ValueError:
            return None
        if "@" in parts.netloc or parts.scheme != "http" or not self.port or port != self.port:
            return None
        folder = SECTIONS.get(section)
        if folder is None or not self._is_own(parts.hostname or "") or not self._opens(key, folder):
            return None
        root = self.folder / folder
        return root, _below(root, names, public_url(url))

    def image_of_file_url(self, value: str) -> Path | None:
        """The image of ``file://<host>/image/…``, which may not exist; None for another value."""
        match = _FILE_URL.fullmatch(value)
        if match is None or (match[1] and not self._is_own(match[1])):
            return None
        try:
            return _below(self.images, unquote(match[2], errors="strict").split("/"), "")
        except (UnicodeDecodeError, MediaError):
            return None

    def _is_own(self, host: str) -> bool:
        return is_loopback(host.strip("[]").lower()) or same_host(host, self.host)

    def _opens(self, segment: str, folder: str) -> bool:
        """Whether ``pw=<key>`` has the key of a folder; compared in constant time."""
        key = self.image_key if folder == IMAGES else self.file_key
        start, _, given = segment.partition("=")
        same = hmac.compare_digest(given.encode("utf-8", "replace"), key.encode("utf-8", "replace"))
        return bool(key) and start == "pw" and same


def attachment_name(path: str) -> str | None:
    """The name below ``AppData/UserData/attachments`` of a path on any machine; None for others."""
    match = _ATTACHMENT.fullmatch(path)
    return match[1].replace("\\", "/") if match else None


def _below(root: Path, names: list[str], shown: str) -> Path:
    """A file below a folder by its decoded names. Raises MediaError for names that lead elsewhere."""
    if not names or any(
        name[:1] in ("", ".") or "/" in name or "\\" in name or CONTROL_CHARACTERS.search(name)
        for name in names
    ):
        raise MediaError(f"{shown} is not the URL of a file in its folder.", "Check the URL.")
    return root.joinpath(*names)
