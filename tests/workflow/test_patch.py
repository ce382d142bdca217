"""Applying the arguments of a call to a prompt."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from comfyui_pipeline import prepare
from comfyui_pipeline.call import Param, ToolCall, parse
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph, patch
from tests.workflow.editor_prompts import editor_prompt, patch_editor, plan_editor, prompt_of
from tests.workflow.prompts import (
    SCHEMAS,
    Schemas,
    base,
    build_graph,
    node,
    patch_default,
    patch_prompt,
    prompt_with_swapped_titles,
)


def test_every_shortcut_argument_changes_its_input() -> None:
    short = {
        "prompt": "fox",
        "negative_prompt": "blur",
        "steps": 30,
        "cfg": 6.5,
        "sampler": "euler",
        "scheduler": "normal",
        "denoise": 0.5,
        "width": 512,
        "height": 768,
        "batch_size": 3,
    }
    prompt = patch_editor(editor_prompt(), ToolCall("run", shortcuts=short, seed=5))
    assert prompt["2"]["inputs"]["text"] == "fox"
    assert prompt["3"]["inputs"]["text"] == "blur"
    assert prompt["4"]["inputs"] == {"width": 512, "height": 768, "batch_size": 3}
    inputs = {k: v for k, v in prompt["5"]["inputs"].items() if not isinstance(v, list)}
    assert inputs == {
        "seed": 5,
        "steps": 30,
        "cfg": 6.5,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 0.5,
    }


def test_an_argument_without_target_is_an_error_listing_the_available_ones() -> None:
    with pytest.raises(PatchError, match=r'no input for "strength".*prompt, negative_prompt'):
        plan_editor(editor_prompt(), ToolCall("run", shortcuts={"strength": 0.5}))


def test_all_nodes_of_a_title_change_only_with_all() -> None:
    nodes = editor_prompt()
    for node_id in ("2", "3"):
        nodes[node_id]["_meta"]["title"] = "Text"
    one = Param({"text": "x"}, node_title="Text")
    with pytest.raises(PatchError, match='"all": true'):
        plan_editor(nodes, ToolCall("run", params=(one,)))
    every = Param({"text": "x"}, node_title="Text", all=True)
    prompt = patch_editor(nodes, ToolCall("run", params=(every,)))
    assert [prompt[i]["inputs"]["text"] for i in ("2", "3")] == ["x", "x"]


def test_a_node_inside_a_subgraph_is_addressed_by_its_id() -> None:
    nodes = prompt_of("syn-sub-nested-3")
    inner = next(i for i in nodes if i.count(":") > 1 and nodes[i]["class_type"] == "KSampler")
    prompt = patch_editor(nodes, ToolCall("run", params=(Param({"steps": 3}, node_id=inner),)))
    assert prompt[inner]["inputs"]["steps"] == 3


def test_params_may_replace_a_link_by_a_value() -> None:
    nodes = editor_prompt()
    nodes["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 4}}
    nodes["5"]["inputs"]["steps"] = ["20", 0]
    plan = plan_editor(nodes, ToolCall("run", params=(Param({"steps": 9}, node_id="5"),)))
    change = next(c for c in plan.changes if c.target.name == "steps")
    assert (change.value, change.replaced_link) == (9, True)


def test_an_argument_with_several_different_targets_is_an_error() -> None:
    nodes = base()
    nodes["1b"] = node("CheckpointLoaderSimple", ckpt_name="b/c.ckpt")
    nodes["7"]["inputs"] |= {"also": ["1b", 0], "more": ["4b", 0]}
    with pytest.raises(PatchError, match="2 inputs"):
        patch_default(nodes, ToolCall("run", shortcuts={"checkpoint": "c"}))
    nodes["1b"]["inputs"]["ckpt_name"] = "a.safetensors"
    prompt = patch_default(nodes, ToolCall("run", shortcuts={"checkpoint": "c"}))
    assert prompt["1"]["inputs"]["ckpt_name"] == prompt["1b"]["inputs"]["ckpt_name"] == "b/c.ckpt"
    nodes["4b"] = node("LoadImage", image="example.png")
    with pytest.raises(PatchError, match='Pass them as "images"'):
        patch_default(nodes, ToolCall("run", shortcuts={"image": "x.png"}))
    prompt = patch_default(nodes, ToolCall("run", shortcuts={"images": ("x.png", "y.png")}))
    assert [prompt[i]["inputs"]["image"] for i in ("4", "4b")] == ["x.png", "y.png"]
    with pytest.raises(PatchError, match="3 images were given, but this workflow takes 2"):
        patch_default(nodes, ToolCall("run", shortcuts={"images": ("x", "y", "z")}))


def test_a_random_seed_is_fitted_into_the_range_and_so_is_a_given_one() -> None:
    schemas = copy.deepcopy(dict(SCHEMAS))
    schemas["KSampler"]["input"]["required"]["seed"] = ["INT", {"min": 0, "max": 49}]
    found = build_graph(base(), schemas)
    plan = patch.plan(found, ToolCall("run"), {}, random_seed=99)
    assert [c.value for c in plan.changes] == [49]
    plan = patch.plan(found, ToolCall("run", seed=60), {}, random_seed=1)
    assert [c.value for c in plan.changes] == [10]
    assert "takes seeds from 0 to 49" in plan.notes[0]
    nodes = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=0)}
    with pytest.raises(PatchError, match="has no seed input"):
        patch_default(nodes, ToolCall("run", seed=1))


def test_the_folder_of_filename_prefix_is_preserved() -> None:
    nodes = base()
    nodes["7"]["inputs"]["filename_prefix"] = "a/b/ComfyUI"
    assert (
        patch_default(nodes, ToolCall("run"), prefix="fox")["7"]["inputs"]["filename_prefix"]
        == "a/b/fox"
    )


def test_a_given_seed_is_used_and_otherwise_a_random_one(schemas: Schemas) -> None:
    assert (
        patch_prompt(prompt_with_swapped_titles(), schemas, ToolCall("run", seed=5))["5"]["inputs"][
            "seed"
        ]
        == 5
    )
    assert (
        patch_prompt(prompt_with_swapped_titles(), schemas, ToolCall("run"))["5"]["inputs"]["seed"]
        == 99
    )
    own = ToolCall("run", params=(Param({"seed": "123"}, node_id="5"),))
    assert patch_prompt(prompt_with_swapped_titles(), schemas, own)["5"]["inputs"]["seed"] == 123


def test_filename_prefix_comes_from_the_prompt_text_unless_given(schemas: Schemas) -> None:
    call = ToolCall("run", shortcuts={"prompt": "fox"})
    assert (
        patch_prompt(prompt_with_swapped_titles(), schemas, call, "fox")["7"]["inputs"][
            "filename_prefix"
        ]
        == "fox"
    )
    own = ToolCall(
        "run", shortcuts={"prompt": "fox"}, params=(Param({"filename_prefix": "me"}, node_id="7"),)
    )
    assert (
        patch_prompt(prompt_with_swapped_titles(), schemas, own, "fox")["7"]["inputs"][
            "filename_prefix"
        ]
        == "me"
    )
    without = patch_prompt(prompt_with_swapped_titles(), schemas, ToolCall("run"), "")
    assert without["7"]["inputs"]["filename_prefix"] == "ComfyUI"


def test_a_title_that_two_nodes_have_is_an_error(schemas: Schemas) -> None:
    nodes = prompt_with_swapped_titles()
    nodes["3"]["_meta"]["title"] = "Positive Prompt"
    call = ToolCall("run", params=(Param({"text": "x"}, node_title="Positive Prompt"),))
    with pytest.raises(PatchError, match="2 nodes match"):
        patch_prompt(nodes, schemas, call)


def test_setting_an_input_twice_is_an_error(schemas: Schemas) -> None:
    call = ToolCall("run", shortcuts={"prompt": "a"}, params=(Param({"text": "b"}, node_id="3"),))
    with pytest.raises(PatchError, match='"prompt" and "params"'):
        patch_prompt(prompt_with_swapped_titles(), schemas, call)


@pytest.mark.parametrize(
    ("kind", "name", "given", "taken"),
    [
        ("ImageScale", "width", "512", 512),
        ("ImageScale", "width", "512.0", 512),
        ("ImageScaleBy", "scale_by", "1.5", 1.5),
        ("ImageCompositeMasked", "resize_source", "false", False),
        ("ImageCompositeMasked", "resize_source", "True", True),
        ("CLIPTextEncode", "text", 12, "12"),
        ("KSampler", "seed", str(2**64 - 1), 2**64 - 1),
    ],
)
def test_a_value_is_converted_to_the_type_in_the_schema(
    schemas: Schemas, kind: str, name: str, given: Any, taken: Any
) -> None:
    call = ToolCall("run", params=(Param({name: given}, node_id="1"),))
    value = patch_prompt({"1": node(kind)}, schemas, call)["1"]["inputs"][name]
    assert value == taken
    assert type(value) is type(taken)


def test_patching_does_not_modify_its_input(schemas: Schemas) -> None:
    nodes, before = prompt_with_swapped_titles(), prompt_with_swapped_titles()
    patch_prompt(nodes, schemas, ToolCall("run", shortcuts={"prompt": "fox"}, seed=3), "fox")
    assert nodes == before


SAMPLER = {
    "input": {
        "required": {
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "model": ["MODEL"],
            "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
        }
    },
    "output": ["LATENT"],
    "output_node": True,
}
TEXT = {
    "input": {"required": {"text": ["STRING", {"multiline": True}]}},
    "output": ["CONDITIONING"],
}
ZERO = {"input": {"required": {"conditioning": ["CONDITIONING"]}}, "output": ["CONDITIONING"]}
MODEL = {"input": {"required": {"ckpt_name": [["a"], {}]}}, "output": ["MODEL"]}
SAMPLING_SCHEMAS = {"Sampler": SAMPLER, "Text": TEXT, "Zero": ZERO, "Model": MODEL}


def changes(nodes: dict[str, Any], call: ToolCall, schemas: Any = None) -> dict[str, Any]:
    """Node id and input -> its new value."""
    plan = patch.plan(
        graph.build(nodes, schemas or SAMPLING_SCHEMAS), call, call.shortcuts, random_seed=99
    )
    return {f"{c.target.node.id}.{c.target.name}": c.value for c in plan.changes}


def sampling(negative: str) -> dict[str, Any]:
    """``negative``: the node that feeds the sampler's negative input."""
    return {
        "t": node("Text", text="good"),
        "n": node("Text", text="bad"),
        "z": node("Zero", conditioning=["t", 0]),
        "m": node("Model", ckpt_name="a"),
        "s": node("Sampler", positive=["t", 0], negative=[negative, 0], model=["m", 0], seed=1),
    }


