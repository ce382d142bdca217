"""LoRA tags, lists and loaders."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph, loras, validate
from tests.workflow.editor_prompts import (
    editor_base,
    patched_editor,
    planned,
    prompt_of,
    with_choices,
)
from tests.workflow.prompts import base, build_graph, node

LORAS = ["styles/ink.safetensors", "fox.safetensors"]


def test_lora_tags_leave_the_prompt_and_name_their_strengths() -> None:
    text, found = loras.from_prompt("a fox, <lora:ink:0.6:0.4>, snow <lora:fox>")
    assert text == "a fox, , snow"
    assert found == [loras.Lora("ink", 0.6, 0.4), loras.Lora("fox")]
    assert loras.from_list(["ink:0.5", "C:/x.safetensors", "fox:1:0.2"]) == [
        loras.Lora("ink", 0.5),
        loras.Lora("C:/x.safetensors"),
        loras.Lora("fox", 1.0, 0.2),
    ]


def test_loras_go_into_the_loaders_that_there_are() -> None:
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
    made = patched_editor(nodes, ToolCall("run"), schemas, requested_loras=[loras.Lora("ink", 0.6)])
    told = made["30"]["inputs"]
    assert (told["lora_name"], told["strength_model"], told["strength_clip"]) == (
        LORAS[0],
        0.6,
        0.6,
    )
    with pytest.raises(PatchError, match=r"1 LoRA loader, and the call names 2 .*lora_nodes"):
        planned(nodes, ToolCall("run"), schemas, requested_loras=[loras.Lora("ink")] * 2)


def test_loaders_can_be_added_between_the_model_and_what_uses_it() -> None:
    schemas = with_choices("LoraLoader", "lora_name", LORAS)
    nodes = editor_base()
    made = loras.add_loaders(nodes, graph.build(nodes, schemas), 2, schemas)
    first, second = (i for i, node in made.items() if node["class_type"] == "LoraLoader")
    assert made[first]["inputs"]["model"] == ["1", 0]
    assert made[second]["inputs"]["model"] == [first, 0]
    assert made[second]["inputs"]["clip"] == [first, 1]
    assert made["5"]["inputs"]["model"] == [second, 0]
    assert made["2"]["inputs"]["clip"] == [second, 1]
    assert made["6"]["inputs"]["vae"] == ["1", 2]
    assert not validate.problems(graph.build(made, schemas), schemas)[1:]
    assert nodes == editor_base()


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
def test_tags_are_taken_out_of_the_prompt(text: str, left: str, found: Any) -> None:
    rest, named = loras.from_prompt(text)
    assert rest == left
    assert [(one.name, one.strength, one.clip_strength) for one in named] == found


def test_strengths_go_to_model_and_text_encoder() -> None:
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
        made = {target.name: value for target, value in loras.assignments(found, [lora])}
        assert (made["strength_model"], made["strength_clip"]) == expected
    with pytest.raises(PatchError, match="1 LoRA loader, and the call names 2"):
        loras.assignments(found, [loras.Lora("a"), loras.Lora("b")])
    with pytest.raises(PatchError, match="is not a number"):
        loras.from_prompt("<lora:a:x>")


def test_one_strength_of_a_lora_counts_for_the_text_encoder_too() -> None:
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
        made = {t.name: v for t, v in loras.assignments(found, loras.from_list([text]))}
        assert (made["strength_model"], made["strength_clip"]) == strengths
