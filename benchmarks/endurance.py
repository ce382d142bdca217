"""Many parallel calls, some of them killed, and a killed worker of the file server.

Every call inverts an image of its own; the result is fetched from the file server and compared pixel
by pixel. At the end nothing may be left over: no partial file, temp file, process or queued job.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image, ImageChops

from benchmarks import process_memory
from benchmarks.table import print_row
from devtools.isolated import project_copy, without_settings
from devtools.servers import running_server

CALLS, TOGETHER, EVERY = 300, 6, 7
"""Calls, how many run at a time, and which of them are killed."""
SIDE = 320
LONGEST = 1.5
"""Seconds within which a call that is to be killed is killed; it takes about as long."""
ROUNDING = 1
"""By how much a sample may differ: ComfyUI cuts its floats off (nodes.py, SaveImage)."""
TRIES = 5
SEED = 13


@dataclass(frozen=True, slots=True)
class Setup:
    """``folder`` is what calls and servers write into; ``environment`` is that of a call."""

    project: Path
    folder: Path
    environment: Mapping[str, str]

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"


def main() -> int:
    if not Path("/proc/self/status").is_file():
        print("This bench reads /proc; run it on Linux.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        setup, comfyui, server = _setup(Path(name), stack)
        workers = process_memory.children(server)
        victim = min(workers)
        with ThreadPoolExecutor(TOGETHER) as pool:
            verdicts = pool.map(lambda number: _call(setup, number, victim), range(CALLS))
            counted = Counter(verdicts)
        counted["wrong"] += _broken(setup.output)
        left = [*_left(setup), *_waiting(comfyui), *_processes(server, workers - {victim})]
        checked = counted["right"] + counted["wrong"]
        print_row("", "calls killed", "outputs", "wrong", "left over")
        cells = (counted["killed"], checked, counted["wrong"], len(left))
        print_row(f"{CALLS} calls, {TOGETHER} at a time", *map(str, cells))
        for one in left:
            print(f"  {one}")
    return 1 if counted["wrong"] or left or counted["right"] < CALLS * 5 // 7 else 0


def _setup(folder: Path, stack: ExitStack) -> tuple[Setup, str, int]:
    """The servers; gives ComfyUI's address and the process id of the file server."""
    project = stack.enter_context(project_copy())
    environment = {
        **without_settings(os.environ),
        "COMFYUI_OUTPUT_DIR": str(folder / "output"),
        "COMFYUI_MOUNTS": f"output:{folder / 'output'}",
        "COMFYUI_ACCESS_KEY": "bench-key-of-the-endurance",
        "FILE_SERVER_ACCESS_KEY": "bench-key-of-the-endurance",
        "INPUT_SERVER_WORKERS": "2",
        "INPUT_SERVER_CACHE_DIR": str(folder / "copies"),
    }
    for inside in ("output", "temporary", "comfyui"):
        (folder / inside).mkdir()
    embedded = ["-m", "embedded_comfyui", "--port", "0", "--base-directory"]
    comfyui = stack.enter_context(
        running_server([*embedded, str(folder / "comfyui")], environment, project)
    )
    before = process_memory.children(os.getpid())
    files = stack.enter_context(
        running_server(["-m", "input_server", "--port", "0"], environment, project)
    )
    server = next(iter(process_memory.children(os.getpid()) - before))
    environment["TMPDIR"] = str(folder / "temporary")
    environment["COMFYUI_BASE_URL"] = comfyui
    environment["FILE_SERVER_PORT"] = str(urlsplit(files).port)
    return Setup(project, folder, environment), comfyui, server


def _call(setup: Setup, number: int, victim: int) -> str:
    """One call: ``right``, ``wrong``, or ``killed``. The one in the middle kills the worker too."""
    image = _image(number)
    call = {"workflow": "invert_image", "image": _uri(image), "return_image": "none"}
    child = subprocess.Popen(
        [sys.executable, str(setup.project / "comfyui_plugin.py")],
        env=dict(setup.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    doomed = number % EVERY == EVERY - 1
    timeout = random.Random(f"{SEED} {number}").uniform(0.1, LONGEST) if doomed else None
    try:
        answer, _ = child.communicate(json.dumps(call).encode(), timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return "killed"
    if number == CALLS // 2 and sys.platform != "win32":
        os.kill(victim, signal.SIGKILL)
    return "right" if _is_right(answer, image) else "wrong"


def _image(number: int) -> Image.Image:
    """Noise that no other call has."""
    pixels = random.Random(f"{SEED} image {number}").randbytes(SIDE * SIDE * 3)
    return Image.frombytes("RGB", (SIDE, SIDE), pixels)


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _is_right(answer: bytes, image: Image.Image) -> bool:
    """Whether the answer names one file, and the file server gives it, complete and inverted."""
    try:
        (output,) = json.loads(answer)["result"]["outputs"]
        content = _fetched(output["url"])
        with Image.open(io.BytesIO(content)) as got:
            difference = ImageChops.difference(got.convert("RGB"), ImageChops.invert(image))
    except (KeyError, ValueError, OSError) as problem:
        print(f"wrong: {problem!r}: {answer[:300]!r}", file=sys.stderr)
        return False
    same = hashlib.sha256(content).hexdigest() == output["sha256"]
    return same and max(difference.tobytes()) <= ROUNDING


def _fetched(url: str) -> bytes:
    """A file in full. A connection that breaks is tried again, as a browser's reader would; a short
    body that claims to be complete is not noticed here, but by who compares it.
    """
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
                content: bytes = answer.read()
                return content
        except (OSError, HTTPException):
            if attempt == TRIES - 1:
                raise
            time.sleep(0.2)
    raise OSError(f"{url} does not open")


def _broken(folder: Path) -> int:
    """How many stored files are no complete images; those of killed calls are among them."""
    wrong = 0
    for file in (path for path in folder.rglob("*.png") if path.is_file()):
        try:
            with Image.open(file) as image:
                image.load()
        except (OSError, SyntaxError):
            wrong += 1
    return wrong


def _left(setup: Setup) -> Iterator[str]:
    """Files that are no results and no inputs."""
    for path in setup.temporary.rglob("*"):
        yield f"temporary file {path.relative_to(setup.folder)}"
    for path in setup.output.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            yield f"file {path.relative_to(setup.folder)}"
    for path in (setup.folder / "comfyui" / "input").rglob("*.png"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.parent.name == "comfyui-plugin" and not path.name.startswith(digest[:32]):
            yield f"part of an input {path.relative_to(setup.folder)}"


def _waiting(comfyui: str) -> Iterator[str]:
    """Jobs that are still in the queue after it had time to finish them."""
    for _ in range(100):
        with urllib.request.urlopen(f"{comfyui}/queue", timeout=30) as answer:  # noqa: S310
            queue = json.load(answer)
        jobs = [*queue["queue_running"], *queue["queue_pending"]]
        if not jobs:
            return
        time.sleep(0.1)
    yield from (f"job {job[1]}" for job in jobs)


def _processes(server: int, survivors: set[int]) -> Iterator[str]:
    """Workers that are missing or too many, and calls that still run."""
    workers = process_memory.children(server)
    if not survivors <= workers:
        yield "a worker that was not killed has ended"
    if len(workers) != len(survivors) + 1:
        yield f"{len(workers)} workers of the file server instead of {len(survivors) + 1}"
    for process in process_memory.children(os.getpid()):
        command = Path(f"/proc/{process}/cmdline").read_bytes()
        if b"comfyui_plugin.py" in command:
            yield f"process {process}"
