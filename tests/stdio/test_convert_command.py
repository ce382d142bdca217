"""``python comfyui_plugin.py convert`` on the command line."""

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


def test_one_file_is_written_to_stdout_without_any_package(plugin: Any, saved: Path) -> None:
    done = convert(plugin, saved, "--object-info", CLASSES)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["5"]["class_type"] == "KSampler"


@pytest.mark.parametrize("written", ["'{}'", '"{}"', "'{}"])
def test_quotes_that_a_shell_left_around_a_path_are_ignored(
    plugin: Any, saved: Path, written: str
) -> None:
    done = convert(plugin, written.format(saved), "--object-info", CLASSES)
    assert done.returncode == 0, done.stderr


def test_patterns_that_a_shell_left_are_expanded(plugin: Any, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "[2].json").write_bytes(saved.read_bytes())
    out = tmp_path / "out"
    for pattern in (tmp_path / "*.json", f"'{tmp_path}/m?*.json'", tmp_path / "[2].json"):
        done = convert(plugin, pattern, "--object-info", CLASSES, "--out-dir", out)
        assert done.returncode == 0, done.stderr
    assert {file.name for file in out.iterdir()} == {"my 工作流.api.json", "[2].api.json"}
    nothing = convert(plugin, tmp_path / "no*.json", "--object-info", CLASSES)
    assert nothing.returncode == 1
    assert b"no*.json" in nothing.stderr


def test_several_files_are_written_to_a_folder_and_an_invalid_one_is_skipped(
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


def test_the_node_types_may_come_from_a_server(plugin: Any, comfyui: Any, tmp_path: Path) -> None:
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
    ("args", "expected"),
    [
        (["no such file.json"], b"cannot be read"),
        (["a.json", "b.json"], b"--out-dir"),
        ([], b"FILE"),
    ],
)
def test_a_wrong_command_line_is_reported(plugin: Any, args: list[str], expected: bytes) -> None:
    done = convert(plugin, *args, "--object-info", CLASSES)
    assert done.returncode != 0
    assert expected in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_file_that_is_not_object_info_is_reported(plugin: Any, saved: Path) -> None:
    done = convert(plugin, saved, "--object-info", saved)
    assert done.returncode == 1
    assert b"/object_info" in done.stderr


def texts(*words: str) -> dict[str, Any]:
    """A saved workflow whose text is a random choice of these words."""
    value = "{" + "|".join(words) + "}"
    clip = {"name": "CLIP", "type": "CLIP", "links": [1]}
    nodes = [
        {"id": 1, "type": "CLIPLoader", "outputs": [clip], "widgets_values": ["a"]},
        {
            "id": 2,
            "type": "CLIPTextEncode",
            "inputs": [{"name": "clip", "type": "CLIP", "link": 1}],
            "widgets_values": [value],
        },
    ]
    return {"nodes": nodes, "links": [[1, 1, 0, 2, 0, "CLIP"]], "version": 0.4}


SCHEMAS: dict[str, Any] = {
    "CLIPLoader": {"input": {"required": {"name": [["a", "b"]]}}, "output": ["CLIP"]},
    "CLIPTextEncode": {
        "input": {
            "required": {
                "text": ["STRING", {"multiline": True, "dynamicPrompts": True}],
                "clip": ["CLIP"],
            }
        },
        "output": ["CONDITIONING"],
        "output_node": True,
    },
}


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    path = tmp_path / "object_info.json"
    path.write_text(json.dumps(SCHEMAS), "utf-8-sig")
    return path


def test_a_seed_gives_the_same_random_choices_and_defaults_to_0(
    plugin: Any, schemas: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "choices.json"
    saved.write_text(json.dumps(texts(*map(str, range(1000)))), "utf-8")

    def chosen_text(*more: str) -> str:
        done = convert(plugin, saved, "--object-info", schemas, *more)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["2"]["inputs"]["text"])

    assert chosen_text() == chosen_text("--seed", "0") != chosen_text("--seed", "1")


def test_the_output_is_indented_json_without_escapes(
    plugin: Any, schemas: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "图.json"
    saved.write_text(json.dumps(texts("狐狸")), "utf-8")
    done = convert(plugin, saved, "--object-info", schemas)
    text = done.stdout.decode()
    assert '\n  "1": {' in text
    assert "狐狸" in text
    assert text.endswith("}\n")
    convert(plugin, saved, "--object-info", schemas, "--out-dir", tmp_path / "out")
    assert (tmp_path / "out" / "图.api.json").read_text("utf-8") == text


def test_an_unknown_node_type_is_named_and_the_rest_is_converted(
    plugin: Any, tmp_path: Path
) -> None:
    saved, schemas = tmp_path / "a.json", tmp_path / "b.json"
    saved.write_text(json.dumps(texts("x")), "utf-8")
    schemas.write_text(json.dumps({"CLIPLoader": SCHEMAS["CLIPLoader"]}), "utf-8")
    done = convert(plugin, saved, "--object-info", schemas)
    assert done.returncode == 0
    assert b"a.json: node" in done.stderr
    assert b"its node type is not in --object-info" in done.stderr


def test_a_prompt_is_unchanged_and_a_folder_is_an_error(
    plugin: Any, schemas: Path, tmp_path: Path
) -> None:
    prompt = {"1": {"class_type": "A", "inputs": {"x": 1}, "_meta": {"title": "t"}}}
    saved = tmp_path / "a.json"
    saved.write_text(json.dumps(prompt), "utf-8")
    done = convert(plugin, saved, "--object-info", schemas)
    assert json.loads(done.stdout) == prompt
    folder = convert(plugin, tmp_path, "--object-info", schemas)
    assert (folder.returncode, folder.stdout) == (1, b"")
    assert b"cannot be read" in folder.stderr


@pytest.mark.parametrize("content", ["[1]", "{", '{"A": 1}', "[" * 100_000])
def test_other_json_is_not_accepted_as_object_info(
    plugin: Any, saved: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "odd.json").write_text(content, "utf-8")
    done = convert(plugin, saved, "--object-info", tmp_path / "odd.json")
    assert done.returncode == 1
    assert b"is not the response of a server" in done.stderr


def test_an_image_needs_packages(plugin: Any, schemas: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    done = convert(plugin, tmp_path / "a.png", "--object-info", schemas)
    assert done.returncode == 1
    assert b"lacks requests" in done.stderr
    with_packages = convert(plugin, tmp_path / "a.png", "--object-info", schemas, isolated=False)
    assert with_packages.returncode == 1
    assert b"a.png" in with_packages.stderr


def test_the_server_is_the_configured_one_or_a_url_of_object_info(
    plugin: Any, comfyui: Any, tmp_path: Path
) -> None:
    saved = tmp_path / "a.json"
    node = {"id": 1, "type": "EmptyImage", "widgets_values": [9, 8, 1, 0]}
    saved.write_text(json.dumps({"nodes": [node], "links": []}), "utf-8")
    (plugin.folder / "config.env").write_text(f"COMFYUI_BASE_URL={comfyui.url}", "utf-8")
    for more in ((), ("--object-info", f"{comfyui.url}/object_info")):
        done = convert(plugin, saved, *more, isolated=False)
        assert json.loads(done.stdout)["1"]["inputs"]["width"] == 9, done.stderr
