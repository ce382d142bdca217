"""Time to bring ten 5 MB images to ComfyUI from a server that responds after 300 ms.

Measures the stage "download" (download, check, upload), without the start of Python.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.table import print_row
from devtools.isolated import project_copy, without_settings
from devtools.servers import running_server

IMAGES, ROUNDS = 10, 5
DELAY_SECONDS = 0.3
MEGABYTES = 5


def main() -> int:
    times: dict[str, list[int]] = {"uploaded": [], "written to the input folder": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder, project_copy() as project:
            for way, spent in times.items():
                base = Path(folder) / str(len(way))
                spent.append(_measure(base, project, direct=way != "uploaded"))
    print_row(f"{IMAGES} images of {MEGABYTES} MB", "median ms", "least", "most")
    for way, spent in times.items():
        print_row(way, *(f"{ms:.0f}" for ms in (statistics.median(spent), min(spent), max(spent))))
    return 0


def _measure(folder: Path, project: Path, *, direct: bool) -> int:
    """Milliseconds of the stage ``download`` of one call."""
    folder.mkdir(parents=True)
    workflow = folder / "ten.json"
    workflow.write_text(json.dumps(_ten_loaders()), "utf-8")
    environment = {**without_settings(os.environ), "COMFYUI_OUTPUT_DIR": str(folder / "out")}
    environment["DOWNLOAD_ALLOW"] = "127.0.0.1"
    command = ["-m", "embedded_comfyui", "--port", "0", "--base-directory", str(folder / "comfyui")]
    with running_server(command, environment, project) as comfyui, _Site() as site:
        environment["COMFYUI_BASE_URL"] = comfyui
        if direct:
            environment["COMFYUI_SERVER_INPUT_DIR"] = str(folder / "comfyui" / "input")
        urls = [f"{site.url}/{time.monotonic_ns()}-{number}.png" for number in range(IMAGES)]
        call = {"command": "submit", "workflow_json": _ten_loaders(), "images": urls}
        done = subprocess.run(
            [sys.executable, str(project / "comfyui_plugin.py")],
            input=json.dumps(call).encode(),
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    result = json.loads(done.stdout)["result"]
    return int(result["timings_ms"]["download"])


def _ten_loaders() -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for number in range(IMAGES):
        nodes[f"load{number}"] = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
        inputs = {"images": [f"load{number}", 0], "filename_prefix": f"bench{number}"}
        nodes[f"save{number}"] = {"class_type": "SaveImage", "inputs": inputs}
    return nodes


class _Site:
    """A web server with a different image at every URL; it responds after DELAY_SECONDS."""

    def __init__(self) -> None:
        images = [_noise() for _ in range(IMAGES)]

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                return

            def do_GET(self) -> None:
                time.sleep(DELAY_SECONDS)
                content = images[int(self.path.rpartition("-")[2].partition(".")[0])]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> _Site:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _noise() -> bytes:
    """Return a PNG of 5 MB of noise."""
    from PIL import Image

    side = int((MEGABYTES * 2**20 / 3) ** 0.5)
    buffer = io.BytesIO()
    image = Image.frombytes("RGB", (side, side), os.urandom(side * side * 3))
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
