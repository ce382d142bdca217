"""LoRA tags, lists and loaders."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph, loras, validate
from tests.workflow.editor_prompts import (
    editor_prompt,
    patch_editor,
    plan_editor,
    prompt_of,
    with_choices,
)
from tests.workflow.prompts import base, build_graph, node

LORAS = ["styles/ink.safetensors", "fox.safetensors"]


def test_lora_tags_are_removed_from_the_prompt_and_parsed() -> None:
    text, found = loras.from_prompt("a fox, <lora:ink:0.6:0.4>, snow <lora:fox>")
    assert text == "a fox, , snow"
    assert found == [loras.Lora("ink", 0.6, 0.4), loras.Lora("fox")]
    assert loras.from_list(["ink:0.5", "C:/x.safetensors", "fox:1:0.2"]) == [
        loras.Lora("ink", 0.5),
        loras.Lora("C:/x.safetensors"),
        loras.Lora("fox", 1.0, 0.2),
    ]


def test_loras_are_assigned_to_the_existing_loaders() -> None:
    schemas = with_choices("LoraLoader", "lora_name", LORAS)
    nodes = prompt_of("syn-base")
    nodes["30"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "x",
            "strength_model": 1.0,
            "strength_clip": 1.0,
            "model": ["1", 0],
            "clip": ["1", 1],
        },
    }
    nodes["5"]["inputs"]["model"] = ["30", 0]
    prompt = patch_editor(nodes, ToolCall("run"), schemas, requested_loras=[loras.Lora("ink", 0.6)])
    inputs = prompt["30"]["inputs"]
    assert (inputs["lora_name"], inputs["strength_model"], inputs["strength_clip"]) == (
        LORAS[0],
        0.6,
        0.6,
    )
    with pytest.raises(PatchError, match=r"1 LoRA loader, and the call names 2 .*lora_nodes"):
        plan_editor(nodes, ToolCall("run"), schemas, requested_loras=[loras.Lora("ink")] * 2)


def with_loaders(nodes: Any, names: list[str], schemas: Any) -> Any:
    built = graph.build(nodes, schemas)
    new = loras.new_loaders(built, [loras.Lora(name) for name in names])
    return loras.add_loaders(nodes, built, new, schemas)


def two_models(*names: str) -> dict[str, Any]:
    nodes: dict[str, Any] = {"9": node("CLIPLoader", clip_name="t", type="wan", device="default")}
    for place, name in enumerate(names):
        nodes[str(place)] = node("UNETLoader", unet_name=name, weight_dtype="default")
        nodes[f"s{place}"] = node("ModelSamplingSD3", model=[str(place), 0], shift=8.0)
    return nodes


def applied(prompt: Any, node_id: str) -> list[str]:
    """The class types between a node and the model it uses."""
    found = []
    link = prompt[node_id]["inputs"]["model"]
    while "model" in prompt[link[0]]["inputs"]:
        found.append(prompt[link[0]]["class_type"])
        link = prompt[link[0]]["inputs"]["model"]
    return found


@pytest.mark.parametrize(
    ("names", "high", "low"),
    [
        (["camera"], 1, 1),
        (["fast_high_noise", "fast_low_noise"], 1, 1),
        (["fast-HighNoise", "camera"], 2, 1),
        (["slow_lowered_highway"], 1, 1),
    ],
)
def test_a_lora_is_applied_to_the_models_of_high_and_low_noise(
    names: list[str], high: int, low: int
) -> None:
    schemas = with_choices("LoraLoader", "lora_name", LORAS)
    schemas = {**schemas, **with_choices("LoraLoaderModelOnly", "lora_name", LORAS)}
    nodes = two_models(
        "wan2.2_t2v_high_noise_14B.safetensors", "wan2.2_t2v_low_noise_14B.safetensors"
    )
    prompt = with_loaders(nodes, names, schemas)
    assert applied(prompt, "s0") == ["LoraLoaderModelOnly"] * high
    assert applied(prompt, "s1") == ["LoraLoaderModelOnly"] * low


def test_a_lora_is_applied_to_the_first_of_two_other_models() -> None:
    schemas = with_choices("LoraLoader", "lora_name", LORAS)
    prompt = with_loaders(two_models("base.safetensors", "refiner.safetensors"), ["x"], schemas)
    assert (applied(prompt, "s0"), applied(prompt, "s1")) == (["LoraLoader"], [])


def test_loaders_are_inserted_between_the_model_and_its_users() -> None:
    schemas = with_choices("LoraLoader", "lora_name", LORAS)
    nodes = editor_prompt()
    prompt = with_loaders(nodes, ["a", "b"], schemas)
    first, second = (i for i, node in prompt.items() if node["class_type"] == "LoraLoader")
    assert prompt[first]["inputs"]["model"] == ["1", 0]
    assert prompt[second]["inputs"]["model"] == [first, 0]
    assert prompt[second]["inputs"]["clip"] == [first, 1]
    assert prompt["5"]["inputs"]["model"] == [second, 0]
    assert prompt["2"]["inputs"]["clip"] == [second, 1]
    assert prompt["6"]["inputs"]["vae"] == ["1", 2]
    assert not validate.problems(graph.build(prompt, schemas), schemas)[1:]
    assert nodes == editor_prompt()


@pytest.mark.parametrize(
    ("text", "left", "found"),
    [
        ("a <lora:x> b", "a b", [("x", 1.0, None)]),
        ("<LORA:x:0.5>", "", [("x", 0.5, None)]),
        ("fox, <lora:x:0.5:0.25>", "fox", [("x", 0.5, 0.25)]),
        ("no  tag ,", "no  tag ,", []),
        ("<lora:> <lora:a", "<lora:> <lora:a", []),
    ],
)
def test_parsing_of_lora_tags(text: str, left: str, found: Any) -> None:
    rest, named = loras.from_prompt(text)
    assert rest == left
    assert [(one.name, one.strength, one.clip_strength) for one in named] == found


def test_lora_strengths_are_assigned_to_model_and_clip() -> None:
    assert loras.from_list(["C:x:0.5", "a:b", "n:1:2"]) == [
        loras.Lora("C:x", 0.5),
        loras.Lora("a:b"),
        loras.Lora("n", 1.0, 2.0),
    ]
    found = build_graph(base())
    for lora, expected in (
        (loras.Lora("l", 0.5), (0.5, 0.5)),
        (loras.Lora("l", 0.5, 0.0), (0.5, 0.0)),
    ):
        prompt = {target.name: value for target, value in loras.assignments(found, [lora])}
        assert (prompt["strength_model"], prompt["strength_clip"]) == expected
    with pytest.raises(PatchError, match="1 LoRA loader, and the call names 2"):
        loras.assignments(found, [loras.Lora("a"), loras.Lora("b")])
    with pytest.raises(PatchError, match="is not a number"):
        loras.from_prompt("<lora:a:x>")


def test_a_single_lora_strength_applies_to_clip_too() -> None:
    loader = {
        "input": {
            "required": {
                "model": ["MODEL"],
                "clip": ["CLIP"],
                "lora_name": [["a.safetensors"], {}],
                "strength_model": ["FLOAT", {}],
                "strength_clip": ["FLOAT", {}],
            }
        },
        "output": ["MODEL", "CLIP"],
    }
    found = graph.build({"l": node("Lora", lora_name="", model=["m", 0])}, {"Lora": loader})
    for text, strengths in (("a:0.4", (0.4, 0.4)), ("a:0.4:0", (0.4, 0.0)), ("a", (1.0, 1.0))):
        prompt = {t.name: v for t, v in loras.assignments(found, loras.from_list([text]))}
        assert (prompt["strength_model"], prompt["strength_clip"]) == strengths
