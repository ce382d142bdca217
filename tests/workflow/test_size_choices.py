"""Sizes that a node offers as choices: the nearest one is taken, and what it differs by is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import patch
from tests.workflow.offline_calls import node
from tests.workflow.prompts import build_graph

RATIOS = ["auto", "1:1", "4:3", "16:9", "9:16"]
GPT_SIZES = ["auto", "1024x1024", "1536x1024", "Custom"]
WAN_SIZES = ["480p: 16:9 (832x480)", "720p: 16:9 (1280x720)", "720p: 9:16 (720x1280)"]
SIDE = {"default": 1024, "min": 1024, "max": 3840, "step": 16}


def combo(*choices: str) -> list[Any]:
    return ["COMBO", {"options": list(choices)}]


def schema(output: str = "IMAGE", **inputs: Any) -> dict[str, Any]:
    return {
        "input": {"required": {"prompt": ["STRING", {}], **inputs}},
        "output": [output],
        "output_name": ["out"],
        "output_node": False,
        "display_name": "",
    }


SCHEMAS: dict[str, Any] = {
    "Film": schema("VIDEO", resolution=combo("480p", "720p", "1080p"), ratio=combo(*RATIOS[1:])),
    "FilmOfImage": schema("VIDEO", resolution=combo("720P", "1080P")),
    "Picture": schema(resolution=combo("1K", "2K", "4K"), aspect_ratio=combo(*RATIOS)),
    "Free": schema(aspect_ratio=["STRING", {"default": "1:1"}]),
    "Sized": schema(size=combo(*WAN_SIZES)),
    "Own": schema(
        model=[
            "COMFY_DYNAMICCOMBO_V3",
            {
                "options": [
                    {
                        "key": "m",
                        "inputs": {
                            "required": {
                                "size": combo(*GPT_SIZES),
                                "custom_width": ["INT", SIDE],
                                "custom_height": ["INT", SIDE],
                            }
                        },
                    }
                ]
            },
        ]
    ),
    "Save": {
        "input": {"required": {"images": ["*", {}]}},
        "output": [],
        "output_node": True,
        "output_name": [],
        "display_name": "",
    },
}
FILM = {"resolution": "480p", "ratio": "1:1"}
PICTURE = {"resolution": "2K", "aspect_ratio": "auto"}
OWN = {"model": "m", "model.size": "auto", "model.custom_width": 1024, "model.custom_height": 1024}


def one(kind: str, **inputs: Any) -> dict[str, Any]:
    return {
        "1": node(kind, prompt="a cat", **inputs),
        "9": node("Save", images=["1", 0]),
    }


def sized(nodes: Any, **call: Any) -> tuple[dict[str, Any], patch.Plan]:
    """What a call changes in node 1, and the plan."""
    read = parse(json.dumps({"workflow_json": nodes, **call}).encode())
    planned = patch.plan(build_graph(nodes, SCHEMAS), read, read.shortcuts, random_seed=1)
    return {c.target.name: c.value for c in planned.changes if c.target.node.id == "1"}, planned


@pytest.mark.parametrize(
    ("kind", "inputs", "call", "expected"),
    [
        ("Film", FILM, {"width": 1280, "height": 720}, {"resolution": "720p", "ratio": "16:9"}),
        ("Film", FILM, {"size": "720x1280"}, {"resolution": "720p", "ratio": "9:16"}),
        ("Film", FILM, {"aspect_ratio": "16:9"}, {"ratio": "16:9"}),
        ("Film", FILM, {"size": "1080p"}, {"resolution": "1080p"}),
        ("FilmOfImage", {"resolution": "1080P"}, {"size": "1280x720"}, {"resolution": "720P"}),
        ("Picture", PICTURE, {"size": "1280x720"}, {"resolution": "1K", "aspect_ratio": "16:9"}),
        ("Picture", PICTURE, {"size": "4K"}, {"resolution": "4K"}),
        ("Picture", PICTURE, {"megapixels": 1}, {"resolution": "1K"}),
        ("Free", {"aspect_ratio": "1:1"}, {"size": "1280x720"}, {"aspect_ratio": "16:9"}),
        ("Sized", {"size": WAN_SIZES[0]}, {"size": "1280x720"}, {"size": WAN_SIZES[1]}),
        ("Sized", {"size": WAN_SIZES[1]}, {"size": "480p"}, {"size": WAN_SIZES[0]}),
        ("Sized", {"size": WAN_SIZES[1]}, {"aspect_ratio": "9:16"}, {"size": WAN_SIZES[2]}),
        ("Own", OWN, {"size": "1500x1000"}, {"model.size": "1536x1024"}),
        (
            "Own",
            OWN,
            {"size": "1280x1024"},
            {"model.size": "Custom", "model.custom_width": 1280, "model.custom_height": 1024},
        ),
    ],
)
def test_the_choice_that_means_the_size_is_taken(
    kind: str, inputs: Any, call: Any, expected: Any
) -> None:
    assert sized(one(kind, **inputs), **call)[0] == expected


def test_what_was_chosen_is_said_and_first_if_it_is_not_exact() -> None:
    _, planned = sized(one("Film", **FILM), size="1280x720")
    assert planned.notes == ("1280x720 → resolution 720p, ratio 16:9.",)
    _, planned = sized(one("Own", **OWN), size="1280x720")
    assert planned.important == ("1280x720 → size 1536x1024: the nearest choice, not exact.",)


def test_a_shape_that_no_choice_has_lists_the_choices() -> None:
    with pytest.raises(PatchError, match=r'"size" cannot be met.*nearly that shape') as caught:
        sized(one("Film", **FILM), size="3000x1000")
    assert "1:1, 4:3, 16:9, 9:16" in caught.value.hint
    with pytest.raises(PatchError, match="has no aspect ratio"):
        sized(one("FilmOfImage", resolution="720P"), aspect_ratio="16:9")


def test_the_shape_of_what_follows_an_image_is_said() -> None:
    _, planned = sized(one("FilmOfImage", resolution="1080P"), size="1280x720")
    assert any("the shape follows from its input" in note for note in planned.notes)


def test_equal_nodes_change_together_and_different_ones_are_asked_for() -> None:
    nodes = {
        **one("Film", **FILM),
        "2": node("Film", prompt="a dog", **FILM),
        "8": node("Save", images=["2", 0]),
    }
    _, planned = sized(nodes, size="1280x720")
    assert {c.target.node.id for c in planned.changes if c.argument == "size"} == {"1", "2"}
    nodes["2"]["inputs"]["ratio"] = "9:16"
    with pytest.raises(PatchError, match="different sizes") as caught:
        sized(nodes, size="1280x720")
    assert "node 2 (Film), resolution = 480p, ratio = 9:16" in caught.value.hint


def test_a_picture_that_a_film_begins_with_is_not_the_result() -> None:
    nodes = {**one("Picture", **PICTURE), "2": node("Film", prompt=["1", 0], **FILM)}
    nodes["9"]["inputs"]["images"] = ["2", 0]
    changed, planned = sized(nodes, size="1280x720")
    assert changed == {}
    assert {c.target.node.id for c in planned.changes if c.argument == "size"} == {"2"}
