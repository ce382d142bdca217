"""Finding the inputs that a role means."""

from __future__ import annotations

import pytest

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import files, graph, patch, roles, running
from tests.workflow.editor_prompts import (
    EDITOR_SCHEMAS,
    SMALL,
    editor_prompt,
    patch_editor,
    prompt_of,
    titled,
)
from tests.workflow.prompts import (
    SCHEMAS,
    WORKFLOWS,
    Schemas,
    base,
    build_graph,
    ids_and_inputs,
    node,
    patch_default,
    patch_prompt,
    prompt_with_swapped_titles,
)


def test_a_title_does_not_give_the_negative_text_when_links_give_the_positive_one() -> None:
    """A node titled "Negative Prompt" that feeds no sampler is not the negative text."""
    nodes = base()
    nodes["5"]["inputs"]["negative"] = ["z", 0]
    nodes["z"] = node("ConditioningZeroOut", conditioning=["2", 0])
    assert roles.texts(build_graph(nodes), "negative") == []
    with pytest.raises(PatchError, match='no input for "negative_prompt"'):
        patch_default(nodes, ToolCall("run", shortcuts={"negative_prompt": "x"}))


def test_without_a_sampler_the_texts_are_found_by_title_then_by_input_name() -> None:
    nodes = {
        "1": node("CLIPTextEncode", " Negative Prompt ", text="a"),
        "2": node("CLIPTextEncode", "positive prompt", text="b"),
        "3": node("CLIPTextEncode", "x", text="c"),
    }
    found = build_graph(nodes)
    assert ids_and_inputs(roles.texts(found, "negative")) == [("1", "text")]
    assert ids_and_inputs(roles.texts(found, "positive")) == [("2", "text")]
    nodes["1"]["_meta"] = nodes["2"]["_meta"] = {"title": "other"}
    found = build_graph(nodes)
    assert ids_and_inputs(roles.texts(found, "positive")) == [
        ("1", "text"),
        ("2", "text"),
        ("3", "text"),
    ]
    assert roles.texts(found, "negative") == []


def test_width_and_height_are_those_of_the_latent_or_of_a_node_with_both() -> None:
    nodes = base()
    nodes["5"]["inputs"]["latent_image"] = ["11", 0]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "width")) == [("11", "width")]
    nodes["7"]["inputs"]["images"] = ["12", 0]
    nodes["12"] = node("ImageScale", image=["4", 0], width=8, height=8)
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "height")) == [("12", "height")]


def test_steps_are_those_of_the_sampler_or_of_any_node() -> None:
    nodes = base()
    nodes["12"] = node("BasicScheduler", steps=9, scheduler="normal", denoise=1.0)
    nodes["7"]["inputs"]["also"] = ["12", 0]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "steps")) == [("5", "steps")]
    del nodes["5"]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "steps")) == [("12", "steps")]


def test_cfg_sets_guidance_where_no_sampler_has_cfg() -> None:
    nodes = base()
    nodes["12"] = node("FluxGuidance", conditioning=["2", 0], guidance=3.5)
    nodes["7"]["inputs"]["also"] = ["12", 0]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "cfg")) == [("5", "cfg")]
    del nodes["5"]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "cfg")) == [("12", "guidance")]


def test_image_and_mask_inputs_are_distinguished() -> None:
    nodes = base()
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "image")) == [("4", "image")]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "mask")) == [("10", "image")]
    nodes["n"] = node("LoadImage", image="other.png")
    nodes["i"] = node("InvertMask", mask=["n", 1])
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "mask")) == [("10", "image")]
    del nodes["n"], nodes["i"]
    nodes["8"]["inputs"]["mask"] = ["m", 1]
    nodes["m"] = node("LoadImage", image="mask.png")
    del nodes["10"]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "mask")) == [("m", "image")]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "image")) == [("4", "image")]
    nodes["8"]["inputs"]["mask"] = ["4", 1]
    del nodes["m"]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "mask")) == [("4", "image")]
    plan = patch.plan(build_graph(nodes), ToolCall("run"), {"mask": "m.png"}, random_seed=1)
    assert [(c.mask, c.value) for c in plan.changes if c.source == "mask"] == [
        ("m.png", "photo.png")
    ]


