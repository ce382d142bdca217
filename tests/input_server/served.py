"""A file server that is called without sockets (used by tests here)."""

from __future__ import annotations

from pathlib import Path

from input_server import urls
from input_server.http.handler import FileServer
from input_server.http.request import HttpRequest
from input_server.http.response import HttpResponse
from input_server.settings import Config, read
from tests.input_server.gallery_harness import KEY

FILES = f"/comfyui_server/pw={KEY}/files"
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Served:
    """A file server with a mount ``m``. Calling it returns a response, whose file is released."""

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

    def __call__(self, path: str, method: str = "GET", **headers: str) -> HttpResponse:
        """``path``: a file of the mount, or a complete target; ``_`` in header names means ``-``."""
        target = path if path.startswith("/") else f"{FILES}/m/{path}"
        named = {name.lower().replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(
            method, urls.parse(target), urls.parse_query(target), named, "127.0.0.1"
        )
        reply = self.server.answer(request)
        if reply.file is not None:
            self.server.files.release(reply.file)
        return reply
