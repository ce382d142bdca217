"""A mount, and the responses to requests for it, without sockets (used by tests here)."""

from __future__ import annotations

from pathlib import Path

from input_server import urls
from input_server.http.handler import FileServer
from input_server.http.request import HttpRequest
from input_server.http.response import HttpResponse
from input_server.settings import Config, read
from tests.input_server.gallery_harness import KEY

HOUR, DAY = 3600.0, 24 * 3600.0
FILES = f"/comfyui_server/pw={KEY}/files"
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Served:
    """A mount ``m``, and what requests for it are answered; files are closed at once."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder / "m"
        self.folder.mkdir(exist_ok=True)
        given = {
            "COMFYUI_ACCESS_KEY": KEY,
            "COMFYUI_MOUNTS": f"m:{self.folder}",
            "COMFYUI_MOUNTS_FILE": str(folder / "mounts.json"),
            "INPUT_SERVER_CACHE_DIR": str(folder / "copies"),
            **settings,
        }
        self.config: Config = read(given, folder)
        self.server = FileServer(self.config)

    def __call__(self, below: str, method: str = "GET", **headers: str) -> HttpResponse:
        """``below``: a file of the mount, or a complete target; ``_`` for ``-`` in header names."""
        target = below if below.startswith("/") else f"{FILES}/m/{below}"
        named = {name.lower().replace("_", "-"): value for name, value in headers.items()}
        asked = HttpRequest(
            method, urls.parse(target), urls.parse_query(target), named, "127.0.0.1"
        )
        reply = self.server.answer(asked)
        if reply.file is not None:
            self.server.files.release(reply.file)
        return reply
