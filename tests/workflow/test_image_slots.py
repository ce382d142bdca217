"""The order of input images, and what each is for."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.workflow import image_slots, patch, roles
from comfyui_pipeline.workflow.graph import Graph, build
from tests.workflow.prompts import node

PICTURES = {"image": [["a.png"], {"image_upload": True}]}


def kind(outputs: str, *, output: bool = False, **inputs: Any) -> dict[str, Any]:
    read = {name: [kind, {}] if isinstance(kind, str) else kind for name, kind in inputs.items()}
    return {"input": {"required": read}, "output": outputs.split(), "output_node": output}


TYPES: Mapping[str, Any] = {
    "Load": kind("IMAGE MASK", image=PICTURES["image"]),
    "Paint": kind("IMAGE MASK", image="IMAGE", mask=PICTURES["image"]),
    "Encode": kind("LATENT", pixels="IMAGE", vae="VAE"),
    "Text": kind("CONDITIONING", text="STRING"),
    "Reference": kind("CONDITIONING", conditioning="CONDITIONING", latent="LATENT"),
    "Style": kind("MODEL", image="IMAGE", model="MODEL", weight="FLOAT"),
    "Batch": kind("IMAGE", image1="IMAGE", image2="IMAGE"),
    "Resize": kind("COMFY_MATCHTYPE_V3", input="COMFY_MATCHTYPE_V3"),
    "Size": kind("INT INT", image="IMAGE"),
    "Empty": kind("LATENT", width="INT", height="INT"),
    "Guide": kind(
        "CONDITIONING LATENT",
        conditioning="CONDITIONING",
        latent="LATENT",
        image="IMAGE",
        frame_idx="INT",
    ),
    "Frames": kind(
        "CONDITIONING LATENT",
        conditioning="CONDITIONING",
        reference_image="IMAGE",
        end_image="IMAGE",
        start_image="IMAGE",
    ),
    "Colours": kind("MASK MASK", image="IMAGE", threshold="FLOAT"),
    "Region": kind("CONDITIONING", conditioning="CONDITIONING", image="IMAGE", mask="MASK"),
    "Sample": kind(
        "LATENT",
        model="MODEL",
        seed="INT",
        positive="CONDITIONING",
        latent_image="LATENT",
    ),
    "Decode": kind("IMAGE", samples="LATENT"),
    "Save": kind("", images="IMAGE", filename_prefix="STRING", output=True),
    "Show": kind("", images="IMAGE", output=True),
    "Compare": kind("", image_a="IMAGE", image_b="IMAGE", output=True),
}


def graph_of(nodes: Mapping[str, Any], seed: int = 0) -> Graph:
    """The nodes in any order: it must not matter."""
    items = list(nodes.items())
    random.Random(seed).shuffle(items)
    return build(dict(items), TYPES)


def order(nodes: Mapping[str, Any]) -> str:
    found = [[t.node.id for t in roles.images(graph_of(nodes, seed))] for seed in range(4)]
    assert found[1:] == found[:-1]
    return " ".join(found[0])


def load(*names: str) -> dict[str, Any]:
    return {name: node("Load", image="a.png") for name in names}


def sampled(**inputs: Any) -> dict[str, Any]:
    """A sampler with these inputs whose result is saved."""
    return {
        "t": node("Text", text="x"),
        "s": node("Sample", **{"seed": 1, "positive": ["t", 0], **inputs}),
        "d": node("Decode", samples=["s", 0]),
        "out": node("Save", images=["d", 0], filename_prefix="x"),
    }


def test_reference_latents_come_in_the_order_of_their_chain() -> None:
    nodes = load("9", "1", "5")
    for number, name in enumerate(("5", "9", "1")):
        nodes[f"e{name}"] = node("Encode", pixels=[name, 0])
        before = ["t", 0] if number == 0 else [f"r{number - 1}", 0]
        nodes[f"r{number}"] = node("Reference", conditioning=before, latent=[f"e{name}", 0])
    assert order({**nodes, **sampled(positive=["r2", 0])}) == "5 9 1"


def test_nested_batches_come_in_the_order_of_their_inputs() -> None:
    nodes = load("3", "2", "1")
    nodes["inner"] = node("Batch", image1=["3", 0], image2=["1", 0])
    nodes["outer"] = node("Batch", image1=["inner", 0], image2=["2", 0])
    nodes["out"] = node("Save", images=["outer", 0], filename_prefix="x")
    assert order(nodes) == "3 1 2"


def test_the_start_comes_before_the_end_and_both_before_a_reference() -> None:
    nodes = load("1", "2", "3") | {"resized": node("Resize", input=["3", 0])}
    nodes["f"] = node(
        "Frames",
        conditioning=["t", 0],
        start_image=["resized", 0],
        end_image=["1", 0],
        reference_image=["2", 0],
    )
    nodes |= sampled(positive=["f", 0], latent_image=["f", 1])
    assert order(nodes) == "3 1 2"
    graph = graph_of(nodes)
    said = image_slots.slots(graph, roles.images(graph))
    assert said[0] == '1 → start image (node 3 "Load")'
    assert [one.split(" (")[0] for one in said[1:]] == ["2 → end image", "3 → reference image"]


@pytest.mark.parametrize(
    ("frames", "expected"), [((0, -1), "7 4"), ((-1, 0), "4 7"), ((30, 8), "4 7")]
)
def test_guides_come_in_the_order_of_their_frames(frames: tuple[int, int], expected: str) -> None:
    nodes = load("7", "4")
    nodes["g"] = node("Guide", conditioning=["t", 0], image=["7", 0], frame_idx=frames[0])
    nodes["h"] = node(
        "Guide", conditioning=["g", 0], latent=["g", 1], image=["4", 0], frame_idx=frames[1]
    )
    nodes |= sampled(positive=["h", 0], latent_image=["h", 1])
    assert order(nodes) == expected
    if frames == (0, -1):
        graph = graph_of(nodes)
        assert [t.node.id for t in roles.find_targets(graph, "end_image")] == ["4"]


def test_the_image_that_is_repainted_comes_before_one_that_only_changes_the_model() -> None:
    nodes = load("1", "2")
    nodes["style"] = node("Style", image=["1", 0], model=["m", 0], weight=1)
    nodes["e"] = node("Encode", pixels=["2", 0])
    assert order({**nodes, **sampled(model=["style", 0], latent_image=["e", 0])}) == "2 1"


def test_an_image_whose_size_is_used_has_no_earlier_place() -> None:
    nodes = load("1", "2")
    nodes["n"] = node("Size", image=["2", 0])
    nodes["l"] = node("Empty", width=["n", 0], height=["n", 1])
    nodes["first"] = node("Encode", pixels=["1", 0])
    nodes["second"] = node("Encode", pixels=["2", 0])
    nodes["r"] = node("Reference", conditioning=["t", 0], latent=["first", 0])
    nodes["q"] = node("Reference", conditioning=["r", 0], latent=["second", 0])
    assert order({**nodes, **sampled(positive=["q", 0], latent_image=["l", 0])}) == "1 2"


def test_masks_and_images_that_are_only_shown_are_no_slots() -> None:
    nodes = load("1", "2", "3", "4")
    nodes["paint"] = node("Paint", image=["1", 0], mask="painted.png")
    nodes["colours"] = node("Colours", image=["2", 0], threshold=0.5)
    nodes["region"] = node("Region", conditioning=["t", 0], image=["paint", 0], mask=["colours", 1])
    nodes |= sampled(positive=["region", 0])
    nodes["shown"] = node("Show", images=["3", 0])
    nodes["compared"] = node("Compare", image_a=["4", 0], image_b=["d", 0])
    assert order(nodes) == "1"


def test_images_that_are_only_shown_count_where_nothing_is_made() -> None:
    assert order({**load("1"), "out": node("Show", images=["1", 0])}) == "1"


def test_the_answer_says_what_each_image_is_for() -> None:
    nodes = load("1", "2")
    nodes["b"] = node("Batch", image1=["2", 0], image2=["1", 0])
    nodes["out"] = node("Save", images=["b", 0], filename_prefix="x")
    notes = _notes(nodes)
    assert '1 → image1 of node b "Batch" (node 2 "Load"); 2 → image2' in notes
    assert "no meaning" not in notes
    del nodes["b"], nodes["out"]
    for name in ("1", "2"):
        nodes[f"out{name}"] = node("Save", images=[name, 0], filename_prefix="x")
    assert "their order has no meaning" in _notes(nodes)


def _notes(nodes: Mapping[str, Any]) -> str:
    call = parse(json.dumps({"workflow_json": nodes, "images": ["a.png", "b.png"]}).encode())
    return " ".join(patch.plan(graph_of(nodes), call, call.shortcuts, random_seed=1).notes)