def test_negative_prompt_never_changes_the_positive_text() -> None:
    wanted = ToolCall("run", shortcuts={"negative_prompt": "x"}, seed=5)
    assert changes(sampling("n"), wanted) == {"n.text": "x", "s.seed": 5}
    for shared in ("t", "z"):
        with pytest.raises(PatchError, match="negative_prompt"):
            changes(sampling(shared), wanted)
        both = ToolCall("run", shortcuts={"prompt": "y"}, seed=5)
        assert changes(sampling(shared), both) == {"t.text": "y", "s.seed": 5}


def test_a_random_seed_is_taken_modulo_a_small_range() -> None:
    small = {**SAMPLER, "input": {"required": {**SAMPLER["input"]["required"]}}}  # type: ignore[index]
    small["input"]["required"]["seed"] = ["INT", {"min": 0, "max": 9}]
    found = changes(sampling("n"), ToolCall("run"), {**SAMPLING_SCHEMAS, "Sampler": small})
    assert found == {"s.seed": 99 % 10}


@pytest.mark.parametrize("seed", ["-1", -1, "random", " Random ", None, "－1"])
def test_a_seed_of_minus_one_is_random(seed: Any) -> None:
    call = parse(json.dumps({"workflow": "x", "seed": seed}).encode())
    assert call.seed is None
    assert changes(sampling("n"), call) == {"s.seed": 99}


