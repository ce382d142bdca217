"""``run.py demo`` as a new user sees it, but with the packages of the test's own Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("comfyui_pipeline", "embedded_comfyui", "input_server", "demo", "workflows")


def test_the_demo_shows_a_picture_and_fetches_it_by_its_url(tmp_path: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, tmp_path / name)
    for name in ("comfyui_plugin.py", "plugin-manifest.json"):
        shutil.copy(PROJECT / name, tmp_path)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COMFYUI_", "FILE_SERVER_"))}
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    (output,) = json.loads(done.stdout)["result"]["outputs"]
    assert (output["width"], output["height"]) == (640, 400)
    assert Path(output["path"]).parent == tmp_path / "output"
