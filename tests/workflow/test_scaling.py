"""``scale`` in workflows that have no factor of their own."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import patch, scaling
from tests.workflow.offline_calls import node
from tests.workflow.prompts import SCHEMAS, build_graph, prompt_with_swapped_titles

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"


def shipped(name: str) -> Any:
    return json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))


def with_models(*names: str) -> Any:
    schemas = copy.deepcopy({k: SCHEMAS[k] for k in SCHEMAS})
    schemas["UpscaleModelLoader"]["input"]["required"]["model_name"] = [list(names)]
    return schemas


def scaled(nodes: Any, factor: float, schemas: Any = SCHEMAS, **call: Any) -> tuple[Any, Any]:
    """The patched prompt, and the notes."""
    read = parse(json.dumps({"workflow_json": nodes, "scale": factor, **call}).encode())
    place = scaling.place_in(build_graph(nodes, schemas), factor)
    if place:
        added = scaling.add(nodes, place, lambda: schemas)
        assert added is not None
        nodes = added[0]
    planned = patch.plan(build_graph(nodes, schemas), read, read.shortcuts, random_seed=1)
    return patch.apply(nodes, planned.changes), planned.notes


@pytest.mark.parametrize(("model", "by"), [("RealESRGAN_x4plus.pth", 0.5), ("2xFoo.pth", 1.0)])
def test_what_a_fixed_upscale_model_gives_is_scaled_to_the_factor(model: str, by: float) -> None:
    nodes = shipped("upscale_api")
    nodes["2"]["inputs"]["model_name"] = model
    prompt, notes = scaled(nodes, 2, with_models("RealESRGAN_x4plus.pth", "2xFoo.pth"))
    added = [n for n in prompt.values() if n["class_type"] == "ImageScaleBy"]
    if by == 1:
        assert not added
        assert notes == ("The upscale model enlarges 2 times by itself.",)
    else:
        assert added[0]["inputs"] == {
            "upscale_method": "lanczos",
            "scale_by": by,
            "image": ["3", 0],
        }
        assert "enlarges 4 times" in notes[0]


def test_the_factor_of_the_model_that_stands_in_counts() -> None:
    prompt, _ = scaled(shipped("upscale_api"), 3, with_models("2x-other.pth"))
    assert [n["inputs"]["scale_by"] for n in prompt.values() if "scale_by" in n["inputs"]] == [1.5]


def test_a_model_whose_name_says_no_factor_is_an_error() -> None:
    nodes = shipped("upscale_api")
    nodes["2"]["inputs"]["model_name"] = "best.pth"
    with pytest.raises(PatchError, match="does not say how many times"):
        scaled(nodes, 2, with_models("best.pth"))


def test_a_factor_takes_the_place_of_a_size_in_pixels() -> None:
    prompt, _ = scaled(shipped("resize_image"), 1.5)
    assert "2" not in prompt
    added = next(i for i, n in prompt.items() if n["class_type"] == "ImageScaleBy")
    assert prompt[added]["inputs"]["scale_by"] == 1.5
    assert prompt[added]["inputs"]["image"] == ["1", 0]
    assert prompt["3"]["inputs"]["images"] == [added, 0]


def test_a_factor_and_a_side_contradict_each_other() -> None:
    with pytest.raises(PatchError, match='"scale" and "width" contradict'):
        scaled(shipped("resize_image"), 2, width=64)


def test_generated_images_need_no_node_to_be_scaled() -> None:
    prompt, _ = scaled(prompt_with_swapped_titles(), 2)
    assert prompt["4"]["inputs"]["width"] == 1024


def test_a_server_without_a_scaling_node_adds_none() -> None:
    nodes = shipped("resize_image")
    place = scaling.place_in(build_graph(nodes), 2)
    assert place is not None
    assert scaling.add(nodes, place, lambda: {"ImageScale": SCHEMAS["ImageScale"]}) is None


def test_a_resizer_that_something_else_reads_stays() -> None:
    nodes = shipped("resize_image")
    nodes["9"] = node("PreviewImage", images=["2", 0])
    place = scaling.place_in(build_graph(nodes), 2)
    assert place is not None
    added = scaling.add(nodes, place, lambda: SCHEMAS)
    assert added is not None
    assert added[0]["9"]["inputs"]["images"] == added[0]["3"]["inputs"]["images"]


def img2img() -> Any:
    return shipped("img2img_api")


@pytest.mark.parametrize(
    ("call", "added"),
    [
        ({"size": "320x448"}, {"width": 320, "height": 448}),
        ({"width": 320}, {"width": 320, "height": 0}),
    ],
)
def test_the_image_that_a_workflow_generates_from_is_resized(call: Any, added: Any) -> None:
    nodes = img2img()
    place = scaling.input_in(build_graph(nodes))
    assert place is not None
    found = scaling.add(nodes, place, lambda: SCHEMAS, "size")
    assert found is not None
    read = parse(json.dumps({"workflow_json": nodes, **call}).encode())
    planned = patch.plan(build_graph(found[0]), read, read.shortcuts, random_seed=1)
    prompt = patch.apply(found[0], planned.changes)
    (new,) = (i for i, n in prompt.items() if n["class_type"] == "ImageScale")
    assert added.items() <= prompt[new]["inputs"].items()
    assert prompt[new]["inputs"]["crop"] == "center"
    assert [new, 0] in [v for n in prompt.values() for v in n["inputs"].values()]


@pytest.mark.parametrize("name", ["inpaint_api", "blur_image", "text2img_api", "resize_image"])
def test_masked_processed_and_sized_images_keep_their_size(name: str) -> None:
    assert scaling.input_in(build_graph(shipped(name))) is None


def test_an_image_that_is_scaled_on_its_way_keeps_the_workflows_size() -> None:
    nodes = img2img()
    (encode,) = (n for n in nodes.values() if n["class_type"] == "VAEEncode")
    nodes["50"] = node(
        "ImageScaleToTotalPixels",
        image=encode["inputs"]["pixels"],
        upscale_method="area",
        megapixels=1.0,
    )
    encode["inputs"]["pixels"] = ["50", 0]
    assert scaling.input_in(build_graph(nodes)) is None