def test_a_switch_is_followed_to_its_active_input() -> None:
    nodes = base()
    nodes |= {"a": node("PrimitiveInt", value=1), "b": node("PrimitiveInt", value=2)}
    nodes["s"] = node("ComfySwitchNode", switch=True, on_false=["a", 0], on_true=["b", 0])
    nodes["5"]["inputs"]["steps"] = ["s", 0]
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "steps")) == [("b", "value")]
    nodes["s"]["inputs"]["switch"] = False
    assert ids_and_inputs(roles.find_targets(build_graph(nodes), "steps")) == [("a", "value")]


SWITCHES = {
    "boolean": ({"boolean": True}, "image_a", "image_b"),
    "boolean off": ({"boolean": False}, "image_b", "image_a"),
    "condition": ({"cond": False}, "ff_value", "tt_value"),
    "integer": ({"Input": 2}, "image2", "image1"),
    "integer from 0": ({"index": 0}, "image0", "image1"),
    "choice": ({"Input": "img2img"}, "img2img", "txt2img"),
    "first that is linked": ({}, "any_01", "any_02"),
}


@pytest.mark.parametrize("case", SWITCHES)
def test_only_the_chosen_branch_of_a_switch_counts(case: str) -> None:
    selector, chosen, other = SWITCHES[case]
    kinds = {str: [["txt2img", "img2img"]], bool: ["BOOLEAN"], int: ["INT"]}
    required = {name: kinds[type(value)] for name, value in selector.items()}
    free = {chosen: ["*" if not selector else "IMAGE"], other: ["*" if not selector else "IMAGE"]}
    schema = {"input": {"required": required, "optional": free}, "output": ["IMAGE"]}
    nodes = {
        "b": node("LoadImage", image="b.png"),
        "a": node("LoadImage", image="a.png"),
        "s": node("Either", **selector, **{other: ["b", 0], chosen: ["a", 0]}),
        "7": node("SaveImage", images=["s", 0], filename_prefix="x"),
    }
    found = build_graph(nodes, {**SCHEMAS, "Either": schema})
    assert ids_and_inputs(roles.images(found)) == [("a", "image")]
    assert patch.available(found)[:2] == ["image", "start_image"]
    nodes["s"]["inputs"] |= {key: ["n", 0] for key in selector}  # a value known only when it runs
    both = [("a", "image"), ("b", "image")]
    found = build_graph(nodes, {**SCHEMAS, "Either": schema})
    assert sorted(ids_and_inputs(roles.images(found))) == (both if selector else both[:1])


def test_nodes_that_feed_no_output_are_no_targets() -> None:
    nodes = base()
    nodes["4b"] = node("LoadImage", image="other.png")
    nodes["2b"] = node("CLIPTextEncode", text="unused", clip=["1", 1])
    nodes["5b"] = {**nodes["5"], "inputs": {**nodes["5"]["inputs"], "positive": ["2b", 0]}}
    found = build_graph(nodes)
    assert ids_and_inputs(roles.texts(found, "positive")) == [("2", "text")]
    assert ids_and_inputs(roles.images(found)) == [("4", "image")]
    assert ids_and_inputs(roles.find_targets(found, "seed")) == [("5", "seed")]


def test_links_and_not_titles_decide_which_text_is_positive(schemas: Schemas) -> None:
    prompt = patch_prompt(
        prompt_with_swapped_titles(),
        schemas,
        ToolCall("run", shortcuts={"prompt": "fox", "negative_prompt": "blur"}),
    )
    assert prompt["3"]["inputs"]["text"] == "fox"
    assert prompt["2"]["inputs"]["text"] == "blur"


def test_without_a_sampler_the_title_decides(schemas: Schemas) -> None:
    nodes = {
        "1": node("CLIPTextEncode", "positive prompt", text="x", clip=["9", 1]),
        "9": node("CheckpointLoaderSimple", ckpt_name="a"),
    }
    prompt = patch_prompt(nodes, schemas, ToolCall("run", shortcuts={"prompt": "fox"}))
    assert prompt["1"]["inputs"]["text"] == "fox"


