"""Short arguments by role, guesses that are said, LoRAs, templates and parameters in titles."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import Param, ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import (
    describe,
    graph,
    loras,
    matching,
    patch,
    placeholders,
    roles,
    title_parameters,
    validate,
)
from comfyui_pipeline.workflow.convert.prompt import convert

DATA = Path(__file__).resolve().parents[1] / "data" / "conversion"
Prompt = dict[str, dict[str, Any]]


@cache
def data(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


SCHEMAS: Mapping[str, Any] = data("classes-0.8.0.json")
SMALL = [name for name in data("digests.json")["synthetic-0.8.0"] if not name.startswith("nodes-")]


def prompt_of(name: str) -> Prompt:
    small = data("small_workflows.json")
    document = copy.deepcopy(small.get(f"{name}@0.8.0", small[name]))
    return json.loads(json.dumps(convert(document, SCHEMAS).prompt))


def base() -> Prompt:
    """Loader 1, texts 2 and 3, latent 4, sampler 5, decoder 6, saver 7."""
    return prompt_of("syn-base")


def planned(nodes: Prompt, call: ToolCall, schemas: Any = None, **more: Any) -> patch.Plan:
    found = graph.build(nodes, schemas or SCHEMAS)
    return patch.plan(found, call, call.shortcuts, random_seed=99, **more)


def patched(nodes: Prompt, call: ToolCall, schemas: Any = None, **more: Any) -> Prompt:
    return patch.apply(nodes, planned(nodes, call, schemas, **more).changes)


def with_choices(node: str, name: str, choices: list[str]) -> dict[str, Any]:
    """The schemas with these files at the server."""
    schemas = copy.deepcopy(dict(SCHEMAS))
    schemas[node]["input"]["required"][name] = [choices]
    return schemas


@pytest.mark.parametrize("name", SMALL)
def test_the_positive_text_of_every_small_workflow_with_a_sampler_is_found(name: str) -> None:
    found = graph.build(prompt_of(name), SCHEMAS)
    if roles.samplers(found):
        texts = roles.find_targets(found, "prompt")
        assert texts
        assert all(isinstance(t.node.inputs[t.name], str) for t in texts)


def test_every_short_argument_changes_what_it_means() -> None:
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
    made = patched(base(), ToolCall("run", shortcuts=short, seed=5))
    assert made["2"]["inputs"]["text"] == "fox"
    assert made["3"]["inputs"]["text"] == "blur"
    assert made["4"]["inputs"] == {"width": 512, "height": 768, "batch_size": 3}
    told = {k: v for k, v in made["5"]["inputs"].items() if not isinstance(v, list)}
    assert told == {
        "seed": 5,
        "steps": 30,
        "cfg": 6.5,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 0.5,
    }


def test_a_number_that_comes_through_a_switch_is_changed_where_it_stands() -> None:
    nodes = base()
    nodes["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 4}}
    nodes["21"] = {"class_type": "PrimitiveInt", "inputs": {"value": 20}}
    nodes["22"] = {"class_type": "PrimitiveBoolean", "inputs": {"value": False}}
    nodes["23"] = {
        "class_type": "ComfySwitchNode",
        "inputs": {"switch": ["22", 0], "on_false": ["21", 0], "on_true": ["20", 0]},
    }
    nodes["5"]["inputs"]["steps"] = ["23", 0]
    made = patched(nodes, ToolCall("run", shortcuts={"steps": 33}))
    assert made["21"]["inputs"]["value"] == 33
    assert made["20"]["inputs"]["value"] == 4
    assert made["5"]["inputs"]["steps"] == ["23", 0]


def test_an_argument_without_a_role_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(PatchError, match=r'no input for "strength".*prompt, negative_prompt'):
        planned(base(), ToolCall("run", shortcuts={"strength": 0.5}))


# -- guesses ---------------------------------------------------------------------------------------

MODELS = ["SD1.5/dreamshaper_8.safetensors", "sdxl/juggernautXL.safetensors", "v1-5.ckpt"]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("SD1.5/dreamshaper_8.safetensors", MODELS[0]),
        ("SD1.5\\dreamshaper_8.safetensors", MODELS[0]),
        ("dreamshaper_8.safetensors", MODELS[0]),
        ("dreamshaper_8", MODELS[0]),
        ("DreamShaper 8", MODELS[0]),
        ("dreamshaper", MODELS[0]),
        ("juggernaut xl", MODELS[1]),
        ("V1-5", MODELS[2]),
    ],
)
def test_a_model_is_found_as_people_write_it(wanted: str, meant: str) -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", MODELS)
    plan = planned(base(), ToolCall("run", shortcuts={"checkpoint": wanted}), schemas)
    assert {c.target.name: c.value for c in plan.changes}["ckpt_name"] == meant
    assert (wanted == meant) or any(repr(meant) in guess for guess in plan.guesses)


@pytest.mark.parametrize("wanted", ["cat", "sdxl base", "flux1-dev.safetensors"])
def test_a_model_that_is_not_there_is_never_replaced_by_another(wanted: str) -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", MODELS)
    with pytest.raises(PatchError, match="dreamshaper_8"):
        planned(base(), ToolCall("run", shortcuts={"checkpoint": wanted}), schemas)


def test_two_that_are_equally_near_are_both_named() -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", ["fox_v1.ckpt", "fox_v2.ckpt"])
    with pytest.raises(PatchError, match=r"fox_v1.ckpt and fox_v2.ckpt"):
        planned(base(), ToolCall("run", shortcuts={"checkpoint": "fox"}), schemas)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("DPM++ 2M", "dpmpp_2m"), ("Euler a", "euler_ancestral"), ("EULER", "euler")],
)
def test_samplers_are_known_by_their_other_names(wanted: str, meant: str) -> None:
    made = patched(base(), ToolCall("run", shortcuts={"sampler": wanted}))
    assert made["5"]["inputs"]["sampler_name"] == meant


@pytest.mark.parametrize(
    "param",
    [
        Param({"cfg_scale": "6"}, node_title="ＫＳampler "),
        Param({"Guidance": "6"}, node_title="sampler"),
        Param({"cfg": "6"}, node_title="k sampler"),
    ],
)
def test_nodes_and_inputs_are_found_by_role_class_likeness_and_other_words(param: Param) -> None:
    assert patched(base(), ToolCall("run", params=(param,)))["5"]["inputs"]["cfg"] == 6.0


def test_strict_turns_every_guess_off() -> None:
    for param in (
        Param({"cfg": "6"}, node_title="k sampler"),
        Param({"cfg_scale": "6"}, node_id="5"),
        Param({"sampler_name": "DPM++ 2M"}, node_id="5"),
        Param({"width": "513"}, node_id="4"),
    ):
        assert patched(base(), ToolCall("run", params=(param,)))
        with pytest.raises(PatchError):
            planned(base(), ToolCall("run", params=(param,), strict=True))


def test_a_size_between_two_steps_is_moved_and_said() -> None:
    plan = planned(base(), ToolCall("run", shortcuts={"width": 515}))
    assert next(c.value for c in plan.changes if c.target.name == "width") == 512
    assert "515 → 512" in plan.guesses[0]


def test_a_title_with_a_typo_is_found_and_said() -> None:
    nodes = base()
    nodes["2"]["_meta"]["title"] = "Main Description"
    plan = planned(
        nodes, ToolCall("run", params=(Param({"text": "x"}, node_title="main descripton"),))
    )
    assert any(c.target.node.id == "2" for c in plan.changes)
    assert "node 'main descripton' → 2 \"Main Description\"" in plan.guesses[0]


def test_several_nodes_of_one_title_all_change_when_asked() -> None:
    nodes = base()
    for node_id in ("2", "3"):
        nodes[node_id]["_meta"]["title"] = "Text"
    one = Param({"text": "x"}, node_title="Text")
    with pytest.raises(PatchError, match='"all": true'):
        planned(nodes, ToolCall("run", params=(one,)))
    every = Param({"text": "x"}, node_title="Text", all=True)
    made = patched(nodes, ToolCall("run", params=(every,)))
    assert [made[i]["inputs"]["text"] for i in ("2", "3")] == ["x", "x"]


def test_a_node_inside_a_subgraph_has_an_id_and_a_title() -> None:
    nodes = prompt_of("syn-sub-nested-3")
    inner = next(i for i in nodes if i.count(":") > 1 and nodes[i]["class_type"] == "KSampler")
    made = patched(nodes, ToolCall("run", params=(Param({"steps": 3}, node_id=inner),)))
    assert made[inner]["inputs"]["steps"] == 3


def test_a_link_may_be_replaced_by_a_value() -> None:
    nodes = base()
    nodes["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 4}}
    nodes["5"]["inputs"]["steps"] = ["20", 0]
    plan = planned(nodes, ToolCall("run", params=(Param({"steps": 9}, node_id="5"),)))
    change = next(c for c in plan.changes if c.target.name == "steps")
    assert (change.value, change.replaced_link) == (9, True)


@pytest.mark.parametrize("words", ["", "…", "+", "🦊", "a" * 300])
def test_finding_names_takes_any_words(words: str) -> None:
    assert matching.find(words, ["one", "two"], strict=False).names == ()
    assert matching.nearest(words, []) == []


# -- LoRAs -----------------------------------------------------------------------------------------

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
    made = patched(nodes, ToolCall("run"), schemas, requested_loras=[loras.Lora("ink", 0.6)])
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
    nodes = base()
    made = loras.add_loaders(nodes, graph.build(nodes, schemas), 2, schemas)
    first, second = (i for i, node in made.items() if node["class_type"] == "LoraLoader")
    assert made[first]["inputs"]["model"] == ["1", 0]
    assert made[second]["inputs"]["model"] == [first, 0]
    assert made[second]["inputs"]["clip"] == [first, 1]
    assert made["5"]["inputs"]["model"] == [second, 0]
    assert made["2"]["inputs"]["clip"] == [second, 1]
    assert made["6"]["inputs"]["vae"] == ["1", 2]
    assert not validate.problems(graph.build(made, schemas), schemas)[1:]
    assert nodes == base()


# -- templates and titles --------------------------------------------------------------------------


def test_placeholders_are_filled_numbers_as_numbers() -> None:
    nodes = base()
    nodes["4"]["inputs"].update(width="{{WIDTH}}", height=" {{ HEIGHT }} ")
    nodes["2"]["inputs"]["text"] = "{{QUALITY_TAGS}}{{POSITIVE_PROMPT}}, sharp"
    given = {"width": 640, "height": 480, "prompt": "a fox"}
    filled = placeholders.fill(nodes, given)
    assert filled.nodes["4"]["inputs"]["width"] == 640
    assert filled.nodes["4"]["inputs"]["height"] == 480
    assert filled.nodes["2"]["inputs"]["text"] == "a fox, sharp"
    assert filled.used == {"width", "height", "prompt"}
    assert placeholders.fill(base(), {}).nodes == base()


def test_a_placeholder_that_nothing_fills_is_an_error_that_names_the_argument() -> None:
    nodes = base()
    nodes["5"]["inputs"]["steps"] = "{{STEPS}}"
    nodes["2"]["inputs"]["text"] = "{{MOOD}} {not_one} {{weights}}"
    with pytest.raises(PatchError, match=r'"mood" \(for \{\{MOOD\}\}\), "steps"'):
        placeholders.fill(nodes, {})


def titled(**titles: str) -> Prompt:
    nodes = base()
    for node_id, title in titles.items():
        nodes[node_id.removeprefix("n")]["_meta"]["title"] = title
    return nodes


def test_parameters_named_in_titles_come_first() -> None:
    nodes = titled(n2="$prompt.text!", n3="Style $style.text", n5="$steps, $power.cfg")
    call = ToolCall(
        "run", shortcuts={"prompt": "fox", "steps": 7}, extras={"style": "ink", "power": "3"}
    )
    made = patched(nodes, call)
    assert made["2"]["inputs"]["text"] == "fox"
    assert made["3"]["inputs"]["text"] == "ink"
    assert (made["5"]["inputs"]["steps"], made["5"]["inputs"]["cfg"]) == (7, 3.0)
    with pytest.raises(PatchError, match='requires "prompt"'):
        planned(nodes, ToolCall("run"))


def test_a_title_that_names_no_input_says_which_there_are() -> None:
    with pytest.raises(PatchError, match="does not say which input"):
        title_parameters.find(graph.build(titled(n4="$size"), SCHEMAS))
    with pytest.raises(PatchError, match="has no input 'words'"):
        title_parameters.find(graph.build(titled(n2="$prompt.words"), SCHEMAS))


def test_a_price_in_a_title_is_no_parameter() -> None:
    assert not title_parameters.find(graph.build(titled(n2="costs $5", n3="US$ text"), SCHEMAS))


# -- describe and checks ---------------------------------------------------------------------------


def test_describe_tells_arguments_values_and_what_is_missing() -> None:
    found = graph.build(titled(n2="$prompt.text!"), SCHEMAS)
    wrong = validate.problems(found, SCHEMAS)
    text, fields = describe.describe(found, "base", wrong, ("put right",), full=False)
    assert "- prompt (required) =" in text
    assert "- steps = 7" in text
    assert "'my model.safetensors' (ckpt_name) is missing in models/checkpoints" in text
    assert "put right" in text
    assert {told["argument"] for told in fields["arguments"]} >= {"seed", "width", "checkpoint"}
    full, _ = describe.describe(found, "base", wrong, (), full=True)
    assert "sampler_name (choice) = " in full
    assert len(full) > len(text)


UI = {
    "nodes": [
        {"type": "Foreign", "properties": {"cnr_id": "some-pack"}},
        {
            "type": "CheckpointLoaderSimple",
            "properties": {
                "models": [
                    {"name": "a.ckpt", "url": "https://x/a.ckpt", "directory": "checkpoints"}
                ]
            },
        },
    ]
}


@pytest.mark.parametrize(
    ("node", "change", "told"),
    [
        ("5", {"class_type": "Foreign"}, "'some-pack'"),
        ("1", {"inputs": {"ckpt_name": "a.ckpt"}}, "https://x/a.ckpt"),
        ("5", {"steps": 0}, "'steps' is 0; it must be a number from 1 to 10000"),
        ("5", {"steps": "many"}, "'steps' is 'many'"),
        ("5", {"sampler_name": "eulr"}, "'eulr', which is not one of: euler"),
        ("5", {"positive": None}, "'positive'"),
        ("5", {"positive": ["4", 0]}, "is of type CONDITIONING, but output 0 of node 4"),
        ("5", {"positive": ["2", 3]}, "which has only 1"),
        ("5", {"positive": ["88", 0]}, "node 88, which is missing"),
    ],
)
def test_what_keeps_a_prompt_from_running_is_told_before(
    node: str, change: dict[str, Any], told: str
) -> None:
    nodes = base()
    if "class_type" in change or "inputs" in change:
        nodes[node] |= change
    else:
        nodes[node]["inputs"] |= change
    found = graph.build(nodes, SCHEMAS)
    wrong = validate.problems(found, SCHEMAS, validate.origin_of(UI))
    assert any(told in str(problem) for problem in wrong), [str(problem) for problem in wrong]


def test_a_missing_required_input_is_told() -> None:
    nodes = base()
    del nodes["6"]["inputs"]["vae"]
    wrong = validate.problems(graph.build(nodes, SCHEMAS), SCHEMAS)
    assert any("'vae' (VAE) has neither link nor value" in str(problem) for problem in wrong)


def test_a_branch_that_cannot_run_does_not_stop_the_others() -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", ["my model.safetensors"])
    nodes = base()
    nodes["20"] = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8}}
    nodes["21"] = {"class_type": "PreviewImage", "inputs": {"images": ["20", 0]}}
    nodes["22"] = {"class_type": "InvertMask", "inputs": {}}
    found = graph.build(nodes, schemas)
    checked = validate.check(found, nodes, validate.problems(found, schemas))
    assert set(checked.prompt) == {"1", "2", "3", "4", "5", "6", "7"}
    assert "'batch_size'" in checked.skipped_outputs["21 (PreviewImage)"]
