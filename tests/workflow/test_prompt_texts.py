"""Which texts of a workflow a prompt is written into, and which never."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import call as tool_call
from comfyui_pipeline import describe_command
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import roles
from tests.workflow import offline_calls
from tests.workflow.prompts import SCHEMAS, base, build_graph, node, patch_prompt

CONDITION, TEXT, LONG = ["CONDITIONING"], ["STRING"], ["STRING", {"multiline": True}]


def node_type(outputs: list[str], **inputs: Any) -> dict[str, Any]:
    return {"input": {"required": inputs}, "output": outputs, "output_name": outputs}


TYPES: dict[str, Any] = {
    **SCHEMAS,
    "Text": node_type(["STRING"], value=LONG),
    "Join": node_type(["STRING"], string_a=LONG, string_b=LONG, delimiter=TEXT),
    "Replace": node_type(["STRING"], string=LONG, find=TEXT, replace=LONG),
    "Extract": node_type(["STRING"], string=LONG, regex_pattern=TEXT),
    "Writer": node_type(["STRING"], prompt=LONG, context=LONG, api_key=TEXT),
    "Seeing": node_type(["STRING"], prompt=LONG, image=["IMAGE"]),
    "Refer": node_type(["CONDITIONING"], conditioning=CONDITION, latent=["LATENT"]),
    "Zero": node_type(["CONDITIONING"], conditioning=CONDITION),
    "ZeroOut": node_type(["CONDITIONING"], conditioning=CONDITION),
    "Mix": node_type(["CONDITIONING"], one=CONDITION, two=CONDITION),
    "Guider": node_type(["GUIDER"], cond1=CONDITION, cond2=CONDITION, negative=CONDITION),
    "Inversion": node_type(["GUIDER"], source_cond=CONDITION, target_cond=CONDITION),
    "Patch": node_type(["MODEL"], model=["MODEL"], nag_cond=CONDITION),
    "Sample": node_type(["LATENT"], guider=["GUIDER"]),
    "Context": {
        "input": {
            "optional": {"base": ["CTX"], "positive": CONDITION, "negative": CONDITION},
        },
        "output": ["CTX", "CONDITIONING", "CONDITIONING"],
        "output_name": ["CONTEXT", "POSITIVE", "NEGATIVE"],
    },
    "Service": node_type(["IMAGE"], text_prompt=LONG, system_prompt=LONG),
    "Film": node_type(["VIDEO"], prompt=LONG),
    "SaveFilm": {**node_type([], video=["VIDEO"]), "output_node": True},
}


def encoders(**texts: Any) -> dict[str, Any]:
    return {name: node("CLIPTextEncode", text=text, clip=["1", 1]) for name, text in texts.items()}


def with_sampler(positive: Any, negative: Any = None) -> dict[str, Any]:
    nodes = base()
    del nodes["2"], nodes["3"]
    nodes |= encoders(bad="blur")
    nodes["5"]["inputs"] |= {"positive": positive, "negative": negative or ["bad", 0]}
    return nodes


def two_texts() -> dict[str, Any]:
    nodes = with_sampler(["m", 0]) | encoders(**{"2": "a zebra", "e": "a lion"})
    nodes["m"] = node("ConditioningCombine", conditioning_1=["2", 0], conditioning_2=["e", 0])
    return nodes


def with_text(**nodes: Any) -> dict[str, Any]:
    """A workflow whose positive text comes from the node ``last``."""
    return with_sampler(["2", 0]) | encoders(**{"2": ["last", 0]}) | nodes


def with_guider(kind: str, **inputs: Any) -> dict[str, Any]:
    nodes = base()
    del nodes["2"], nodes["3"], nodes["5"]
    nodes["g"] = node(kind, **inputs)
    nodes["s"] = node("Sample", guider=["g", 0])
    nodes["6"]["inputs"]["samples"] = ["s", 0]
    return nodes | encoders(a="a fox", b="blur")


PLACES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a guider's third condition, behind another node": (
        with_guider("Guider", cond1=["a", 0], cond2=["r", 0], negative=["b", 0])
        | {"r": node("Refer", conditioning=["b", 0], latent=["11", 0])},
        ["a.text"],
    ),
    "an inversion's source": (
        with_guider("Inversion", source_cond=["b", 0], target_cond=["a", 0]),
        ["a.text"],
    ),
    "a model's own negative condition": (
        with_sampler(["2", 0])
        | encoders(**{"2": "a fox"})
        | {"9": node("Patch", model=["1", 0], nag_cond=["bad", 0])},
        ["2.text"],
    ),
    "contexts": (
        with_sampler(["c2", 1], ["c2", 2])
        | encoders(**{"2": "a fox"})
        | {
            "c1": node("Context", positive=["2", 0], negative=["bad", 0]),
            "c2": node("Context", base=["c1", 0]),
        },
        ["2.text"],
    ),
    "an empty encoder beside": (
        with_sampler(["m", 0])
        | encoders(**{"2": "a fox", "e": ""})
        | {"m": node("Mix", one=["2", 0], two=["e", 0])},
        ["2.text"],
    ),
    "equal texts": (
        with_sampler(["m", 0])
        | encoders(**{"2": "a fox", "e": "a fox "})
        | {"m": node("Mix", one=["2", 0], two=["e", 0])},
        ["2.text", "e.text"],
    ),
    "joined with trigger words": (
        with_text(
            last=node("Join", string_a=["t", 0], string_b=["p", 0], delimiter=", "),
            t=node("Text", "String (Trigger Word)", value="360 image"),
            p=node("Text", "String (Prompt)", value="a room"),
        ),
        ["p.value"],
    ),
    "joined with a text of its own": (
        with_text(
            last=node("Join", string_a="masterpiece", string_b=["p", 0], delimiter=", "),
            p=node("Text", value="a room"),
        ),
        ["p.value"],
    ),
    "joined with an empty one": (
        with_text(last=node("Join", string_a="masterpiece", string_b="", delimiter=", ")),
        ["last.string_b"],
    ),
    "joined with what a pattern finds": (
        with_text(
            last=node("Join", string_a=["x", 0], string_b=["p", 0], delimiter=""),
            x=node("Extract", string="You are helpful.\nDraw.", regex_pattern=["q", 0]),
            q=node("Text", value="^.*$"),
            p=node("Text", "User Prompt", value="make it night"),
        ),
        ["p.value"],
    ),
    "put into a template": (
        with_text(
            last=node("Replace", string=["t", 0], find="{user}", replace=["p", 0]),
            t=node("Text", value="a photo of {user}, sharp"),
            p=node("Text", value="a fox"),
        ),
        ["p.value"],
    ),
    "rewritten by a model": (
        with_text(
            last=node("Writer", prompt=["p", 0], context="You write prompts.", api_key=["k", 0]),
            p=node("Text", value="a fox"),
            k=node("Text", value="secret"),
        ),
        ["p.value"],
    ),
    "a service's text": (
        {
            "1": node("Service", text_prompt="a fox", system_prompt="Be helpful."),
            "7": node("SaveImage", images=["1", 0], filename_prefix="x"),
        },
        ["1.text_prompt"],
    ),
}
REFUSED: dict[str, dict[str, Any]] = {
    "written by a model that sees": {
        "i": node("LoadImage", image="photo.png"),
        "w": node("Seeing", prompt="STEP 1: describe both pictures", image=["i", 0]),
        "f": node("Film", prompt=["w", 0]),
        "7": node("SaveFilm", video=["f", 0]),
    },
    "different texts": with_sampler(["m", 0])
    | encoders(**{"2": "a zebra", "e": "a chameleon"})
    | {"m": node("Mix", one=["2", 0], two=["e", 0])},
}


def changed(before: dict[str, Any], after: dict[str, Any], text: str) -> list[str]:
    return [f"{i}.{k}" for i in before for k, v in after[i]["inputs"].items() if v == text]


@pytest.mark.parametrize("case", PLACES)
def test_a_prompt_goes_into_the_text_that_a_person_wrote(case: str) -> None:
    nodes, places = PLACES[case]
    call = ToolCall("run", shortcuts={"prompt": "NEW"})
    assert sorted(changed(nodes, patch_prompt(nodes, TYPES, call), "NEW")) == sorted(places)


@pytest.mark.parametrize("case", PLACES)
def test_prompts_with_one_entry_are_a_prompt(case: str) -> None:
    nodes, places = PLACES[case]
    call = ToolCall("run", shortcuts={"prompts": ("NEW",)})
    assert sorted(changed(nodes, patch_prompt(nodes, TYPES, call), "NEW")) == sorted(places)


@pytest.mark.parametrize("case", REFUSED)
def test_a_prompt_is_refused_where_no_text_is_certainly_meant(case: str) -> None:
    with pytest.raises(PatchError):
        patch_prompt(REFUSED[case], TYPES, ToolCall("run", shortcuts={"prompt": "NEW"}))


def test_a_zeroed_negative_side_has_no_text() -> None:
    nodes = with_sampler(["2", 0], ["z", 0]) | encoders(**{"2": "a fox", "n": "blur"})
    nodes["z"] = node("ZeroOut", conditioning=["n", 0])
    with pytest.raises(PatchError, match='no input for "negative_prompt"'):
        patch_prompt(nodes, TYPES, ToolCall("run", shortcuts={"negative_prompt": "NEW"}))


def test_a_growing_switch_is_followed_and_a_zeroed_text_is_no_prompt() -> None:
    nodes = with_sampler(["s", 0], ["z", 0]) | encoders(**{"2": "", "n": ""})
    nodes |= {"s": node("Any", any_03=["2", 0]), "z": node("ZeroOut", conditioning=["n", 0])}
    types = {**TYPES, "Any": {"input": {}, "output": ["*"]}}
    call = ToolCall("run", shortcuts={"prompt": "NEW"})
    assert changed(nodes, patch_prompt(nodes, types, call), "NEW") == ["2.text"]
    nodes["s"] = node("Unknown", x=["other", 0])  # where the positive side cannot be followed
    del nodes["2"]
    with pytest.raises(PatchError, match='no input for "prompt"'):
        patch_prompt(nodes, types, call)


def test_prompts_fill_different_texts_in_order(tmp_path: Path) -> None:
    nodes = two_texts()
    chosen = offline_calls.settings_in(tmp_path)
    call = {"workflow_json": nodes, "prompts": '["one, two", "three"]'}
    job = offline_calls.prepare_call(call, chosen)
    assert [job.job.prompt[i]["inputs"]["text"] for i in ("2", "e")] == ["one, two", "three"]
    job = offline_calls.prepare_call({**call, "prompts": "only the first"}, chosen)
    assert [job.job.prompt[i]["inputs"]["text"] for i in ("2", "e")] == ["only the first", "a lion"]
    assert "2 prompts" in " ".join(job.notes)
    error = offline_calls.error_of({"workflow_json": nodes, "prompt": "x"}, chosen)
    assert '"a zebra"' in error
    assert '"prompts"' in error
    error = offline_calls.error_of({**call, "prompts": "a\nb\nc"}, chosen)
    assert "3 prompts were given, but this workflow has 2" in error


def test_prompts_of_a_workflow_with_one_text_hold_one(tmp_path: Path) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    call = {"workflow_json": base(), "prompts": ["a {red|red} fox"]}
    job = offline_calls.prepare_call(call, chosen)
    assert job.job.prompt["2"]["inputs"]["text"] == "a red fox"
    assert '"prompt2"' in offline_calls.error_of({**call, "prompts": ["a", "b"]}, chosen)


def test_a_graph_of_many_samplers_shares_what_is_followed() -> None:
    nodes = with_sampler(["m0", 0]) | encoders(**{"2": "a fox"})
    nodes["m0"] = node("Refer", conditioning=["2", 0])
    for number in range(1, 2000):
        nodes[f"m{number}"] = node("Refer", conditioning=[f"m{number - 1}", 0])
        nodes[f"s{number}"] = {
            **nodes["5"],
            "inputs": {**nodes["5"]["inputs"], "positive": [f"m{number}", 0]},
        }
        nodes["7"]["inputs"][f"also{number}"] = [f"s{number}", 0]
    found = build_graph(nodes, TYPES)
    assert [t.node.id for t in roles.texts(found, "positive")] == ["2"]


def test_describe_names_prompts_for_different_texts(tmp_path: Path) -> None:
    nodes = two_texts()
    call = tool_call.parse(json.dumps({"command": "describe", "workflow_json": nodes}).encode())
    described = describe_command.describe(
        call,
        offline_calls.settings_in(tmp_path),
        offline_calls.StubServer(),  # type: ignore[arg-type]
        time.monotonic(),
        CallRecord(),
    )
    assert '- prompts = "a zebra" | "a lion"' in described["content"][0]["text"]
