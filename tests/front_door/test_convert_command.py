"""``python comfyui_plugin.py convert`` as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import TIMEOUT

DATA = Path(__file__).resolve().parents[1] / "data" / "conversion"
CLASSES = DATA / "classes-0.8.0.json"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "my 工作流.json"
    small = json.loads((DATA / "small_workflows.json").read_text("utf-8"))
    path.write_text(json.dumps(small["syn-base"]), "utf-8")
    return path


def convert(plugin: Any, *args: Any, isolated: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [
            sys.executable,
            *(["-S"] if isolated else []),
            "comfyui_plugin.py",
            "convert",
            *map(str, args),
        ],
        cwd=plugin.folder,
        env=dict(plugin.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_one_file_goes_to_stdout_and_needs_no_package(plugin: Any, saved: Path) -> None:
    done = convert(plugin, saved, "--object-info", CLASSES)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["5"]["class_type"] == "KSampler"


def test_several_files_go_into_a_folder_and_a_bad_one_stops_no_other(
    plugin: Any, saved: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{", "utf-8")
    out = tmp_path / "new" / "folder"
    done = convert(plugin, bad, saved, "--object-info", CLASSES, "--out-dir", out)
    assert done.returncode == 1
    assert b"bad.json" in done.stderr
    assert done.stdout == b""
    assert [path.name for path in out.iterdir()] == ["my 工作流.api.json"]


def test_the_classes_may_come_from_a_server(plugin: Any, comfyui: Any, tmp_path: Path) -> None:
    saved = tmp_path / "a.json"
    image = {"name": "IMAGE", "type": "IMAGE"}
    nodes = [
        {"id": 1, "type": "EmptyImage", "outputs": [image], "widgets_values": [9, 8, 1, 0]},
        {"id": 2, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}]},
    ]
    saved.write_text(json.dumps({"nodes": nodes, "links": [[1, 1, 0, 2, 0, "IMAGE"]]}), "utf-8")
    done = convert(plugin, saved, "--object-info", comfyui.url, isolated=False)
    assert json.loads(done.stdout)["1"]["inputs"]["width"] == 9
    assert json.loads(done.stdout)["2"]["inputs"]["filename_prefix"] == "ComfyUI"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["no such file.json"], b"cannot be read"),
        (["a.json", "b.json"], b"--out-dir"),
        ([], b"FILE"),
    ],
)
def test_what_is_wrong_with_the_command_is_told(plugin: Any, args: list[str], told: bytes) -> None:
    done = convert(plugin, *args, "--object-info", CLASSES)
    assert done.returncode != 0
    assert told in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_file_that_is_no_object_info_is_told(plugin: Any, saved: Path) -> None:
    done = convert(plugin, saved, "--object-info", saved)
    assert done.returncode == 1
    assert b"/object_info" in done.stderr