def test_an_empty_negative_prompt_clears_the_text_and_other_empty_arguments_are_ignored() -> None:
    call = parse(b'{"workflow": "x", "seed": 5, "negative_prompt": "", "prompt": "", "cfg": ""}')
    assert dict(call.shortcuts) == {"negative_prompt": ""}
    assert changes(sampling("n"), call) == {"n.text": "", "s.seed": 5}


def test_all_of_the_call_applies_to_each_params_entry() -> None:
    entry = {"node_title": "Text", "inputs": {"text": "x"}}
    nodes = sampling("n")
    call = {"workflow": "x", "seed": 5, "params": [entry]}
    with pytest.raises(PatchError, match=r'2 nodes match .*"all": true'):
        changes(nodes, parse(json.dumps(call).encode()))
    expected = {"t.text": "x", "n.text": "x", "s.seed": 5}
    assert changes(nodes, parse(json.dumps({**call, "all": "true"}).encode())) == expected
    each = {**call, "params": [{**entry, "all": True}]}
    assert changes(nodes, parse(json.dumps(each).encode())) == expected


def test_width_changes_the_latent_and_not_other_nodes() -> None:
    sized = {"required": {"width": ["INT", {}], "height": ["INT", {}]}}
    schemas = {
        "Latent": {"input": sized, "output": ["LATENT"]},
        "Scale": {"input": sized, "output": ["IMAGE"]},
    }
    nodes = {
        "l": node("Latent", width=512, height=512),
        "u": node("Scale", width=1024, height=1024),
    }
    sides = {"width": 640, "height": 512}
    assert changes(nodes, ToolCall("run", shortcuts=sides), schemas) == {
        "l.width": 640,
        "l.height": 512,
    }


def test_a_random_seed_is_exact_in_javascript() -> None:
    assert float(prepare.MAX_RANDOM_SEED) == prepare.MAX_RANDOM_SEED == 2**53 - 1
