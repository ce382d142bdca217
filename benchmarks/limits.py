"""Peak memory and time of a call and of a file server worker, with expensive input.

Each call is a process of its own; its peak memory is what the system counted, its time is from start
to end, and what it computed of that, which has the limit, since other work slows it down. Exit status
1 where anything is over its limit. Needs Linux.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import process_memory
from benchmarks.fake_comfyui import FakeComfyUI, run_fake_comfyui
from benchmarks.heavy_files import GRAY, gif, png
from benchmarks.slow_readers import slow_readers
from benchmarks.table import print_row
from devtools.isolated import project_copy, without_settings
from devtools.servers import running_server
from input_server.auth import signing

CALL_MB, WORKER_MB, READERS_MB = 500.0, 300.0, 150.0
CALL_SECONDS, TEXT_SECONDS, FETCH_MS = 15.0, 2.0, 50.0
ANSWER_KB = 20.0
READERS = 600
SETTLE_SECONDS = 3.0
HANGS_SECONDS = 30.0
"""After which a call that has not answered is ended."""
FETCHES = 50
SMALL = "small.png"
KEY = "bench-key-of-the-limits"

_IMAGE: Mapping[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One call. ``outputs`` and ``answers`` are those of the stand-in; ``status``: how the call has to
    end ("" where an error is as good as a result); ``seconds``: how long it may compute.
    """

    name: str
    call: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None
    answers: Mapping[str, Iterator[bytes]] | None = None
    status: str = "success"
    seconds: float = CALL_SECONDS


def main() -> int:
    if not Path("/proc/self/status").is_file():
        print("This bench reads /proc; run it on Linux.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base = Path(folder)
        project = stack.enter_context(project_copy())
        heavy = _heavy(base / "heavy")
        print_row("a call", "peak MB", "seconds", "CPU seconds", "text KB")
        fine = [_call(case, base, project, heavy) for case in _cases(heavy)]
        print()
        print_row("a worker of the file server", "peak MB", "seconds")
        fine += _worker(base, project, heavy)
        print()
        print_row(f"{READERS} slow readers of a signed link", "MB over idle", "others' ms")
        fine += _readers(base, project)
    return 0 if all(fine) else 1


def _heavy(folder: Path) -> dict[str, Path]:
    """Each of them is small, and all but one are large once they are decoded."""
    folder.mkdir()
    files = {
        name: folder / name
        for name in ("deep.png", "gray16.png", "huge.png", "many.gif", "wide.gif", SMALL)
    }
    png(files["deep.png"], 8000, depth=16)
    png(files["gray16.png"], 8000, depth=16, colour=GRAY)
    png(files["huge.png"], 13_000, depth=8)
    png(files[SMALL], 64, depth=8)
    gif(files["many.gif"], 8000, 60)
    gif(files["wide.gif"], 30_000, 2)
    return files


def _cases(heavy: Mapping[str, Path]) -> Iterator[Case]:
    yield from _long_texts()
    saved = _images(["deep.png"])
    for name, file in heavy.items():
        if name == SMALL:
            continue
        uri = f"data:image/x;base64,{base64.b64encode(file.read_bytes()).decode()}"
        call = {"workflow_json": _IMAGE, "image": uri}
        yield Case(f"input {name}", call, saved, status="")
        yield Case(f"input {name}, max_side", {**call, "max_side": "512"}, saved, status="")
        yield Case(f"result {name}", {"workflow_json": _IMAGE}, _images([name]))
    yield Case("200 images", {"workflow_json": _IMAGE}, _images(["small.png"] * 200))
    endless = {"/object_info/SaveImage": _endless()}
    yield Case("a server's JSON without an end", {"workflow_json": _IMAGE}, saved, endless, "error")
    shown = {"workflow_json": _shown("a fox")}
    yield Case("300 KB of text from a node", shown, _texts("word " * 60_000))
    encoded = base64.b64encode(heavy["deep.png"].read_bytes()).decode()
    yield Case("base64 from a node", shown, _texts(encoded))


def _long_texts() -> Iterator[Case]:
    """Texts of a megabyte that patterns like to try again and again."""
    text = _texts("a fox")
    for name, piece in (("blanks", " "), ("/*a", "/*a"), ("{{a", "{{a"), ("(a|b", "(a|b")):
        workflow = _shown(f"a\n{piece * (2**20 // len(piece))}!")
        yield Case(f"1 MB of {name}", {"workflow_json": workflow}, text, seconds=TEXT_SECONDS)
    for name, value in (
        ("image", f"a\n{' ' * 2**20}!"),
        ("prompt", "<lora:" * 170_000),
        ("params", "[{" * 2**19),
    ):
        call: dict[str, Any] = {"workflow_json": _shown("a fox"), name: value}
        if name == "image":
            call["workflow_json"] = _IMAGE
        yield Case(f"1 MB as {name}", call, text, status="", seconds=TEXT_SECONDS)
    yield Case("2,000 LoRAs, added", _many_loras(), text)


def _shown(text: str) -> dict[str, Any]:
    return {"1": {"class_type": "ShowText", "inputs": {"text": text}}}


def _many_loras() -> dict[str, Any]:
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "model.safetensors"}}
    words = {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["1", 1]}}
    shown = {"class_type": "ShowAny", "inputs": {"value": ["2", 0]}}
    model = {"class_type": "ShowAny", "inputs": {"value": ["1", 0]}}
    return {
        "workflow_json": {"1": loader, "2": words, "3": shown, "4": model},
        "loras": ",".join(["style:0.5"] * 2000),
        "lora_nodes": "add",
    }


