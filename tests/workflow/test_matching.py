"""Matching names of nodes, inputs and files: exact, fuzzy, by alias."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.call import Param, ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import matching
from tests.workflow.editor_prompts import editor_prompt, patch_editor, plan_editor, with_choices
from tests.workflow.prompts import base, patch_default


@pytest.mark.parametrize(
    ("wanted", "names", "meant"),
    [
        ("Positive Prompt", ["positive prompt", "x"], ("positive prompt",)),
        ("ｆｏｘ", ["fox"], ("fox",)),
        ("positive promt", ["positive prompt", "negative prompt"], ("positive prompt",)),
        ("abcdefgh", ["qrstuvwx"], ()),
        ("sampler", ["scheduler"], ()),
        ("loader 1", ["loader 2", "loader 3"], ("loader 2", "loader 3")),
        ("", ["a"], ()),
        ("x" * 501, ["x" * 500], ()),
        ("x" * 501, ["x" * 501], ("x" * 501,)),
    ],
)
def test_which_name_matches(wanted: str, names: list[str], meant: tuple[str, ...]) -> None:
    assert matching.find(wanted, names, strict=False).names == meant


def test_the_thresholds_of_fuzzy_matching() -> None:
    """A score of 84 of 100 matches, 55 suggests; a lead of 4 makes a match unambiguous."""
    from rapidfuzz import fuzz

    def score(one: str, other: str) -> float:
        return float(fuzz.WRatio(one, other))

    for wanted, name in (
        ("abcdefghij", "abcdefghxy"),
        ("abcdefghijkl", "abcdefghijxy"),
        ("dreamshapr", "dreamshaper"),
        ("abcde", "abcxy"),
    ):
        likeness = score(wanted, name)
        assert bool(matching.fuzzy_match(wanted, [name]).names) == (likeness >= 84)
        assert bool(matching.nearest(wanted, [name])) == (likeness >= 55)
    assert 80 <= score("abcdefghij", "abcdefghxy") < 84
    assert 84 <= score("abcdefghijklm", "abcdefghijkxy") < 86
    assert matching.fuzzy_match("abcdefghijklm", ["abcdefghijkxy"]).names
    assert 55 <= score("abcde", "abcxy") < 62
    assert 45 < score("abcdefghijk", "abcdexxyyzz") < 55
    assert not matching.nearest("abcdefghijk", ["abcdexxyyzz"])
    close = matching.fuzzy_match("style number 10", ["style number 11", "style number 12", "other"])
    assert close.names == ("style number 11", "style number 12")


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("cfg_scale", "cfg"),
        ("guidance", "cfg"),
        ("sampler", "sampler_name"),
        ("num steps", "steps"),
        ("CFG", "cfg"),
        ("noise-seed", "seed"),
    ],
)
def test_aliases_of_inputs(wanted: str, meant: str) -> None:
    known = ["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"]
    found = matching.find_input(wanted, known, strict=False)
    assert found.names == (meant,)
    assert not matching.find_input(wanted, known, strict=True).names


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
def test_a_model_is_found_by_other_spellings_of_its_file_name(wanted: str, meant: str) -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", MODELS)
    plan = plan_editor(editor_prompt(), ToolCall("run", shortcuts={"checkpoint": wanted}), schemas)
    assert {c.target.name: c.value for c in plan.changes}["ckpt_name"] == meant
    assert (wanted == meant) or any(repr(meant) in guess for guess in plan.guesses)


@pytest.mark.parametrize("wanted", ["cat", "sdxl base", "flux1-dev.safetensors"])
def test_a_missing_model_is_never_replaced_by_another(wanted: str) -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", MODELS)
    with pytest.raises(PatchError, match="dreamshaper_8"):
        plan_editor(editor_prompt(), ToolCall("run", shortcuts={"checkpoint": wanted}), schemas)


def test_an_ambiguous_match_names_both_candidates() -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", ["fox_v1.ckpt", "fox_v2.ckpt"])
    with pytest.raises(PatchError, match=r"fox_v1.ckpt and fox_v2.ckpt"):
        plan_editor(editor_prompt(), ToolCall("run", shortcuts={"checkpoint": "fox"}), schemas)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("DPM++ 2M", "dpmpp_2m"), ("Euler a", "euler_ancestral"), ("EULER", "euler")],
)
def test_samplers_are_matched_by_alias(wanted: str, meant: str) -> None:
    prompt = patch_editor(editor_prompt(), ToolCall("run", shortcuts={"sampler": wanted}))
    assert prompt["5"]["inputs"]["sampler_name"] == meant


@pytest.mark.parametrize(
    "param",
    [
        Param({"cfg_scale": "6"}, node_title="ＫＳampler "),
        Param({"Guidance": "6"}, node_title="sampler"),
        Param({"cfg": "6"}, node_title="k sampler"),
    ],
)
def test_nodes_and_inputs_match_by_role_node_type_similarity_and_alias(param: Param) -> None:
    assert (
        patch_editor(editor_prompt(), ToolCall("run", params=(param,)))["5"]["inputs"]["cfg"] == 6.0
    )


def test_strict_turns_fuzzy_matching_off() -> None:
    for param in (
        Param({"cfg": "6"}, node_title="k sampler"),
        Param({"cfg_scale": "6"}, node_id="5"),
        Param({"sampler_name": "DPM++ 2M"}, node_id="5"),
        Param({"width": "513"}, node_id="4"),
    ):
        assert patch_editor(editor_prompt(), ToolCall("run", params=(param,)))
        with pytest.raises(PatchError):
            plan_editor(editor_prompt(), ToolCall("run", params=(param,), strict=True))


def test_a_size_between_two_steps_is_rounded_and_reported() -> None:
    plan = plan_editor(editor_prompt(), ToolCall("run", shortcuts={"width": 515}))
    assert next(c.value for c in plan.changes if c.target.name == "width") == 512
    assert "515 → 512" in plan.guesses[0]


def test_a_title_with_a_typo_is_matched_and_reported() -> None:
    nodes = editor_prompt()
    nodes["2"]["_meta"]["title"] = "Main Description"
    plan = plan_editor(
        nodes, ToolCall("run", params=(Param({"text": "x"}, node_title="main descripton"),))
    )
    assert any(c.target.node.id == "2" for c in plan.changes)
    assert "node 'main descripton' → 2 \"Main Description\"" in plan.guesses[0]


@pytest.mark.parametrize("words", ["", "…", "+", "🦊", "a" * 300])
def test_matching_accepts_any_text(words: str) -> None:
    assert matching.find(words, ["one", "two"], strict=False).names == ()
    assert matching.nearest(words, []) == []


def test_node_titles_match_by_spelling_role_node_type_and_similarity() -> None:
    def touched(title: str, **inputs: Any) -> list[str]:
        call = ToolCall("run", params=(Param(inputs or {"text": "new"}, node_title=title),))
        nodes = base()
        prompt = patch_default(nodes, call)
        return [
            i
            for i in prompt
            if prompt[i]["inputs"].get("text") == "new" or prompt[i]["inputs"].get("steps") == 7
        ]

    size = ToolCall("run", params=(Param({"width": 128}, node_title="size"),))
    begun = base()
    begun["5"]["inputs"]["latent_image"] = ["11", 0]
    assert patch_default(begun, size)["11"]["inputs"]["width"] == 128
    assert touched("positive prompt") == ["2"]
    assert touched("negative") == ["3"]
    assert touched("Negtive Prompt") == ["3"]
    assert touched("sampler", steps=7) == ["5"]
    assert touched("ksampler", steps=7) == ["5"]
    with pytest.raises(PatchError, match="no node titled"):
        touched("something else entirely")
    strict = ToolCall(
        "run", strict=True, params=(Param({"text": "x"}, node_title="positive prompt"),)
    )
    with pytest.raises(PatchError, match="no node titled"):
        patch_default(base(), strict)
    every = ToolCall("run", params=(Param({"text": "all"}, node_title="CLIPTextEncode", all=True),))
    assert [patch_default(base(), every)[i]["inputs"]["text"] for i in ("2", "3")] == ["all", "all"]
