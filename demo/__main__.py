"""``python3 run.py demo``: the servers, one call as a host makes it, and a look at the result.

Only the result is put into the project's folder. What has been set for real calls is not read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import struct
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devtools.isolated import PROJECT, project_copy, without_settings
from devtools.servers import NotReady, running_server

CALL_SECONDS = 120
SIDE = 256


def main(argv: Sequence[str]) -> int:
    output = PROJECT / "output"
    output.mkdir(exist_ok=True)
    key = secrets.token_urlsafe(12)
    environment = {
        **without_settings(os.environ),
        "COMFYUI_MOUNTS": f"output:{output}",
        "COMFYUI_ACCESS_KEY": key,
        "FILE_SERVER_ACCESS_KEY": key,
        "FILE_SERVER_PUBLIC_IP": "127.0.0.1",
        "COMFYUI_OUTPUT_DIR": str(output),
        "COMFYUI_OUTPUT_MOUNT": "output",
    }
    with ExitStack() as servers:
        try:
            project = servers.enter_context(project_copy())
            comfyui, files = (
                servers.enter_context(
                    running_server(["-m", name, "--port", "0"], environment, project)
                )
                for name in ("embedded_comfyui", "input_server")
            )
        except NotReady as problem:
            print(problem, file=sys.stderr)
            return 1
        environment["COMFYUI_BASE_URL"] = comfyui
        environment["FILE_SERVER_PORT"] = str(urlsplit(files).port)
        status = show(environment, project)
        if "--keep" in argv and status == 0:
            input("The servers stay up until you press Enter. ")
        return status


def show(environment: dict[str, str], project: Path) -> int:
    """Make the call, print its JSON, fetch the URL in it; 0 when all of that went well."""
    call = {
        "workflow": "resize_image",
        "image": drawn_picture(),
        "width": "640",
        "height": "400",
        "maid": "demo",
    }
    done = subprocess.run(
        [sys.executable, "comfyui_plugin.py"],
        cwd=project,
        env=environment,
        input=json.dumps(call).encode(),
        stdout=subprocess.PIPE,
        timeout=CALL_SECONDS,
        check=False,
    )
    print(done.stdout.decode("utf-8").rstrip(), flush=True)
    try:
        output = json.loads(done.stdout)["result"]["outputs"][0]
    except (ValueError, KeyError, IndexError):
        print("The call gave no picture.", file=sys.stderr)
        return 1
    problem = trouble_with(output)
    if problem:
        print(problem, file=sys.stderr)
        return 1
    if sys.stdout.isatty():
        print(f"A {SIDE}×{SIDE} picture went through a ComfyUI workflow and came back as 640×400.")
        print(f"It lies at {output['path']}")
        print(f"{output['url']} opens it (`python3 run.py demo --keep` keeps the servers up).")
    return 0


def trouble_with(output: dict[str, Any]) -> str | None:
    """Open the result's URL as a browser would; what is wrong with it, or None."""
    try:
        with urllib.request.urlopen(output["url"], timeout=30) as answer:  # noqa: S310
            content, kind = answer.read(), answer.headers["Content-Type"]
    except OSError as error:
        return f"The URL {output['url']} does not open: {error}"
    if kind != "image/png" or hashlib.sha256(content).hexdigest() != output["sha256"]:
        return f"The URL {output['url']} does not give the picture ({kind}, {len(content)} bytes)."
    if struct.unpack(">II", content[16:24]) != (640, 400):
        return "The picture does not have the size that was asked for."
    return None


def drawn_picture() -> str:
    """A small PNG of two colours running into each other, as a ``data:`` URI."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(SIDE) for v in (x, y, 255 - (x + y) // 2))
        for y in range(SIDE)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
