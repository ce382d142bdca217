"""Sizes that other nodes compute, halve or enlarge: the number is set that gives the result asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_pipeline.call import parse
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import patch
from comfyui_pipeline.workflow.formulas import evaluate
from tests.workflow.offline_calls import node
from tests.workflow.prompts import build_graph

INT: list[Any] = ["INT", {"default": 512, "min": 0, "max": 8192}]


def schema(outputs: str, names: str = "", **inputs: Any) -> dict[str, Any]:
    return {
        "input": {"required": {k: v if isinstance(v, list) else [v] for k, v in inputs.items()}},
        "output": outputs.split(),
        "output_name": (names or outputs).split(),
        "output_node": False,
        "display_name": "",
    }


SCHEMAS: dict[str, Any] = {
    "Number": schema("INT", value=INT),
    "Formula": schema("FLOAT INT", expression="STRING", a="*"),
    "Selector": schema("INT INT", "width height", ratio=[["1:1", "16:9"]], megapixels="FLOAT"),
    "Latent": schema("LATENT", width=INT, height=INT, batch_size=INT),
    "Sampler": schema("LATENT", latent_image="LATENT"),
    "Double": schema("LATENT", samples="LATENT", upscale_model="LATENT_UPSCALE_MODEL"),
    "Loader": schema("LATENT_UPSCALE_MODEL", model_name=[["spatial-upscaler-x2-1.0"]]),
    "By": schema("LATENT", samples="LATENT", scale_by="FLOAT"),
    "Decode": schema("IMAGE", samples="LATENT"),
    "Load": schema("IMAGE", image=[["a.png"], {"image_upload": True}]),
    "Fit": schema("*", input="*", **{"resize_type.width": INT, "resize_type.height": INT}),
    "SizeOf": schema("INT INT", "width height", image="IMAGE"),
    "Easy": schema("LATENT", empty_latent_width=INT, empty_latent_height=INT),
    "Picker": schema(
        "LATENT", resolution=[["1024x1024 (1.0)"]], width_override=INT, height_override=INT
    ),
    "Shift": schema("MODEL", width=INT, height=INT),
    "Save": {**schema("", images="IMAGE"), "output_node": True},
}
FINISH = {
    "20": node("Sampler", latent_image=["10", 0]),
    "30": node("Decode", samples=["20", 0]),
    "40": node("Save", images=["30", 0]),
}
DOUBLED = {
    **FINISH,
    "21": node("Loader", model_name="spatial-upscaler-x2-1.0"),
    "22": node("Double", samples=["20", 0], upscale_model=["21", 0]),
    "30": node("Decode", samples=["22", 0]),
}


def latent(width: Any, height: Any) -> dict[str, Any]:
    return node("Latent", width=width, height=height, batch_size=1)


def set_by(nodes: Any, schemas: Any = SCHEMAS, **call: Any) -> dict[str, Any]:
    """What a call sets, by node and input."""
    read = parse(json.dumps({"workflow_json": nodes, **(call or {"size": "1280x720"})}).encode())
    planned = patch.plan(build_graph(nodes, schemas), read, read.shortcuts, random_seed=1)
    return {f"{c.target.node.id}.{c.target.name}": c.value for c in planned.changes}


def test_numbers_that_are_halved_and_doubled_again_are_set_to_the_result() -> None:
    nodes = {
        "1": node("Number", "Width", value=960),
        "2": node("Number", "Height", value=544),
        "3": node("Formula", expression="a/2", a=["1", 0]),
        "4": node("Formula", expression="a/2", a=["2", 0]),
        "10": latent(["3", 1], ["4", 1]),
        **DOUBLED,
    }
    assert set_by(nodes) == {"1.value": 1280, "2.value": 720}


def test_a_latent_that_is_enlarged_later_begins_smaller() -> None:
    assert set_by({"10": latent(512, 512), **DOUBLED}) == {"10.width": 640, "10.height": 360}
    nodes = {"10": latent(512, 512), **FINISH}
    nodes["22"] = node("By", samples=["20", 0], scale_by=2.5)
    nodes["30"] = node("Decode", samples=["22", 0])
    assert set_by(nodes) == {"10.width": 512, "10.height": 288}


def test_a_number_that_a_selector_computes_is_replaced_where_it_stands() -> None:
    selector = node("Selector", ratio="1:1", megapixels=1.0)
    nodes = {"1": selector, "10": latent(["1", 0], ["1", 1]), **FINISH}
    assert set_by(nodes) == {"10.width": 1280, "10.height": 720}
    nodes["2"] = node("Number", "Width", value=["1", 0])
    nodes["3"] = node("Number", "Height", value=["1", 1])
    nodes["10"] = latent(["2", 0], ["3", 0])
    assert set_by(nodes) == {"2.value": 1280, "3.value": 720}


def test_the_size_of_a_resized_image_is_set_where_it_is_resized() -> None:
    sides = {"resize_type.width": ["5", 0], "resize_type.height": 544}
    nodes = {
        "1": node("Load", image="a.png"),
        "5": node("Number", "Width", value=960),
        "2": node("Fit", input=["1", 0], **sides),
        "3": node("SizeOf", image=["2", 0]),
        "10": latent(["3", 0], ["3", 1]),
        **FINISH,
    }
    assert set_by(nodes) == {"5.value": 1280, "2.resize_type.height": 720}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Easy", ("empty_latent_width", "empty_latent_height")),
        ("Picker", ("width_override", "height_override")),
    ],
)
def test_other_names_of_sides_are_known(kind: str, names: tuple[str, str]) -> None:
    inputs: dict[str, Any] = dict.fromkeys(names, 0)
    if kind == "Picker":
        inputs["resolution"] = "1024x1024 (1.0)"
    assert set_by({"10": node(kind, **inputs), **FINISH}) == {
        f"10.{names[0]}": 1280,
        f"10.{names[1]}": 720,
    }


def test_a_model_that_is_told_the_size_of_the_latent_keeps_agreeing_with_it() -> None:
    sampler = {**SCHEMAS["Sampler"], **schema("LATENT", latent_image="LATENT", model="MODEL")}
    nodes = {"10": latent(512, 512), **FINISH, "9": node("Shift", width=512, height=512)}
    nodes["20"] = node("Sampler", latent_image=["10", 0], model=["9", 0])
    schemas = {**SCHEMAS, "Sampler": sampler}
    sides = {"width": 1280, "height": 720}
    assert set_by(nodes, schemas) == {f"{i}.{k}": v for i in ("9", "10") for k, v in sides.items()}
    nodes["9"]["inputs"]["width"] = 1024
    assert set_by(nodes, schemas) == {"10.width": 1280, "10.height": 720}


def test_a_size_outside_the_limits_names_the_nearest_of_its_shape() -> None:
    side = ["INT", {"min": 768, "max": 1440}]
    schemas = {**SCHEMAS, "Latent": schema("LATENT", width=side, height=side, batch_size=INT)}
    with pytest.raises(PatchError, match="cannot make 1280x720") as caught:
        set_by({"10": latent(1024, 1024), **FINISH}, schemas)
    assert '"1368x768"' in caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [("a/2", 512), ("round(a * 0.5)", 512), ("a // 2 + 0", 512), ("a ** 9", None), ("f(a)", None)],
)
def test_only_simple_expressions_are_evaluated(text: str, value: float | None) -> None:
    assert evaluate(text, {"a": 1024}) == value
