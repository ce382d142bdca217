"""``python3 run.py demo``: start the servers, make one call as a host does, and show the result.

    --json          print the raw JSON response instead
    --keep          keep the servers running until you press Enter
    --screenshots   write docs/images/chat.png and gallery.png (needs Chromium)

Writes only into the project's output folder, and does not read the user's settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo.sample_image import HEIGHT, WIDTH, data_uri
from devtools.isolated import PROJECT, project_copy, without_settings
from devtools.servers import NotReady, running_server

CALL_SECONDS = 120
OPTIONS = ("--json", "--keep", "--screenshots")
IMAGES = PROJECT / "docs" / "images"


def main(argv: Sequence[str]) -> int:
    if unknown := [option for option in argv if option not in OPTIONS]:
        print(f"Unknown option {unknown[0]}.\n\n{__doc__}", file=sys.stderr)
        return 2
    output = PROJECT / "output"
    output.mkdir(exist_ok=True)
    with ExitStack() as servers:
        try:
            project, environment = start(servers, output)
        except NotReady as problem:
            print(problem, file=sys.stderr)
            return 1
        status = show(environment, project, raw="--json" in argv)
        if status == 0 and "--screenshots" in argv:
            status = take_screenshots(environment, project)
        if status == 0 and "--keep" in argv:
            input("The servers run until you press Enter. ")
        return status


def start(servers: ExitStack, output: Path) -> tuple[Path, dict[str, str]]:
    """Start both servers; return the project copy and the environment of a call. Raises NotReady."""
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
    project = servers.enter_context(project_copy())
    comfyui, files = (
        servers.enter_context(running_server(["-m", name, "--port", "0"], environment, project))
        for name in ("embedded_comfyui", "input_server")
    )
    environment["COMFYUI_BASE_URL"] = comfyui
    environment["FILE_SERVER_PORT"] = str(urlsplit(files).port)
    return project, environment


def show(environment: Mapping[str, str], project: Path, *, raw: bool) -> int:
    """Make the call, print what it returned and open its URL; return the exit status."""
    response = make_call(sample_call(), environment, project)
    if raw:
        print(json.dumps(response, ensure_ascii=False), flush=True)
    try:
        output, text = response["result"]["outputs"][0], response["result"]["content"][0]["text"]
    except (KeyError, IndexError):
        print(f"The call returned no image: {response.get('error', response)}", file=sys.stderr)
        return 1
    if problem := check_url(output):
        print(problem, file=sys.stderr)
        return 1
    if not raw:
        print(f"Call:   resize_image, a {WIDTH}×{HEIGHT} image to 640×400\n\n{text}\n")
        print(f"File:   {output['path']}")
        print(f"URL:    {output['url']}")
        print("        checked: it returns this image. `--keep` keeps the servers running.")
    return 0


def sample_call() -> dict[str, str]:
    call = {"workflow": "resize_image", "width": "640", "height": "400"}
    return {**call, "image": data_uri(), "maid": "demo"}


def make_call(
    call: Mapping[str, Any], environment: Mapping[str, str], project: Path
) -> dict[str, Any]:
    """Make one call as a host does; return its response."""
    done = subprocess.run(
        [sys.executable, "comfyui_plugin.py"],
        cwd=project,
        env=dict(environment),
        input=json.dumps(call).encode(),
        stdout=subprocess.PIPE,
        timeout=CALL_SECONDS,
        check=False,
    )
    response: dict[str, Any] = json.loads(done.stdout)
    return response


def check_url(output: Mapping[str, Any]) -> str | None:
    """Open the result's URL as a browser does; return what is wrong with it, or None."""
    try:
        with urllib.request.urlopen(output["url"], timeout=30) as response:  # noqa: S310
            content, kind = response.read(), response.headers["Content-Type"]
    except OSError as error:
        return f"The URL {output['url']} does not work: {error}"
    if kind != "image/png" or hashlib.sha256(content).hexdigest() != output["sha256"]:
        return f"The URL {output['url']} does not return the image ({kind}, {len(content)} bytes)."
    if struct.unpack(">II", content[16:24]) != (640, 400):
        return "The image does not have the requested size."
    return None


def take_screenshots(environment: Mapping[str, str], project: Path) -> int:
    """Make a few more results and take the screenshots of the README; return the exit status."""
    from demo import screenshots

    chromium = screenshots.find_chromium()
    if chromium is None:
        print("Chromium is not installed; the screenshots need it.", file=sys.stderr)
        return 1
    for step in range(6):
        image = data_uri(step / 6)
        for call in ({"workflow": "resize_image", "width": "480"}, {"workflow": "blur_image"}):
            make_call({**call, "image": image}, environment, project)
    call = sample_call()
    response = make_call(call, environment, project)
    output, text = response["result"]["outputs"][0], response["result"]["content"][0]["text"]
    gallery = output["url"].partition("/files/")[0] + "/gallery/output/"
    call.pop("maid")
    screenshots.take(chromium, IMAGES, call, text, gallery)
    print(f"Written: {IMAGES / 'chat.png'}, {IMAGES / 'gallery.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