def test_a_zeroed_negative_conditioning_has_no_text(schemas: Schemas) -> None:
    nodes = prompt_with_swapped_titles()
    nodes["2"] = node("ConditioningZeroOut", conditioning=["3", 0])
    with pytest.raises(PatchError, match='no input for "negative_prompt"'):
        patch_prompt(nodes, schemas, ToolCall("run", shortcuts={"negative_prompt": "blur"}))


def test_a_linked_text_is_changed_at_its_source(schemas: Schemas) -> None:
    nodes = prompt_with_swapped_titles()
    nodes["8"] = node("PrimitiveString", value="old")
    nodes["3"]["inputs"]["text"] = ["8", 0]
    prompt = patch_prompt(nodes, schemas, ToolCall("run", shortcuts={"prompt": "fox"}))
    assert prompt["8"]["inputs"]["value"] == "fox"
    assert prompt["3"]["inputs"]["text"] == ["8", 0]


def test_controlnet_passes_positive_and_negative_separately(schemas: Schemas) -> None:
    found = graph.build(files.load(WORKFLOWS, "controlnet_canny_api").nodes or {}, schemas)
    assert [t.node.title for t in roles.texts(found, "positive")] == ["Positive Prompt"]
    assert [t.node.title for t in roles.texts(found, "negative")] == ["Negative Prompt"]


def test_the_only_conditioning_of_a_guider_is_positive(
    schemas: Schemas,
) -> None:
    nodes = {
        "1": node("CLIPTextEncode", text="x", clip=["8", 0]),
        "2": node("FluxGuidance", conditioning=["1", 0], guidance=3.5),
        "3": node("BasicGuider", model=["9", 0], conditioning=["2", 0]),
    }
    found = roles.texts(graph.build(nodes, schemas), "positive")
    assert [(t.node.id, t.name) for t in found] == [("1", "text")]


BYPASSED_TEXT = "syn-bypass-textencode"
"""Its positive text is bypassed: what is left is the negative one."""


def test_a_prompt_is_never_written_into_the_negative_text() -> None:
    with pytest.raises(PatchError) as caught:
        patch_editor(prompt_of(BYPASSED_TEXT), ToolCall("run", shortcuts={"prompt": "x"}))
    assert 'no input for "prompt"' in str(caught.value)
    assert '"params": [{"node_id": "3", "input": "text"' in str(caught.value)


def test_of_several_conditions_the_negative_one_is_no_prompt() -> None:
    nodes = editor_prompt()
    nodes["9"] = {
        "class_type": "DualCFGGuider",
        "inputs": {"model": ["1", 0], "cond1": ["2", 0], "cond2": ["3", 0], "negative": ["3", 0]},
    }
    schemas = {
        **EDITOR_SCHEMAS,
        "DualCFGGuider": {
            "input": {
                "required": {
                    "model": ["MODEL"],
                    **{name: ["CONDITIONING"] for name in ("cond1", "cond2", "negative")},
                }
            },
            "output": ["GUIDER"],
        },
    }
    del nodes["5"]
    nodes["7"]["inputs"]["also"] = ["9", 0]
    found = graph.build(nodes, schemas)
    assert ids_and_inputs(roles.texts(found, "positive")) == [("2", "text")]
    assert ids_and_inputs(roles.texts(found, "negative")) == [("3", "text")]


def test_a_prompt_inside_a_dynamic_combo_is_found() -> None:
    options = [{"key": "v2", "inputs": {"required": {"prompt": ["STRING", {"multiline": True}]}}}]
    schema = {"input": {"required": {"model": ["COMFY_DYNAMICCOMBO_V3", {"options": options}]}}}
    nodes = {"1": node("Service", **{"model": "v2", "model.prompt": "a fox"})}
    found = graph.build(nodes, {"Service": {**schema, "output": ["VIDEO"]}})
    assert ids_and_inputs(roles.texts(found, "positive")) == [("1", "model.prompt")]


