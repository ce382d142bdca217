"""A killed call leaves no partial file."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.waiting import TIMEOUT

KILLS, GROUPS = 120, 8
MAX_SECONDS = 0.6
"""Seconds; a full call takes less."""


def noise() -> bytes:
    """A unique image of one megabyte."""
    buffer = io.BytesIO()
    pixels = random.randbytes(600 * 600 * 3)
    Image.frombytes("RGB", (600, 600), pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_killed_call_leaves_no_partial_file(ready: Any, comfyui: Any, group: int) -> None:
    """Half of the calls write into the server's input folder, half upload their image."""
    placed = Path(comfyui.base) / "input" / "comfyui-plugin"
    own = {"COMFYUI_SERVER_INPUT_DIR": str(placed.parent)} if group % 2 else {}
    before = set(files_in(placed))
    name = ready.workflow(
        "killed",
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
            "2": {
                "class_type": "SaveImage",
                "inputs": {"images": ["1", 0], "filename_prefix": "k"},
            },
        },
    )
    for _ in range(KILLS // GROUPS):
        picture = base64.b64encode(noise()).decode()
        process = ready.start({"workflow": name, "image": picture}, **own)
        try:
            process.wait(random.uniform(0.1, MAX_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate(timeout=TIMEOUT)
    for path in files_in(ready.output):
        assert path.name.startswith("k_")
        with Image.open(path) as image:
            image.load()
    for path in set(files_in(placed)) - before:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name.startswith(digest[:32])
