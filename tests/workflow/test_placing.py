"""Sizes, durations, image roles, and keys that are no argument, placed in workflows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import extra_images, patch
from comfyui_pipeline.workflow.changes import Plan
from tests.workflow.offline_calls import node
from tests.workflow.prompts import SCHEMAS, build_graph, prompt_with_swapped_titles

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"


def resize() -> Any:
    return json.loads((WORKFLOWS / "resize_image.json").read_text("utf-8"))


def two_passes() -> Any:
    nodes = prompt_with_swapped_titles()
    nodes["8"] = node(
        "LatentUpscale",
        samples=["5", 0],
        upscale_method="area",
        width=1024,
        height=1024,
        crop="disabled",
    )
    nodes["9"] = {**nodes["5"], "inputs": {**nodes["5"]["inputs"], "latent_image": ["8", 0]}}
    nodes["6"]["inputs"]["samples"] = ["9", 0]
    return nodes


def video() -> Any:
    return {
        "1": node("LoadImage", "b", image="a.png"),
        "2": node("LoadImage", "a", image="b.png"),
        "3": node(
            "WanFirstLastFrameToVideo",
            width=832,
            height=480,
            length=81,
            batch_size=1,
            start_image=["2", 0],
            end_image=["1", 0],
        ),
        "4": node("VAEDecode", samples=["3", 2]),
        "5": node("CreateVideo", images=["4", 0], fps=16.0),
        "6": node("SaveVideo", video=["5", 0], filename_prefix="v", format="auto", codec="auto"),
    }


def plan(nodes: Any, **call: Any) -> Plan:
    read = parse(json.dumps({"workflow_json": nodes, **call}).encode())
    return patch.plan(build_graph(nodes), read, read.shortcuts, random_seed=9)


def changed(nodes: Any, **call: Any) -> dict[str, Any]:
    changes = plan(nodes, **call).changes
    return {f"{c.target.node.id}.{c.target.name}": c.value for c in changes if c.source != "drawn"}


def test_one_side_of_a_resized_image_leaves_the_other_to_its_ratio() -> None:
    assert changed(resize(), width="64") == {"2.width": 64, "2.height": 0}
    assert changed(resize(), height="64") == {"2.width": 0, "2.height": 64}


def test_one_side_of_a_generated_image_keeps_the_ratio_of_the_workflow() -> None:
    nodes = prompt_with_swapped_titles()
    nodes["4"]["inputs"]["height"] = 768
    assert changed(nodes, width="256") == {"4.width": 256, "4.height": 384}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"size": "640x384"}, (640, 384)),
        ({"aspect_ratio": "16:9"}, (680, 384)),
        ({"size": "portrait"}, (416, 624)),
        ({"width": 640, "aspect_ratio": "2:1"}, (640, 320)),
        ({"scale": 2}, (1024, 1024)),
    ],
)
def test_sizes_are_set_as_the_caller_thinks_of_them(given: Any, expected: tuple[int, int]) -> None:
    found = changed(prompt_with_swapped_titles(), **given)
    assert (found["4.width"], found["4.height"]) == expected


def test_a_size_sets_the_first_pass_and_scales_the_second() -> None:
    planned = plan(two_passes(), size="384x512", seed=3)
    found = {f"{c.target.node.id}.{c.target.name}": c.value for c in planned.changes}
    assert (found["4.width"], found["4.height"]) == (384, 512)
    assert (found["8.width"], found["8.height"]) == (768, 1024)
    assert any("first pass" in note for note in planned.notes)
    assert any("same seed" in note for note in planned.notes)


def test_a_size_that_contradicts_a_side_is_an_error() -> None:
    with pytest.raises(PatchError, match='"size" and "width" contradict'):
        plan(resize(), size="64x64", width=32)


def test_seconds_become_frames_on_the_steps_of_the_model() -> None:
    assert changed(video(), duration="3s") == {"3.length": 49}
    assert changed(video(), duration=2, fps=24) == {"3.length": 49, "5.fps": 24.0}
    assert changed(video(), frames=33) == {"3.length": 33}


def test_a_duration_without_frames_per_second_asks_for_frames() -> None:
    nodes = video()
    nodes["5"] = node("SaveImage", images=["4", 0], filename_prefix="v")
    del nodes["6"]
    with pytest.raises(PatchError, match='Give "frames"'):
        plan(nodes, duration=3)


def test_images_go_where_their_roles_are_whatever_the_nodes_order() -> None:
    named = changed(video(), start_image="s.png", end_image="e.png")
    assert named == {"2.image": "s.png", "1.image": "e.png"}
    assert changed(video(), images=["s.png", "e.png"]) == named
    assert changed(video(), image="s.png") == {"2.image": "s.png"}
    parts = {c.part for c in plan(video(), images=["s.png", "e.png"]).changes}
    assert parts == {"start image", "end image"}


def test_an_unknown_key_sets_the_only_input_of_its_name() -> None:
    assert changed(resize(), **{"Upscale-Method": "area"}) == {"2.upscale_method": "area"}


def test_an_unknown_key_sets_the_node_of_its_title() -> None:
    assert changed(resize(), Input_Image="cat.png") == {"1.image": "cat.png"}
    assert changed(resize(), Resize={"width": 5, "height": 6}) == {"2.width": 5, "2.height": 6}


def test_a_file_under_an_unknown_key_goes_to_the_only_free_file_input() -> None:
    planned = plan(resize(), my_holiday="https://example.org/a.jpg")
    assert [c.value for c in planned.changes] == ["https://example.org/a.jpg"]
    assert "my_holiday" in planned.guesses[0]


def test_a_file_without_a_place_is_an_error() -> None:
    with pytest.raises(PatchError, match='"my_holiday"'):
        plan(prompt_with_swapped_titles(), my_holiday="https://example.org/a.jpg")


def test_a_key_without_effect_is_reported_with_the_nearest_argument() -> None:
    planned = plan(resize(), widht=3, zzz=4)
    assert len(planned.important) == 2
    assert 'Did you mean "width"' in planned.important[0]
    assert "Did you mean" not in planned.important[1]


def test_mistakes_in_planning_are_reported_together() -> None:
    with pytest.raises(PatchError) as error:
        plan(resize(), steps=3, negative_prompt="x", Resize={"nothing": 1})
    assert all(word in str(error.value) for word in ("steps", "negative_prompt", "nothing"))


def test_strength_without_a_controlnet_is_the_denoise_of_an_image() -> None:
    nodes = prompt_with_swapped_titles()
    nodes["10"] = node("LoadImage", image="a.png")
    nodes["4"] = node("VAEEncode", pixels=["10", 0], vae=["1", 2])
    planned = plan(nodes, strength=0.5)
    assert [(c.target.name, c.value) for c in planned.changes][:1] == [("denoise", 0.5)]
    assert "denoise" in planned.notes[0]


def test_a_parameter_in_a_title_takes_precedence_over_an_alias() -> None:
    nodes = resize()
    nodes["2"]["_meta"]["title"] = "$n.width"
    assert changed(nodes, N=77) == {"2.width": 77}


def test_a_third_image_is_linked_to_a_free_input_of_both_encoders() -> None:
    nodes = {
        "1": node("LoadImage", image="a.png"),
        "2": node("TextEncodeQwenImageEditPlus", prompt="p", image1=["1", 0]),
        "3": node("TextEncodeQwenImageEditPlus", prompt="", image1=["1", 0]),
    }
    patched = extra_images.add_loaders(nodes, build_graph(nodes), SCHEMAS, 2)
    assert patched is not None
    for encoder in ("2", "3"):
        assert patched[encoder]["inputs"]["image2"] == ["4", 0]
        assert patched[encoder]["inputs"]["image3"] == ["5", 0]
    assert extra_images.add_loaders(nodes, build_graph(nodes), SCHEMAS, 3) is None


def test_more_images_grow_the_inputs_of_a_node_that_takes_any_number() -> None:
    nodes = {
        "1": node("LoadImage", image="a.png"),
        "2": node("BatchImagesNode", **{"images.image0": ["1", 0]}),
        "3": node("SaveImage", images=["2", 0], filename_prefix="x"),
    }
    kind = {
        "required": {
            "images": [
                "COMFY_AUTOGROW_V3",
                {
                    "template": {
                        "input": {"required": {"image": ["IMAGE", {}]}},
                        "prefix": "image",
                        "min": 1,
                        "max": 3,
                    }
                },
            ]
        }
    }
    schemas = {**SCHEMAS, "BatchImagesNode": {"input": kind, "output": ["IMAGE"]}}
    graph = build_graph(nodes, schemas)
    patched = extra_images.add_loaders(nodes, graph, schemas, 2)
    assert patched is not None
    linked = patched["2"]["inputs"]
    assert (linked["images.image1"], linked["images.image2"]) == (["4", 0], ["5", 0])
    assert extra_images.add_loaders(nodes, graph, schemas, 3) is None


def blend() -> Any:
    return json.loads((WORKFLOWS / "blend_images.json").read_text("utf-8"))


BLEND = {
    "input": {
        "required": {
            "image1": ["IMAGE"],
            "image2": ["IMAGE"],
            "blend_factor": ["FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0}],
            "blend_mode": [["normal", "multiply"]],
        }
    },
    "output": ["IMAGE"],
}


def plan_blend(**call: Any) -> Plan:
    nodes = blend()
    read = parse(json.dumps({"workflow_json": nodes, **call}).encode())
    graph = build_graph(nodes, {**SCHEMAS, "ImageBlend": BLEND})
    return patch.plan(graph, read, read.shortcuts, random_seed=9)


def test_a_key_sets_the_only_input_whose_last_word_it_is() -> None:
    planned = plan_blend(images=["a.png", "b.png"], mode="multiply", factor="0.3")
    found = {c.target.name: c.value for c in planned.changes}
    assert (found["blend_mode"], found["blend_factor"]) == ("multiply", 0.3)
    assert any("blend_mode" in guess for guess in planned.guesses)


def test_a_last_word_with_a_value_that_is_no_choice_is_reported() -> None:
    planned = plan_blend(images=["a.png", "b.png"], mode="fast")
    assert '"mode" was ignored' in planned.important[0]


def test_a_counted_image_is_no_start_image() -> None:
    planned = plan_blend(images=["a.png", "b.png"])
    assert {c.part for c in planned.changes} == {"First Image", "Second Image"}
    frames = {
        "1": node("LoadImage", "First Frame", image="a.png"),
        "2": node("PreviewImage", images=["1", 0]),
    }
    assert {c.part for c in plan(frames, image="b.png").changes} == {"start image"}


def test_one_image_where_two_are_needed_names_both() -> None:
    with pytest.raises(PatchError, match=r'takes 2 images.*"images".*First.*Second'):
        plan_blend(image="a.png")


@pytest.mark.parametrize(("saved", "works"), [("example.png", True), ("photo.png", False)])
def test_one_image_goes_first_where_the_others_are_optional(saved: str, works: bool) -> None:
    nodes = {
        "1": node("LoadImage", image="example.png"),
        "2": node("LoadImage", image=saved),
        "3": node("TextEncodeQwenImageEditPlus", prompt="p", image1=["1", 0], image2=["2", 0]),
        "4": node("KSampler", positive=["3", 0]),
        "5": node("PreviewAny", source=["4", 0]),
    }
    if works:
        assert changed(nodes, image="a.png")["1.image"] == "a.png"
    else:
        with pytest.raises(PatchError, match="takes 2 images"):
            plan(nodes, image="a.png")


def test_numbered_prompts_of_one_workflow_are_an_error_that_says_how() -> None:
    with pytest.raises(PatchError, match=r'"prompt1", "prompt2".*"workflow1", "prompt1"'):
        plan(prompt_with_swapped_titles(), prompt1="a", prompt2="b")


def test_a_key_with_the_number_of_a_part_is_placed_or_reported_once() -> None:
    call = {"workflow1": "a", "workflow2": "b", "upscale_method1": "area", "nothing2": "3"}
    parts = parse(json.dumps(call).encode()).parts
    plans = [
        patch.plan(build_graph(resize()), part, part.shortcuts, random_seed=9) for part in parts
    ]
    assert [c.value for c in plans[0].changes] == ["area"]
    assert plans[0].important == ()
    assert plans[1].changes == ()
    assert plans[1].important == ('"nothing2" was ignored: it has no effect here.',)


def test_a_name_of_the_authors_that_ends_in_a_number_is_not_cut() -> None:
    nodes = resize()
    nodes["2"]["_meta"]["title"] = "$method_1.upscale_method"
    call = {"workflow1": "a", "workflow2": "b", "method_1": "area"}
    first, second = parse(json.dumps(call).encode()).parts
    for part in (first, second):
        planned = patch.plan(build_graph(nodes), part, part.shortcuts, random_seed=9)
        assert [c.value for c in planned.changes] == ["area"]
        assert planned.important == ()


@pytest.mark.parametrize(
    ("call", "sides"),
    [
        ({"left": "100", "right": "100"}, {"left": 100, "right": 100, "top": 0, "bottom": 0}),
        ({"feathering": "9"}, {}),
    ],
)
def test_sides_of_a_border_that_a_call_does_not_name_get_none(call: Any, sides: Any) -> None:
    nodes = json.loads((WORKFLOWS / "outpaint_canvas.json").read_text("utf-8"))
    planned = plan(nodes, **call)
    found = {c.target.name: c.value for c in planned.changes if c.target.name != "feathering"}
    assert found == sides
    assert [note for note in planned.notes if "top and bottom set to 0" in note] == (
        list(planned.notes) if sides else []
    )


def test_a_size_with_another_ratio_gives_the_area() -> None:
    found = changed(prompt_with_swapped_titles(), size="512x512", aspect_ratio="4:1")
    assert (found["4.width"], found["4.height"]) == (1024, 256)
    with pytest.raises(PatchError, match='"width" and "aspect_ratio" contradict'):
        plan(prompt_with_swapped_titles(), width=512, height=512, aspect_ratio="4:1")


def test_a_workflow_without_a_size_names_the_input_that_decides_it() -> None:
    nodes = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("ImageScaleToTotalPixels", image=["1", 0], upscale_method="area", megapixels=0.1),
        "3": node("PreviewImage", images=["2", 0]),
    }
    with pytest.raises(PatchError, match=r'"width" and "height".*megapixels = 0\.1 \(node 2'):
        plan(nodes, width=128, height=64)
    nodes["3"]["inputs"]["images"] = ["1", 0]
    with pytest.raises(PatchError, match="resize_image"):
        plan(nodes, width=128)


def test_frames_that_differ_from_the_duration_are_explained() -> None:
    assert "steps of 4 plus 1" in plan(video(), duration=3).notes[0]
    nodes = video()
    nodes["3"]["inputs"]["length"] = 33
    exact = plan(nodes, duration="3.0625")
    assert exact.notes == ("49 frames at 16 frames per second last 3.06 s.",)