def _images(names: list[str]) -> dict[str, Any]:
    entries = [
        {"filename": name, "subfolder": f"s{at}" if at else "", "type": "output"}
        for at, name in enumerate(names)
    ]
    return {"2": {"images": entries}}


def _texts(text: str) -> dict[str, Any]:
    return {"1": {"text": [text]}}


def _endless() -> Iterator[bytes]:
    yield b'{"x": "'
    while True:
        yield b"x" * 2**20


def _call(case: Case, base: Path, project: Path, heavy: Mapping[str, Path]) -> bool:
    """Make one call, print its line; whether all of it is within the limits."""
    fake = FakeComfyUI(case.outputs or {}, heavy, case.answers or {})
    with run_fake_comfyui(fake) as url, tempfile.TemporaryDirectory(dir=base) as output:
        environment = {
            **without_settings(os.environ),
            "COMFYUI_BASE_URL": url,
            "COMFYUI_OUTPUT_DIR": output,
            "FILE_SERVER_ACCESS_KEY": KEY,
        }
        cost, answer = _measured(project, case.call, environment)
    status, text = _read(answer)
    size = len(text.encode()) / 1024
    fine = cost.peak <= CALL_MB and cost.computed <= case.seconds and 0 < size <= ANSWER_KB
    cells = [f"{cost.peak:.0f}", *(f"{n:.1f}" for n in (cost.seconds, cost.computed, size))]
    print_row(case.name, *cells, note=_note(fine))
    if case.status not in ("", status):
        print(f"  ended in {status or 'nothing'}: {text[:300]}", flush=True)
        return False
    return fine


def _measured(
    project: Path, call: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[process_memory.Usage, bytes]:
    """What a call cost, and what was answered."""
    command = [sys.executable, str(project / "comfyui_plugin.py")]
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
        stdin.write(json.dumps(call).encode())
        stdin.seek(0)
        usage = process_memory.run(command, environment, stdin, stdout, HANGS_SECONDS)
        stdout.seek(0)
        return usage, stdout.read()


def _read(answer: bytes) -> tuple[str, str]:
    """The status of an answer and what an AI reads of it; twice "" where there was none."""
    try:
        envelope = json.loads(answer)
    except ValueError:
        return "", ""
    if envelope["status"] == "error":
        return "error", str(envelope["error"])
    content = envelope["result"]["content"]
    return "success", "\n".join(part["text"] for part in content if part["type"] == "text")


@contextmanager
def _file_server(base: Path, project: Path, mount: Path) -> Iterator[tuple[str, list[int]]]:
    """Run it for one mount ``m``; gives its address and the process ids of it and its worker."""
    environment = {
        **without_settings(os.environ),
        "COMFYUI_MOUNTS": f"m:{mount}",
        "COMFYUI_OUTPUT_DIR": str(mount),
        "COMFYUI_OUTPUT_MOUNT": "m",
        "COMFYUI_ACCESS_KEY": KEY,
        "INPUT_SERVER_CACHE_DIR": str(base / "copies"),
    }
    before = process_memory.children(os.getpid())
    with running_server(["-m", "input_server", "--port", "0"], environment, project) as url:
        server = next(iter(process_memory.children(os.getpid()) - before))
        yield url, [server, *process_memory.children(server)]


def _worker(base: Path, project: Path, heavy: Mapping[str, Path]) -> Iterator[bool]:
    """Thumbnails of all heavy files, eight requests at a time."""
    mount = next(iter(heavy.values())).parent
    with (
        _file_server(base, project, mount) as (url, processes),
        ThreadPoolExecutor(8) as clients,
    ):
        for side in (320, 1024):
            begun = time.perf_counter()
            urls = [f"{_address(url, name)}&w={side}" for name in heavy for _ in range(2)]
            statuses = Counter(clients.map(_fetch, urls))
            seconds = time.perf_counter() - begun
            peak = max(map(process_memory.peak, processes))
            counts = ", ".join(f"{many} x {status}" for status, many in sorted(statuses.items()))
            fine = peak <= WORKER_MB
            name = f"thumbnails of {side}: {counts}"
            print_row(name, f"{peak:.0f}", f"{seconds:.1f}", note=_note(fine))
            yield fine


def _readers(base: Path, project: Path) -> Iterator[bool]:
    mount = base / "m"
    mount.mkdir()
    (mount / "large.bin").write_bytes(os.urandom(2**20) * 64)
    (mount / "small.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(20_000))
    for ranges in (True, False):
        with _file_server(base, project, mount) as (url, processes):
            small = _address(url, "small.png")
            _fetch(small)
            idle = process_memory.used(processes)
            with slow_readers(_address(url, "large.bin"), READERS, ranges=ranges) as readers:
                time.sleep(SETTLE_SECONDS)
                above = process_memory.used(processes) - idle
                milliseconds = statistics.median(_fetch_times(small)) * 1000
        fine = above <= READERS_MB and milliseconds <= FETCH_MS
        what = f"{'byte ranges' if ranges else 'files'}, {readers.refused} refused"
        print_row(what, f"{above:.0f}", f"{milliseconds:.1f}", note=_note(fine))
        yield fine


def _address(url: str, name: str) -> str:
    """A signed link to a file of the mount."""
    query = signing.query(KEY, "files", "m", (name,), int(time.time()) + 3600)
    return f"{url}/comfyui_server/files/m/{name}?{query}"


def _fetch(address: str) -> int:
    """The status of the answer, once all of it is here."""
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def _fetch_times(address: str) -> list[float]:
    times = []
    for _ in range(FETCHES):
        begun = time.perf_counter()
        _fetch(address)
        times.append(time.perf_counter() - begun)
    return times


def _note(fine: bool) -> str:
    return "" if fine else "OVER THE LIMIT"