def test_a_system_prompt_in_front_of_the_prompt_stays() -> None:
    nodes = titled(n2="Positive")
    nodes["2"]["inputs"]["text"] = ["10", 0]
    nodes["10"] = node("Joined", string_a=["11", 0], string_b=["12", 0])
    nodes["11"] = {**node("Text", value="You are"), "_meta": {"title": "System Prompt"}}
    nodes["12"] = node("Text", value="a fox")
    text = ["STRING", {"multiline": True}]
    schemas = {
        **EDITOR_SCHEMAS,
        "Joined": {
            "input": {"required": {"string_a": text, "string_b": text}},
            "output": ["STRING"],
        },
        "Text": {"input": {"required": {"value": text}}, "output": ["STRING"]},
    }
    found = roles.texts(graph.build(nodes, schemas), "positive")
    assert ids_and_inputs(found) == [("12", "value")]


def test_sides_that_one_node_computes_are_set_where_they_are_used() -> None:
    nodes = editor_prompt()
    nodes["4"]["inputs"] |= {"width": ["10", 0], "height": ["10", 1]}
    nodes["10"] = node("Selector", multiple=8)
    number = {"input": {"required": {"multiple": ["INT"]}}, "output": ["INT", "INT"]}
    schemas = {**EDITOR_SCHEMAS, "Selector": number}
    call = ToolCall("run", shortcuts={"width": 1280, "height": 720})
    changed = patch_editor(nodes, call, schemas)["4"]["inputs"]
    assert (changed["width"], changed["height"]) == (1280, 720)


@pytest.mark.parametrize("name", SMALL)
def test_every_synthetic_workflow_with_a_sampler_has_a_positive_text(name: str) -> None:
    found = graph.build(prompt_of(name), EDITOR_SCHEMAS)
    without = (BYPASSED_TEXT, "syn-disconnected-required")
    if roles.samplers(running.part_that_runs(found)) and name not in without:
        texts = roles.find_targets(found, "prompt")
        assert texts
        assert all(isinstance(t.node.inputs[t.name], str) for t in texts)


def test_a_number_linked_through_a_switch_is_changed_at_its_source() -> None:
    nodes = editor_prompt()
    nodes["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 4}}
    nodes["21"] = {"class_type": "PrimitiveInt", "inputs": {"value": 20}}
    nodes["22"] = {"class_type": "PrimitiveBoolean", "inputs": {"value": False}}
    nodes["23"] = {
        "class_type": "ComfySwitchNode",
        "inputs": {"switch": ["22", 0], "on_false": ["21", 0], "on_true": ["20", 0]},
    }
    nodes["5"]["inputs"]["steps"] = ["23", 0]
    prompt = patch_editor(nodes, ToolCall("run", shortcuts={"steps": 33}))
    assert prompt["21"]["inputs"]["value"] == 33
    assert prompt["20"]["inputs"]["value"] == 4
    assert prompt["5"]["inputs"]["steps"] == ["23", 0]


def test_lyrics_take_the_place_of_what_a_language_model_writes() -> None:
    schemas = {
        **SCHEMAS,
        "Song": {
            "input": {"required": {"lyrics": ["STRING", {"multiline": True}]}},
            "output": ["AUDIO"],
            "output_node": True,
        },
        "Writer": {
            "input": {
                "required": {
                    "prompt": ["STRING", {"multiline": True}],
                    "system_prompt": ["STRING", {}],
                    "seed": ["INT", {}],
                }
            },
            "output": ["STRING"],
        },
        "Words": {"input": {"required": {"value": ["STRING", {}]}}, "output": ["STRING"]},
    }
    nodes = {
        "a": node("Writer", prompt="a blues", system_prompt="You write songs.", seed=1),
        "s": node("Song", lyrics=["a", 0]),
    }
    found = roles.find_targets(build_graph(nodes, schemas), "lyrics")
    assert ids_and_inputs(found) == [("s", "lyrics")]
    nodes["a"] = node("Words", value="la la")
    found = roles.find_targets(build_graph(nodes, schemas), "lyrics")
    assert ids_and_inputs(found) == [("a", "value")]
