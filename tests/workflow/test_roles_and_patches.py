"""Which text is positive, which input is a seed, and what a call changes because of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import Param, ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import files, graph, patch, roles, validate

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
Schemas = Mapping[str, Any]


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title} if title else {}}


def sampled() -> dict[str, Any]:
    """Titles that lie: the node called "Positive Prompt" feeds the negative input."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "2": node("CLIPTextEncode", "Positive Prompt", text="bad", clip=["1", 1]),
        "3": node("CLIPTextEncode", "Negative Prompt", text="good", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "5": node(
            "KSampler",
            seed=7,
            steps=20,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["1", 0],
            positive=["3", 0],
            negative=["2", 0],
            latent_image=["4", 0],
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="ComfyUI"),
    }


def made(nodes: Mapping[str, Any], schemas: Schemas, call: ToolCall, prefix: str = "") -> Any:
    found = graph.build(nodes, schemas)
    plan = patch.plan(found, call, call.shortcuts, random_seed=99, prefix=prefix)
    return patch.apply(nodes, plan.changes)


def test_links_tell_the_positive_text_and_titles_do_not(schemas: Schemas) -> None:
    prompt = made(
        sampled(), schemas, ToolCall("run", shortcuts={"prompt": "fox", "negative_prompt": "blur"})
    )
    assert prompt["3"]["inputs"]["text"] == "fox"
    assert prompt["2"]["inputs"]["text"] == "blur"


def test_a_title_serves_where_no_sampler_tells(schemas: Schemas) -> None:
    nodes = {
        "1": node("CLIPTextEncode", "positive prompt", text="x", clip=["9", 1]),
        "9": node("CheckpointLoaderSimple", ckpt_name="a"),
    }
    prompt = made(nodes, schemas, ToolCall("run", shortcuts={"prompt": "fox"}))
    assert prompt["1"]["inputs"]["text"] == "fox"


def test_a_zeroed_negative_does_not_take_the_positive_text(schemas: Schemas) -> None:
    nodes = sampled()
    nodes["2"] = node("ConditioningZeroOut", conditioning=["3", 0])
    with pytest.raises(PatchError, match='no input for "negative_prompt"'):
        made(nodes, schemas, ToolCall("run", shortcuts={"negative_prompt": "blur"}))


def test_text_that_comes_through_a_link_is_changed_at_its_source(schemas: Schemas) -> None:
    nodes = sampled()
    nodes["8"] = node("PrimitiveString", value="old")
    nodes["3"]["inputs"]["text"] = ["8", 0]
    prompt = made(nodes, schemas, ToolCall("run", shortcuts={"prompt": "fox"}))
    assert prompt["8"]["inputs"]["value"] == "fox"
    assert prompt["3"]["inputs"]["text"] == ["8", 0]


def test_controlnet_keeps_its_two_roads_apart(schemas: Schemas) -> None:
    found = graph.build(files.load(WORKFLOWS, "controlnet_canny_api").nodes or {}, schemas)
    assert [t.node.title for t in roles.texts(found, "positive")] == ["Positive Prompt"]
    assert [t.node.title for t in roles.texts(found, "negative")] == ["Negative Prompt"]


def test_a_guider_that_knows_only_one_conditioning_makes_it_the_positive_one(
    schemas: Schemas,
) -> None:
    nodes = {
        "1": node("CLIPTextEncode", text="x", clip=["8", 0]),
        "2": node("FluxGuidance", conditioning=["1", 0], guidance=3.5),
        "3": node("BasicGuider", model=["9", 0], conditioning=["2", 0]),
    }
    found = roles.texts(graph.build(nodes, schemas), "positive")
    assert [(t.node.id, t.name) for t in found] == [("1", "text")]


def test_the_callers_seed_is_kept_and_otherwise_a_new_one_is_drawn(schemas: Schemas) -> None:
    assert made(sampled(), schemas, ToolCall("run", seed=5))["5"]["inputs"]["seed"] == 5
    assert made(sampled(), schemas, ToolCall("run"))["5"]["inputs"]["seed"] == 99
    own = ToolCall("run", params=(Param({"seed": "123"}, node_id="5"),))
    assert made(sampled(), schemas, own)["5"]["inputs"]["seed"] == 123


def test_the_file_name_is_the_prompts_unless_the_caller_set_one(schemas: Schemas) -> None:
    call = ToolCall("run", shortcuts={"prompt": "fox"})
    assert made(sampled(), schemas, call, "fox")["7"]["inputs"]["filename_prefix"] == "fox"
    own = ToolCall(
        "run", shortcuts={"prompt": "fox"}, params=(Param({"filename_prefix": "me"}, node_id="7"),)
    )
    assert made(sampled(), schemas, own, "fox")["7"]["inputs"]["filename_prefix"] == "me"
    without = made(sampled(), schemas, ToolCall("run"), "")
    assert without["7"]["inputs"]["filename_prefix"] == "ComfyUI"


def test_two_nodes_of_one_title_are_told_apart_by_an_error(schemas: Schemas) -> None:
    nodes = sampled()
    nodes["3"]["_meta"]["title"] = "Positive Prompt"
    call = ToolCall("run", params=(Param({"text": "x"}, node_title="Positive Prompt"),))
    with pytest.raises(PatchError, match="2 nodes match"):
        made(nodes, schemas, call)


def test_one_input_set_twice_is_an_error(schemas: Schemas) -> None:
    call = ToolCall("run", shortcuts={"prompt": "a"}, params=(Param({"text": "b"}, node_id="3"),))
    with pytest.raises(PatchError, match='"prompt" and "params"'):
        made(sampled(), schemas, call)


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
def test_a_value_takes_the_type_that_the_schema_names(
    schemas: Schemas, kind: str, name: str, given: Any, taken: Any
) -> None:
    call = ToolCall("run", params=(Param({name: given}, node_id="1"),))
    value = made({"1": node(kind)}, schemas, call)["1"]["inputs"][name]
    assert value == taken
    assert type(value) is type(taken)


def test_a_patch_never_alters_what_it_was_given(schemas: Schemas) -> None:
    nodes, before = sampled(), sampled()
    made(nodes, schemas, ToolCall("run", shortcuts={"prompt": "fox"}, seed=3), "fox")
    assert nodes == before


@pytest.mark.parametrize("name", files.names(WORKFLOWS))
def test_every_shipped_workflow_fits_the_servers_schema(schemas: Schemas, name: str) -> None:
    nodes = files.load(WORKFLOWS, name).nodes
    assert nodes is not None
    found = graph.build(nodes, schemas)
    wrong = [
        problem for problem in validate.problems(found, schemas) if "missing" not in str(problem)
    ]
    assert validate.check(found, nodes, wrong).prompt == nodes
    for entry in found.nodes.values():
        required = {spec.name for spec in entry.specs.values() if spec.required}
        assert required <= set(entry.inputs) <= set(entry.specs), entry.label
