"""Each decision between a call and the prompt that is sent, so that none can change unseen."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import Param, ToolCall, parse
from comfyui_pipeline.errors import PatchError, ToolError
from comfyui_pipeline.workflow import (
    describe,
    graph,
    loras,
    matching,
    patch,
    placeholders,
    roles,
    schema,
    title_parameters,
    validate,
    values,
)
from comfyui_pipeline.workflow.convert import dynamic_text, widget_values, widgets

sys.path.insert(0, str(Path(__file__).parent))
import pumps

SCHEMAS = pumps.schemas()
node = pumps.node


def built(nodes: dict[str, Any], schemas: Any = None) -> graph.Graph:
    return graph.build(nodes, schemas or SCHEMAS)


def places(targets: list[graph.Target]) -> list[tuple[str, str]]:
    return [(target.node.id, target.name) for target in targets]


def own(
    kind: str = "INT", name: str = "n", required: bool = True, **options: Any
) -> dict[str, Any]:
    """The schema of a class of one input."""
    spec: list[Any] = [options.pop("choices", kind), options]
    group = "required" if required else "optional"
    return {"K": {"input": {group: {name: spec}}, "output": ["X"], "output_name": ["X"]}}


def fitted(
    value: Any, kind: str = "INT", *, strict: bool = False, **options: Any
) -> values.Coerced:
    found = graph.build({"1": node("K")}, own(kind, **options))
    return values.coerce(found, graph.Target(found.nodes["1"], "n"), value, strict=strict)


def changed(nodes: dict[str, Any], call: ToolCall, **more: Any) -> dict[str, Any]:
    plan = patch.plan(built(nodes), call, call.shortcuts, random_seed=99, **more)
    return patch.apply(nodes, plan.changes)


def base() -> dict[str, Any]:
    nodes = copy.deepcopy(pumps.PROMPT)
    nodes["2"]["inputs"]["text"] = "good"
    nodes["10"]["_meta"]["title"] = nodes["11"]["_meta"]["title"] = ""
    return nodes


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "taken", "options"),
    [
        (5, 5, {"min": 5, "max": 9}),
        (9, 9, {"min": 5, "max": 9}),
        ("7.0", 7, {}),
        (7.0, 7, {}),
        ("1e3", 1000, {}),
        (True, 1, {}),
        (12, 16, {"step": 8, "min": 0}),
        (20, 16, {"step": 8, "min": 0}),
        (13, 16, {"step": 8, "min": 0}),
        (11, 8, {"step": 8, "min": 0}),
        (13, 13, {"step": 8, "min": 0, "max": 15}),
        (17, 17, {"step": 8, "min": 1}),
        (16, 17, {"step": 8, "min": 1}),
        (3, 3, {"step": 1}),
        (3, 3, {"step": 0.5}),
        (10**30 + 1, 10**30, {"step": 10, "min": 0}),
    ],
)
def test_a_whole_number_is_kept_or_moved_to_its_step(given: Any, taken: int, options: Any) -> None:
    found = fitted(given, **options)
    assert found.value == taken
    assert type(found.value) is int
    assert bool(found.note) == (int(float(given)) != taken and found.value != given)


@pytest.mark.parametrize("given", [4, 10, "4", 1.5, "x", "", None, [1], {}, "9" * 50, 10**400])
def test_a_whole_number_outside_is_refused_with_the_range(given: Any) -> None:
    with pytest.raises(PatchError, match=r"from 5 to 9|type INT"):
        fitted(given, min=5, max=9)


def test_strict_moves_and_guesses_nothing() -> None:
    with pytest.raises(PatchError, match="a multiple of 8 plus 1"):
        fitted(16, strict=True, step=8, min=1)
    with pytest.raises(PatchError, match="a multiple of 8"):
        fitted(12, strict=True, step=8, min=0)
    with pytest.raises(PatchError, match="one of"):
        fitted("Euler", strict=True, choices=["euler"])
    assert fitted("Euler", choices=["euler"]) == values.Coerced("euler", "n 'Euler' → 'euler'")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ""),
        ({"min": 1}, " of at least 1"),
        ({"max": 2}, " of at most 2"),
        ({"min": 0, "max": 2}, " from 0 to 2"),
    ],
)
def test_a_range_is_told_as_far_as_it_is_known(options: Any, told: str) -> None:
    spec = graph.build({"1": node("K")}, own(**options)).nodes["1"].specs["n"]
    assert values.range_of(spec) == told


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("yes", True),
        ("ON", True),
        (" 1 ", True),
        (1, True),
        (True, True),
        ("off", False),
        ("No", False),
        (0, False),
    ],
)
def test_words_for_true_and_false(given: Any, taken: bool) -> None:
    assert fitted(given, "BOOLEAN").value is taken


@pytest.mark.parametrize("given", ["maybe", "", "2", 0.5])
def test_other_words_are_neither(given: Any) -> None:
    with pytest.raises(PatchError, match="true or false"):
        fitted(given, "BOOLEAN")


def test_texts_floats_and_choices_of_other_types() -> None:
    assert fitted(5, "STRING").value == "5"
    assert fitted("0.25", "FLOAT").value == 0.25
    assert fitted("2", choices=[1, 2]).value == 2
    assert fitted(1, choices=["1"]).value == "1"
    assert fitted("new.png", choices=["old.png"], image_upload=True).value == "new.png"
    assert fitted("x", required=False, choices=[]).value == "x"
    with pytest.raises(PatchError, match="server has no such file"):
        fitted("x", choices=[])
    with pytest.raises(PatchError, match="a number of at least 0"):
        fitted("nan", "FLOAT", min=0)


def test_a_link_has_to_lead_somewhere() -> None:
    nodes = base()
    for link, told in (
        (["99", 0], "link to a node"),
        (["1", 3], "has 3 outputs"),
        (["1", -1], "outputs"),
    ):
        call = ToolCall("run", params=(Param({"model": link}, node_id="5"),))
        with pytest.raises(PatchError, match=told):
            changed(nodes, call)
    call = ToolCall("run", params=(Param({"model": ["1", 0]}, node_id="5"),))
    assert changed(nodes, call)["5"]["inputs"]["model"] == ["1", 0]
    call = ToolCall("run", params=(Param({"model": "a.safetensors"}, node_id="5"),))
    with pytest.raises(PatchError, match="link"):
        changed(nodes, call)


def test_twelve_choices_are_listed_the_nearest_first() -> None:
    choices = tuple(f"name{n:02}" for n in range(20))
    told = values.listed(choices)
    assert told == ", ".join(choices[:12]) + " and 8 more"
    assert values.listed(choices, "name17").startswith("name17")
    assert values.listed(choices[:12]) == ", ".join(choices[:12])


# -- names -----------------------------------------------------------------------------------------


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
def test_the_name_that_is_meant(wanted: str, names: list[str], meant: tuple[str, ...]) -> None:
    assert matching.find(wanted, names, strict=False).names == meant


def test_thresholds_of_guessing() -> None:
    """84 of 100 takes a name, 55 suggests it, and a lead of 4 is clear."""
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
def test_other_words_for_an_input(wanted: str, meant: str) -> None:
    known = ["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"]
    found = matching.find_input(wanted, known, strict=False)
    assert found.names == (meant,)
    assert not matching.find_input(wanted, known, strict=True).names


# -- roles -----------------------------------------------------------------------------------------


def test_the_negative_text_never_comes_from_a_title_beside_a_positive_one_by_links() -> None:
    """A node that is called "Negative Prompt" but feeds nothing is not it."""
    nodes = base()
    nodes["5"]["inputs"]["negative"] = ["z", 0]
    nodes["z"] = node("ConditioningZeroOut", conditioning=["2", 0])
    assert roles.texts(built(nodes), "negative") == []
    with pytest.raises(PatchError, match='no input for "negative_prompt"'):
        changed(nodes, ToolCall("run", shortcuts={"negative_prompt": "x"}))


def test_without_a_sampler_titles_count_and_then_names() -> None:
    nodes = {
        "1": node("CLIPTextEncode", " Negative Prompt ", text="a"),
        "2": node("CLIPTextEncode", "positive prompt", text="b"),
        "3": node("CLIPTextEncode", "x", text="c"),
    }
    found = built(nodes)
    assert places(roles.texts(found, "negative")) == [("1", "text")]
    assert places(roles.texts(found, "positive")) == [("2", "text")]
    nodes["1"]["_meta"] = nodes["2"]["_meta"] = {"title": "other"}
    found = built(nodes)
    assert places(roles.texts(found, "positive")) == [("1", "text"), ("2", "text"), ("3", "text")]
    assert roles.texts(found, "negative") == []


def test_sizes_are_the_latents_and_else_what_has_both() -> None:
    nodes = base()
    assert places(roles.find_targets(built(nodes), "width")) == [("11", "width")]
    del nodes["11"]
    nodes["12"] = node("ImageScale", image=["4", 0], width=8, height=8)
    assert places(roles.find_targets(built(nodes), "height")) == [("12", "height")]


def test_steps_are_the_samplers_and_else_those_of_any_node() -> None:
    nodes = base()
    nodes["12"] = node("BasicScheduler", steps=9, scheduler="normal", denoise=1.0)
    assert places(roles.find_targets(built(nodes), "steps")) == [("5", "steps")]
    del nodes["5"]
    assert places(roles.find_targets(built(nodes), "steps")) == [("12", "steps")]


def test_guidance_counts_where_no_sampler_has_cfg() -> None:
    nodes = base()
    nodes["12"] = node("FluxGuidance", conditioning=["2", 0], guidance=3.5)
    assert places(roles.find_targets(built(nodes), "cfg")) == [("5", "cfg")]
    del nodes["5"]
    assert places(roles.find_targets(built(nodes), "cfg")) == [("12", "guidance")]


def test_pictures_and_masks_are_told_apart() -> None:
    nodes = base()
    assert places(roles.find_targets(built(nodes), "image")) == [("4", "image")]
    assert places(roles.find_targets(built(nodes), "mask")) == [("10", "image")]
    nodes["n"] = node("LoadImage", image="other.png")
    nodes["i"] = node("InvertMask", mask=["n", 1])
    assert places(roles.find_targets(built(nodes), "mask")) == [("10", "image")]
    del nodes["n"], nodes["i"]
    nodes["8"]["inputs"]["mask"] = ["m", 1]
    nodes["m"] = node("LoadImage", image="mask.png")
    del nodes["10"]
    assert places(roles.find_targets(built(nodes), "mask")) == [("m", "image")]
    assert places(roles.find_targets(built(nodes), "image")) == [("4", "image")]
    nodes["8"]["inputs"]["mask"] = ["4", 1]
    del nodes["m"]
    assert places(roles.find_targets(built(nodes), "mask")) == [("4", "image")]
    plan = patch.plan(built(nodes), ToolCall("run"), {"mask": "m.png"}, random_seed=1)
    assert [(c.mask, c.value) for c in plan.changes if c.source == "mask"] == [
        ("m.png", "example.png")
    ]


def test_a_switch_leads_to_the_side_that_is_on() -> None:
    nodes = base()
    nodes |= {"a": node("PrimitiveInt", value=1), "b": node("PrimitiveInt", value=2)}
    nodes["s"] = node("ComfySwitchNode", switch=True, on_false=["a", 0], on_true=["b", 0])
    nodes["5"]["inputs"]["steps"] = ["s", 0]
    assert places(roles.find_targets(built(nodes), "steps")) == [("b", "value")]
    nodes["s"]["inputs"]["switch"] = False
    assert places(roles.find_targets(built(nodes), "steps")) == [("a", "value")]


# -- changes ---------------------------------------------------------------------------------------


def test_one_value_cannot_mean_several_different_things() -> None:
    nodes = base()
    nodes["1b"] = node("CheckpointLoaderSimple", ckpt_name="b/c.ckpt")
    with pytest.raises(PatchError, match="2 inputs"):
        changed(nodes, ToolCall("run", shortcuts={"checkpoint": "c"}))
    nodes["1b"]["inputs"]["ckpt_name"] = "a.safetensors"
    made = changed(nodes, ToolCall("run", shortcuts={"checkpoint": "c"}))
    assert made["1"]["inputs"]["ckpt_name"] == made["1b"]["inputs"]["ckpt_name"] == "b/c.ckpt"
    nodes["4b"] = node("LoadImage", image="example.png")
    with pytest.raises(PatchError, match='Or pass them as "images"'):
        changed(nodes, ToolCall("run", shortcuts={"image": "x.png"}))
    made = changed(nodes, ToolCall("run", shortcuts={"images": ("x.png", "y.png")}))
    assert [made[i]["inputs"]["image"] for i in ("4", "4b")] == ["x.png", "y.png"]
    with pytest.raises(PatchError, match="3 images were given, but this workflow takes 2"):
        changed(nodes, ToolCall("run", shortcuts={"images": ("x", "y", "z")}))


def test_a_drawn_seed_is_brought_into_the_range_and_a_given_one_is_not() -> None:
    schemas = copy.deepcopy(dict(SCHEMAS))
    schemas["KSampler"]["input"]["required"]["seed"] = ["INT", {"min": 0, "max": 49}]
    found = built(base(), schemas)
    plan = patch.plan(found, ToolCall("run"), {}, random_seed=99)
    assert [c.value for c in plan.changes] == [49]
    with pytest.raises(PatchError, match="from 0 to 49"):
        patch.plan(found, ToolCall("run", seed=99), {}, random_seed=1)
    nodes = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=0)}
    with pytest.raises(PatchError, match="has no seed input"):
        changed(nodes, ToolCall("run", seed=1))


def test_file_names_keep_the_workflows_folder() -> None:
    nodes = base()
    nodes["7"]["inputs"]["filename_prefix"] = "a/b/ComfyUI"
    assert (
        changed(nodes, ToolCall("run"), prefix="fox")["7"]["inputs"]["filename_prefix"] == "a/b/fox"
    )


def test_titles_mean_nodes_by_spelling_role_class_and_likeness() -> None:
    def touched(title: str, **inputs: Any) -> list[str]:
        call = ToolCall("run", params=(Param(inputs or {"text": "new"}, node_title=title),))
        nodes = base()
        made = changed(nodes, call)
        return [
            i
            for i in made
            if made[i]["inputs"].get("text") == "new" or made[i]["inputs"].get("steps") == 7
        ]

    size = ToolCall("run", params=(Param({"width": 128}, node_title="size"),))
    assert changed(base(), size)["11"]["inputs"]["width"] == 128
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
        changed(base(), strict)
    every = ToolCall("run", params=(Param({"text": "all"}, node_title="CLIPTextEncode", all=True),))
    assert [changed(base(), every)[i]["inputs"]["text"] for i in ("2", "3")] == ["all", "all"]


# -- LoRAs, titles, templates ----------------------------------------------------------------------


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
    found = built(base())
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


def test_title_parameters() -> None:
    nodes = {
        "1": node("CLIPTextEncode", "$words.text! and $~pic", text="a", clip=["9", 0]),
        "2": node("LoadImage", "$~pic", image="a.png"),
    }
    nodes["1"]["_meta"]["title"] = "$words.text!"
    nodes["3"] = node("CLIPTextEncode", "$words", text="b", clip=["9", 0])
    found = title_parameters.find(built(nodes))
    assert {n: (p.file, p.required, len(p.targets)) for n, p in found.items()} == {
        "words": (False, True, 2),
        "pic": (True, False, 1),
    }
    with pytest.raises(PatchError, match='requires "words"'):
        changed(nodes, ToolCall("run"))
    nodes["1"]["_meta"]["title"] = "$words.nothing"
    with pytest.raises(PatchError, match="has no input 'nothing'"):
        title_parameters.find(built(nodes))


def test_templates_keep_types_and_may_leave_some_empty() -> None:
    nodes = {
        "1": node(
            "A", w="{{ WIDTH }}", t="a {{NEGATIVE_PROMPT}}b {{STEPS}}", o="{{width}}", l="{{LORAS}}"
        )
    }
    filled = placeholders.fill(nodes, {"width": 5, "steps": 7})
    assert filled.nodes["1"]["inputs"] == {"w": 5, "t": "a b 7", "o": "{{width}}", "l": ""}
    assert filled.used == {"width", "steps"}
    with pytest.raises(PatchError, match=r'"prompt" \(for \{\{USER_PROMPT\}\}\)'):
        placeholders.fill({"1": node("A", t="{{USER_PROMPT}}")}, {})
    assert (
        placeholders.fill({"1": node("A", t="x {{LORAS}}")}, {"loras": ("a", "b")}).nodes["1"][
            "inputs"
        ]["t"]
        == "x a, b"
    )


# -- the editor ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a // b\nc", "a \nc"),
        ("http://x /* y */z", "http://x z"),
        ("/* open", "/* open"),
        (r"\{a|b\}", "{a|b}"),
        ("{only}", "only"),
        ("{a", "a"),
        ("a}", "a}"),
        ("{{x}}", "x"),
    ],
)
def test_texts_without_a_choice(text: str, made: str) -> None:
    import random

    assert dynamic_text.choose(text, random.Random(1), []) == made


def test_file_names_with_dates_and_widgets() -> None:
    from datetime import datetime

    now = datetime(2026, 3, 4, 5, 6, 7)

    def value_of(name: str, widget: str) -> object:
        return {"n.a": 2.0, "n.b": True, "n.c": 'x/"y"', "n.d": None}[f"{name}.{widget}"]

    text = "%date:yyyy-MM-dd hh:mm:ss yy M%|%n.a%|%n.b%|%n.c%|%n.d%|%n.none%|%year%|%a.b.c%"
    assert dynamic_text.replace_patterns(text, value_of, now) == (
        "2026-03-04 05:06:07 26 3|2|true|x__y_||%n.none%|%year%|%a.b.c%"
    )
    long = "%n.a%" + "x" * 4096
    assert dynamic_text.replace_patterns(long, value_of, now) == long


def test_saved_values_of_another_version_are_laid_out_anew() -> None:
    sampler = schema.read(SCHEMAS["KSampler"])
    made = widgets.layout(sampler)
    told = widget_values.assign(made, [5, "randomize", 20, 8.0, "euler", "normal", 0.5], sampler)
    assert told is None
    made = widgets.layout(sampler)
    told = widget_values.assign(made, [5, 20, 8.0, "euler", "normal", 0.5], sampler)
    got = {w.name: w.value for w in made.widgets if w.sent}
    assert told is not None
    assert got == {
        "seed": 5,
        "steps": 20,
        "cfg": 8.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 0.5,
    }


@pytest.mark.parametrize(
    ("first", "second", "linkable"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "image", True),
        ("IMAGE", "MASK", False),
        ("*", "X", True),
        ("X", "", True),
        ("A,B", "b,c", True),
        ("A,B", "C", False),
        ("A,*", "C", True),
    ],
)
def test_types_that_may_be_linked(first: str, second: str, linkable: bool) -> None:
    assert schema.types_match(first, second) == linkable


# -- what keeps a prompt from running --------------------------------------------------------------


def test_what_is_wrong_is_told_for_the_output_that_needs_it() -> None:
    nodes = base()
    nodes["p"] = node("PreviewImage", images=["4", 0])
    nodes["5"]["inputs"].update(steps=0, cfg=1000, denoise=5, sampler_name="none")
    found = built(nodes)
    wrong = validate.problems(found, SCHEMAS)
    checked = validate.check(found, nodes, wrong)
    assert set(checked.prompt) == {"4", "p"}
    (why,) = checked.skipped_outputs.values()
    assert why.count("node 5") == 3
    for told in ("'steps' is 0", "'sampler_name' is 'none'", "'cfg' is 1000"):
        assert told in why
    assert len(wrong) == 4


def test_a_model_that_is_missing_is_told_with_its_folder_and_the_nearest() -> None:
    nodes = base()
    nodes["1"]["inputs"]["ckpt_name"] = "aa.safetensors"
    (problem,) = validate.problems(built(nodes), SCHEMAS)
    assert "is missing in models/checkpoints" in str(problem)
    assert "similar: a.safetensors" in str(problem)
    assert problem.maybe_stale
    assert not problem.missing_type


def test_the_short_description_shows_forty_nodes_and_ten_problems() -> None:
    nodes = {
        str(n): node("CLIPTextEncode", f"T{n}", text="x" * 81, clip=["c", 1]) for n in range(41)
    }
    found = built(nodes)
    wrong = validate.problems(found, SCHEMAS)
    text, fields = describe.describe(found, "w", wrong, ("a note",), full=False)
    assert "- and 1 more" in text
    assert text.count("is linked to node c") == 10
    assert len(fields["problems"]) == 41
    assert "Note: a note" in text
    full, _ = describe.describe(found, "w", wrong, (), full=True)
    assert f'"{"x" * 79}…' in full
    assert "and 1 more" not in full


# -- calls -----------------------------------------------------------------------------------------


def parsed(**call: Any) -> ToolCall:
    return parse(json.dumps(call).encode())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("steps", 1, 10_000),
        ("width", 1, 16_384),
        ("height", 1, 16_384),
        ("batch_size", 1, 4096),
        ("cfg", 0, 1000),
        ("denoise", 0, 1),
        ("strength", -100, 100),
    ],
)
def test_the_range_of_each_argument(name: str, low: int, high: int) -> None:
    for value in (low, high, str(high)):
        assert parsed(workflow="x", **{name: value}).shortcuts[name] == float(value)
    for value in (low - 1, high + 1):
        with pytest.raises(ToolError, match=f"from {low} to {high}"):
            parsed(workflow="x", **{name: value})


def test_defaults_of_a_call() -> None:
    call = parsed(workflow="x")
    assert call == ToolCall("run", workflow="x")
    assert not any((call.strict, call.add_loras, call.full, call.cancel_on_timeout, call.previews))
    assert (call.seed, call.max_side, call.return_image) == (None, None, "")
    assert parsed(workflow="x", negative_prompt="").shortcuts == {"negative_prompt": ""}
    assert parsed(workflow="x", prompt="").shortcuts == {}
    assert parsed(command="result", prompt_id="a").wait == 0.0
    assert parsed(command="result", prompt_id="a", wait="86400").wait == 86_400
    assert [parsed(workflow="x", seed=s).seed for s in ("-1", "random", 2**64 - 1, "0")] == [
        None,
        None,
        2**64 - 1,
        0,
    ]
    assert parsed(workflow="x", showbase64="true").return_image == "preview"
    assert parsed(workflow="x", showbase64="false").return_image == "none"
    assert parsed(workflow="x", lora_nodes="add").add_loras
    assert parsed(workflow="x", max_side=16).max_side == 16
    for value in (15, 16_385):
        with pytest.raises(ToolError, match="from 16 to 16384"):
            parsed(workflow="x", max_side=value)
    with pytest.raises(ToolError, match="18446744073709551615"):
        parsed(workflow="x", seed=2**64)
    with pytest.raises(ToolError, match="from 0 to 86400"):
        parsed(command="result", prompt_id="a", wait=86_401)


def test_lists_are_split_at_lines_and_else_at_commas() -> None:
    assert parsed(workflow="x", images="a, b ,").shortcuts["images"] == ("a", "b")
    assert parsed(workflow="x", images="a,1\nb").shortcuts["images"] == ("a,1", "b")
    assert parsed(workflow="x", images="data:x,y").shortcuts["images"] == ("data:x,y",)
    assert parsed(workflow="x", images='["a,b"]').shortcuts["images"] == ("a,b",)


def test_a_key_near_a_known_one_is_doubted_and_others_are_not() -> None:
    assert set(parsed(workflow="x", promt="a", negativ_prompt="b", foo="c").ignored) == {
        "promt",
        "negativ_prompt",
    }
