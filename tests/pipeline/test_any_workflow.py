"""Workflows of every format in the real process: the editor's, images, JSON, templates."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from comfyui_pipeline.engine.schema_cache import SchemaCache
from comfyui_pipeline.workflow import files

IMAGE = {"name": "IMAGE", "type": "IMAGE"}
EDITOR: dict[str, Any] = {
    "last_node_id": 9,
    "version": 0.4,
    "nodes": [
        {
            "id": 1,
            "type": "EmptyImage",
            "title": "$side.width Canvas",
            "outputs": [IMAGE],
            "widgets_values": [64, 32, 1, 255],
        },
        {
            "id": 2,
            "type": "Reroute",
            "inputs": [{"name": "", "type": "*", "link": 1}],
            "outputs": [IMAGE],
        },
        {
            "id": 3,
            "type": "blur-graph",
            "inputs": [{"name": "image", "type": "IMAGE", "link": 2}],
            "outputs": [IMAGE],
            "widgets_values": [3],
        },
        {
            "id": 4,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 3}],
            "widgets_values": ["ui/test"],
        },
        {"id": 7, "type": "MarkdownNote", "widgets_values": ["hello"]},
        {
            "id": 8,
            "type": "SaveImage",
            "mode": 2,
            "inputs": [{"name": "images", "type": "IMAGE", "link": None}],
            "widgets_values": ["muted"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
    "definitions": {
        "subgraphs": [
            {
                "id": "blur-graph",
                "name": "Blur it",
                "inputs": [
                    {"name": "image", "type": "IMAGE", "linkIds": [1]},
                    {"name": "blur_radius", "type": "INT", "linkIds": [2]},
                ],
                "outputs": [{**IMAGE, "linkIds": [3]}],
                "nodes": [
                    {
                        "id": 20,
                        "type": "ImageBlur",
                        "title": "Blurrer",
                        "inputs": [
                            {"name": "image", "type": "IMAGE", "link": 1},
                            {
                                "name": "blur_radius",
                                "type": "INT",
                                "widget": {"name": "blur_radius"},
                                "link": 2,
                            },
                        ],
                        "outputs": [IMAGE],
                        "widgets_values": [1, 1.0],
                    }
                ],
                "links": [
                    dict(
                        zip(
                            ("id", "origin_id", "origin_slot", "target_id", "target_slot"),
                            wire,
                            strict=True,
                        )
                    )
                    for wire in ((1, -10, 0, 20, 0), (2, -10, 1, 20, 1), (3, 20, 0, -20, 0))
                ],
            }
        ]
    },
}


@pytest.fixture
def editor(ready: Any) -> str:
    return ready.workflow("saved in the editor 工作流", EDITOR)


def written(output: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(Path(output["path"]).read_bytes()))


def test_a_workflow_saved_in_the_editor_runs(ready: Any, editor: str) -> None:
    answered = ready.call(
        {
            "workflow": editor,
            "side": "48",
            "height": "24",
            "params": [{"node_id": "3:20", "inputs": {"sigma": 2}}],
        }
    )
    (output,) = answered.result["outputs"]
    assert (output["width"], output["height"]) == (48, 24)
    changes = {(c["node_id"], c["input"]): c["value"] for c in answered.result["changes"]}
    assert changes == {("1", "width"): 48, ("1", "height"): 24, ("3:20", "sigma"): 2.0}
    chunks = written(output).info
    shown = json.loads(chunks["workflow"])
    assert [one["id"] for one in shown["nodes"]] == [one["id"] for one in EDITOR["nodes"]]
    assert shown["nodes"][0]["widgets_values"][:2] == [48, 24]
    assert json.loads(chunks["prompt"])["3:20"]["inputs"]["blur_radius"] == 3


def test_an_image_written_by_comfyui_is_loaded_as_a_workflow(
    ready: Any, editor: str, tmp_path: Path
) -> None:
    (first,) = ready.call({"workflow": editor}).result["outputs"]
    content = Path(first["path"]).read_bytes()
    attachments = tmp_path / "附件"
    attachments.mkdir()
    (attachments / "drop.png").write_bytes(content)
    (ready.folder / "workflows" / "stored.png").write_bytes(content)
    settings = {"COMFYUI_ATTACHMENTS_DIR": str(attachments)}
    for name in ("stored.png", "drop.png", (attachments / "drop.png").as_uri()):
        answered = ready.call({"workflow": name, "side": "40"}, **settings)
        assert answered.result["outputs"][0]["width"] == 40
    assert "stored.png" in ready.call({"info": "workflows"}).text


def test_a_workflow_may_be_given_in_the_call(ready: Any) -> None:
    for inline in (EDITOR, json.dumps(EDITOR)):
        answered = ready.call({"workflow_json": inline, "width": "16"})
        assert answered.result["outputs"][0]["width"] == 16
    assert "Give only one" in ready.call({"workflow": "x", "workflow_json": EDITOR}).error
    assert "not JSON" in ready.call({"workflow_json": "{"}).error


@pytest.mark.parametrize("how", [{}, {"command": "submit"}, {"dry_run": "true"}])
def test_what_has_no_place_on_the_server_is_told_in_the_first_lines(ready: Any, how: Any) -> None:
    """The workflow runs where the server would run it."""
    other = copy.deepcopy(EDITOR)
    canvas, muted = other["nodes"][0], other["nodes"][-1]
    canvas["widgets_values"] += ["warm"]
    muted["widgets_values"] += ["not run, not mentioned"]
    canvas["inputs"] = [{"name": "hue", "type": "INT", "link": 9, "widget": {"name": "hue"}}]
    other["links"].append([9, 3, 0, 1, 0, "INT"])
    answered = ready.call({"workflow_json": other, **how})
    value, link = [line for line in answered.text.splitlines()[1:4] if line.startswith("Note: ")]
    assert "Node 1 " in value
    assert '"warm"' in value
    assert "'hue'" in link
    assert "not mentioned" not in answered.text


def test_describe_is_short_and_can_be_full(ready: Any, editor: str) -> None:
    short = ready.call({"command": "describe", "workflow": editor})
    assert "- side = 64" in short.text
    assert '3:20 "Blurrer" (ImageBlur): blur_radius = 3, sigma = 1.0' in short.text
    full = ready.call({"command": "describe", "workflow": editor, "detail": "full"})
    assert "sigma (float from 0.1 to 10.0) = 1.0" in full.text
    incomplete = ready.call({"command": "describe", "workflow": "text2img_api"})
    assert "not installed" in incomplete.text
    assert incomplete.result["problems"]


def test_a_broken_branch_is_reported_and_the_rest_runs(ready: Any) -> None:
    broken = copy.deepcopy(EDITOR)
    broken["nodes"].append({"id": 30, "type": "Foreign", "outputs": [IMAGE]})
    broken["nodes"].append(
        {
            "id": 31,
            "type": "PreviewImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 9}],
        }
    )
    broken["links"].append([9, 30, 0, 31, 0, "IMAGE"])
    answered = ready.call({"workflow_json": broken})
    assert answered.text.startswith("PARTLY FAILED")
    assert "Foreign" in answered.text
    assert len(answered.result["outputs"]) == 1
    assert not answered.result["complete"]


def test_a_template_is_filled_with_the_arguments_of_the_call(ready: Any) -> None:
    nodes = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": "{{WIDTH}}", "height": 16, "batch_size": 1, "color": 0},
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": "Say {{POSITIVE_PROMPT}}"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }
    name = ready.workflow("tpl", nodes)
    assert '"prompt" (for {{POSITIVE_PROMPT}})' in ready.call({"workflow": name, "width": 8}).error
    answered = ready.call({"workflow": name, "prompt": "hi", "width": "20"})
    assert "Say hi" in answered.text
    assert any(output["width"] == 20 for output in answered.result["outputs"])


def test_a_typo_is_reported_unless_the_workflow_has_that_parameter(ready: Any, editor: str) -> None:
    assert "Did you mean" in ready.call({"workflow": editor, "promt": "x"}).text
    named = copy.deepcopy(EDITOR)
    named["nodes"][0]["title"] = "$widht.width"
    answered = ready.call({"workflow_json": named, "widht": "24"})
    assert answered.result["outputs"][0]["width"] == 24
    assert "Did you mean" not in answered.text


# -- reading ---------------------------------------------------------------------------------------

PROMPT = {"1": {"class_type": "A", "inputs": {}, "_meta": {}}}


def exif_image(form: str) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    exif[0x010F] = f"workflow:{json.dumps(EDITOR)}"
    exif[0x0110] = f"prompt:{json.dumps(PROMPT)}"
    image.save(buffer, form, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["WEBP", "JPEG"])
def test_webp_and_jpeg_contain_the_workflow_in_exif(form: str) -> None:
    found = files.from_bytes("x", exif_image(form))
    assert found.nodes == PROMPT
    assert found.ui == EDITOR


def test_a_png_may_contain_only_the_editor_document() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(EDITOR))
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    found = files.from_bytes("x", buffer.getvalue())
    assert found.nodes is None
    assert found.ui == EDITOR


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n cut", "cannot be read"),
        (exif_image("WEBP")[:40], "cannot be read"),
        (b"{", "is not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "contains no nodes"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_content_without_a_workflow_is_an_error(content: bytes, expected: str) -> None:
    with pytest.raises(files.WorkflowError, match=expected):
        files.from_bytes("x", content)


def test_the_error_of_an_image_without_a_workflow_explains_possible_reasons() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    with pytest.raises(files.WorkflowError, match="as ComfyUI saved it"):
        files.from_bytes("x", buffer.getvalue())


# -- remembered classes ----------------------------------------------------------------------------


def test_schemas_are_requested_once_and_again_when_they_may_be_stale(tmp_path: Path) -> None:
    asked: list[set[str]] = []

    def ask(names: Any) -> dict[str, Any]:
        asked.append(set(names))
        return {name: {"input": {}} for name in names if name != "Gone"}

    cache = SchemaCache(tmp_path / "sub" / "classes.json", ask)
    assert not cache.get({"A", "Gone"}).from_cache
    known = cache.get({"A", "B", "Gone"})
    assert known.from_cache == {"A"}
    assert set(known.schemas) == {"A", "B"}
    cache.refresh({"A"})
    assert asked == [{"A", "Gone"}, {"B", "Gone"}, {"A"}]
    assert cache.file is not None
    cache.file.write_text("{broken", "utf-8")
    assert not cache.get({"A"}).from_cache


def test_a_model_added_to_the_server_is_found_immediately(ready: Any, comfyui: Any) -> None:
    """A remembered class must not refuse what the server now takes."""
    name = ready.workflow(
        "plain",
        {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1},
            },
            "2": {
                "class_type": "ImageScale",
                "inputs": {
                    "image": ["1", 0],
                    "upscale_method": "area",
                    "width": 4,
                    "height": 4,
                    "crop": "disabled",
                },
            },
            "3": {
                "class_type": "SaveImage",
                "inputs": {"images": ["2", 0], "filename_prefix": "c"},
            },
        },
    )
    ready.call({"workflow": name})
    (cache_file,) = (ready.folder / ".cache").glob("classes-*.json")
    entries = json.loads(cache_file.read_text("utf-8"))
    entries["ImageScale"]["schema"]["input"]["required"]["upscale_method"][0] = ["only-this"]
    cache_file.write_text(json.dumps(entries), "utf-8")
    again = ready.call({"workflow": name})
    assert again.result["outputs"][0]["width"] == 4
    changed = [{"node_id": "2", "inputs": {"upscale_method": "bicubic"}}]
    cache_file.write_text(json.dumps(entries), "utf-8")
    assert ready.call({"workflow": name, "params": changed}).result["complete"]
