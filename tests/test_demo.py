"""``run.py demo`` and ``bench`` in a checkout with settings that would break them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import isolated
from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parent.parent
HOSTILE = {
    "FILE_SERVER_BASE_URL": "https://files.example.com",
    "FILE_SERVER_URL_STYLE": "host",
    "INPUT_SERVER_OFFLOAD": "x-accel:/elsewhere",
    "INPUT_SERVER_DENY_FILE": "/nowhere",
    "COMFYUI_RETURN_IMAGE": "no such word",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a harmful ``config.env``, and the input folder of a ComfyUI next to it."""
    folder = isolated.copy_project(tmp_path / "checkout")
    for name in ("demo", "benchmarks", "devtools"):
        shutil.copytree(PROJECT / name, folder / name)
    (tmp_path / "input").mkdir()
    given = {**HOSTILE, "COMFYUI_SERVER_INPUT_DIR": str(tmp_path / "input")}
    text = "".join(f"{name}={value}\n" for name, value in given.items())
    (folder / "config.env").write_text(text, "utf-8")
    (folder / "input_server" / "config.env").write_text(text, "utf-8")
    (folder / "mounts.json").write_text("no JSON", "utf-8")
    return folder


def run(checkout: Path, *command: str) -> str:
    """Run Python and return its stdout. Asserts that the temporary folder is empty afterwards."""
    temporary = checkout.parent / "temporary"
    temporary.mkdir()
    environment = {**os.environ, **HOSTILE}
    environment.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)))
    done = subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    assert list((checkout.parent / "input").iterdir()) == []
    return done.stdout


def test_the_demo_prints_the_text_the_url_and_the_file(checkout: Path) -> None:
    shown = run(checkout, "-m", "demo")
    assert "http://127.0.0.1:" in shown
    assert str(checkout / "output") in shown
    assert "base64" not in shown
    assert len(shown) < 2000


def test_the_demo_returns_an_image_whose_url_works(checkout: Path) -> None:
    before = {path.name for path in checkout.iterdir()}
    (output,) = json.loads(run(checkout, "-m", "demo", "--json"))["result"]["outputs"]
    assert (output["width"], output["height"]) == (640, 400)
    assert Path(output["path"]).parent == checkout / "output"
    assert {path.name for path in checkout.iterdir()} - before == {"output"}


@pytest.mark.parametrize(
    ("name", "expected"), [("calls", "plugin, a trivial run"), ("inputs", "10 images")]
)
def test_a_benchmark_runs_with_any_settings(checkout: Path, name: str, expected: str) -> None:
    code = f"from benchmarks import {name} as b; b.ROUNDS = b.MEGABYTES = 1; raise SystemExit(b.main())"
    assert expected in run(checkout, "-c", code)


def test_without_settings_removes_every_setting() -> None:
    examples = [
        PROJECT / name for name in ("config.env.example", "input_server/config.env.example")
    ]
    text = "".join(path.read_text("utf-8") for path in examples)
    names = [*re.findall(r"^(\w+)=", text, re.MULTILINE), "PROJECT_BASE_PATH"]
    assert len(names) > 40
    assert isolated.without_settings({**dict.fromkeys(names, "x"), "PATH": "x"}) == {"PATH": "x"}
