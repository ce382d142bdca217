"""Names of workflows and commands as people and other tools write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import command_names, load_workflow, settings, workflow_choice
from comfyui_pipeline.call import parse, read
from comfyui_pipeline.errors import CallError, WorkflowError
from comfyui_pipeline.workflow import graph, names, purpose_words, summary, survey
from comfyui_pipeline.workflow_catalog import Entry
from tests.workflow.offline_calls import PROJECT, StubServer, schemas

EXISTING = (
    "blur_image",
    "img2img_api",
    "invert_image",
    "resize_image",
    "text2img_api",
    "video/Z-Image_Turbo",
    "wan2.1 i2v",
    "wan2.2 i2v",
    "高清 人像",
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Text2Img API", "text2img_api"),
        ("ＴＥＸＴ２ＩＭＧ－ａｐｉ", "text2img_api"),
        ("workflows/resize_image.json", "resize_image"),
        ("C:\\ComfyUI\\workflows\\resize_image.json", "resize_image"),
        ('"resize-image"', "resize_image"),
        ("z image turbo", "video/Z-Image_Turbo"),
        ("text2img", "text2img_api"),
        ("invert", "invert_image"),
        ("wan 2.2", "wan2.2 i2v"),
        ("高清", "高清 人像"),
        ("img2imgg", "img2img_api"),
    ],
)
def test_a_name_matches_however_it_is_written(written: str, meant: str) -> None:
    assert names.match(written, EXISTING).names == (meant,)


def test_a_name_that_fits_several_workflows_is_not_decided() -> None:
    assert set(names.match("image", EXISTING).names) >= {"blur_image", "invert_image"}
    assert names.match("wan i2v", EXISTING).names == ("wan2.1 i2v", "wan2.2 i2v")


@pytest.mark.parametrize("written", ["portrait", "dance", "wan2.3 i2v", "a", "图", "", "json"])
def test_a_name_that_fits_nothing_matches_nothing(written: str) -> None:
    assert names.match(written, EXISTING).names == ()


def test_only_similar_names_are_suggested() -> None:
    assert names.similar("portrait", EXISTING) == []
    assert "img2img_api" in names.similar("img2img_v2", EXISTING)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("文生图", "text2img"),
        ("txt2img workflow", "text2img"),
        ("圖生圖", "img2img"),
        ("image-to-image", "img2img"),
        ("局部重绘", "inpaint"),
        ("放大", "upscale"),
        ("图生视频", "img2video"),
        ("first last frame", "img2video"),
        ("portrait", ""),
    ],
)
def test_words_for_a_purpose(word: str, kind: str) -> None:
    assert purpose_words.kind_of(word) == kind


@pytest.fixture
def shipped(tmp_path: Path) -> settings.Settings:
    shutil.copytree(PROJECT / "workflows", tmp_path / "workflows")
    return settings.load(tmp_path, {})


def found(call: dict[str, Any], chosen: settings.Settings) -> Any:
    server: Any = StubServer()
    return load_workflow.find(read(json.dumps(call).encode()), chosen, 1e12, server)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ({"workflow": "文生图"}, "text2img_api"),
        ({"workflow": "图生图"}, "img2img_api"),
        ({"workflow": "局部重绘"}, "inpaint_api"),
        ({"workflow": "放大"}, "upscale_api"),
        ({"workflow": "缩放"}, "resize_image"),
        ({"workflow": "反色"}, "invert_image"),
        ({"workflow": "super resolution"}, "upscale_api"),
        ({"command": "txt2img", "prompt": "a"}, "text2img_api"),
        ({"command": "resize", "image": "a.png"}, "resize_image"),
        ({"prompt": "a fox"}, "text2img_api"),
        ({"prompt": "a fox", "image": "a.png"}, "img2img_api"),
        ({"prompt": "a fox", "image": "a.png", "mask": "b.png"}, "inpaint_api"),
        ({"image": "a.png", "width": "64"}, "resize_image"),
        ({"images": ["a.png", "b.png"]}, "blend_images"),
    ],
)
def test_a_purpose_or_the_arguments_choose_a_shipped_workflow(
    shipped: settings.Settings, call: dict[str, Any], name: str
) -> None:
    assert found(call, shipped).name == name
    assert name in found(call, shipped).chosen


def test_the_default_workflow_of_the_settings_comes_first(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "workflows", tmp_path / "workflows")
    chosen = settings.load(tmp_path, {"COMFYUI_DEFAULT_WORKFLOW": "Blur Image"})
    assert found({"prompt": "a fox"}, chosen).name == "blur_image"
    assert found({"workflow": "text2img_api"}, chosen).chosen == ""


def test_strict_takes_only_exact_names(shipped: settings.Settings) -> None:
    with pytest.raises(WorkflowError, match="There is no workflow"):
        found({"workflow": "Text2Img API", "strict": True}, shipped)
    assert found({"workflow": "text2img_api", "strict": True}, shipped).name == "text2img_api"


def test_a_wrong_name_and_a_wrong_value_are_reported_together(shipped: settings.Settings) -> None:
    with pytest.raises(WorkflowError, match=r"There is no workflow 'nowhere'.*steps"):
        found({"workflow": "nowhere", "steps": "many"}, shipped)


def test_arguments_that_suit_no_kind_ask_for_a_name(shipped: settings.Settings) -> None:
    with pytest.raises(CallError, match="missing"):
        found({"image": "a.png"}, shipped)


def test_a_workflow_that_runs_is_better_than_the_shipped_one() -> None:
    base: dict[str, Any] = {"kind": "text2img", "takes": [], "most_images": 0, "count": 9}
    lacking = Entry("text2img_api", (), {**base, "missing_models": [["ckpt_name", "x"]]})
    running = Entry("mine", (), {**base, "count": 20})
    chosen = workflow_choice.best([lacking, running], ["text2img"])
    assert chosen is running
    assert workflow_choice.best([lacking], ["text2img"]) is lacking
    assert workflow_choice.best([running], ["upscale"]) is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("list_workflows", {"command": "info", "info": "workflows"}),
        ("system_stats", {"command": "info", "info": "system"}),
        ("generate", {"command": "run"}),
        ("RUN", {"command": "run"}),
        ("enqueue_workflow", {"command": "submit"}),
        ("validate", {"command": "run", "dry_run": "true"}),
        ("取消", {"command": "cancel"}),
        ("history", {"command": "info", "info": "outputs"}),
        ("dance", None),
    ],
)
def test_commands_of_other_tools_are_understood(word: str, meant: Any) -> None:
    assert command_names.replaced(word, {}) == meant


def test_an_unknown_command_lists_those_there_are(shipped: settings.Settings) -> None:
    with pytest.raises(CallError, match=r"Unknown command 'dance'\. Use one of: run"):
        found({"command": "dance"}, shipped)
    with pytest.raises(CallError, match="Did you mean submit"):
        parse(b'{"command": "sumbit", "workflow": "x"}')
    with pytest.raises(CallError, match="installs nothing"):
        parse(b'{"command": "install"}')


def test_a_shipped_workflow_whose_checkpoint_is_missing_runs_with_another() -> None:
    prompt = json.loads((PROJECT / "workflows" / "text2img_api.json").read_text("utf-8"))
    said = survey.of(graph.build(prompt, schemas()), schemas(), any_of=True, preferred="a")
    assert said["missing_models"] == []
    assert said["instead"] == [["v1-5-pruned-emaonly-fp16.safetensors", "a.safetensors"]]
    assert summary.missing(said) == ""
    assert summary.instead(said).startswith("a.safetensors instead of v1-5")
