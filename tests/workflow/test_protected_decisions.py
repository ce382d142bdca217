"""Decisions about workflows that a small change could reverse unnoticed: each has a test that notices."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.call import ToolCall, parse
from comfyui_pipeline.errors import PatchError, WorkflowError
from comfyui_pipeline.workflow import files, graph, loras, patch, placeholders, validate
from comfyui_pipeline.workflow.convert import dynamic_text

PROMPT = {"1": {"class_type": "SaveImage", "inputs": {}}}
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
SCHEMAS = {"Sampler": SAMPLER, "Text": TEXT, "Zero": ZERO, "Model": MODEL}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {}}


def changes(nodes: dict[str, Any], call: ToolCall, schemas: Any = None) -> dict[str, Any]:
    """Node id and input -> its new value."""
    plan = patch.plan(graph.build(nodes, schemas or SCHEMAS), call, call.shortcuts, random_seed=99)
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


def test_a_negative_prompt_never_takes_the_place_of_the_positive_one() -> None:
    wanted = ToolCall("run", shortcuts={"negative_prompt": "x"}, seed=5)
    assert changes(sampling("n"), wanted) == {"n.text": "x", "s.seed": 5}
    for shared in ("t", "z"):
        with pytest.raises(PatchError, match="negative_prompt"):
            changes(sampling(shared), wanted)
        both = ToolCall("run", shortcuts={"prompt": "y"}, seed=5)
        assert changes(sampling(shared), both) == {"t.text": "y", "s.seed": 5}


def test_a_drawn_seed_is_spread_over_a_small_range() -> None:
    small = {**SAMPLER, "input": {"required": {**SAMPLER["input"]["required"]}}}  # type: ignore[index]
    small["input"]["required"]["seed"] = ["INT", {"min": 0, "max": 9}]
    found = changes(sampling("n"), ToolCall("run"), {**SCHEMAS, "Sampler": small})
    assert found == {"s.seed": 99 % 10}


@pytest.mark.parametrize("seed", ["-1", -1, "random", " Random ", None, "－1"])
def test_a_seed_of_minus_one_is_drawn(seed: Any) -> None:
    call = parse(json.dumps({"workflow": "x", "seed": seed}).encode())
    assert call.seed is None
    assert changes(sampling("n"), call) == {"s.seed": 99}


@pytest.mark.parametrize("seed", ["-2", "1.5", str(2**64), "abc"])
def test_no_other_seed_is_drawn_in_silence(seed: str) -> None:
    from comfyui_pipeline.errors import CallError

    with pytest.raises(CallError, match="seed"):
        parse(json.dumps({"workflow": "x", "seed": seed}).encode())


def test_an_empty_negative_prompt_empties_the_text_and_other_empty_arguments_are_none() -> None:
    call = parse(b'{"workflow": "x", "seed": 5, "negative_prompt": "", "prompt": "", "cfg": ""}')
    assert dict(call.shortcuts) == {"negative_prompt": ""}
    assert changes(sampling("n"), call) == {"n.text": "", "s.seed": 5}


def test_all_of_a_call_counts_for_each_of_its_params() -> None:
    entry = {"node_title": "Text", "inputs": {"text": "x"}}
    nodes = sampling("n")
    call = {"workflow": "x", "seed": 5, "params": [entry]}
    with pytest.raises(PatchError, match=r'2 nodes match .*"all": true'):
        changes(nodes, parse(json.dumps(call).encode()))
    expected = {"t.text": "x", "n.text": "x", "s.seed": 5}
    assert changes(nodes, parse(json.dumps({**call, "all": "true"}).encode())) == expected
    each = {**call, "params": [{**entry, "all": True}]}
    assert changes(nodes, parse(json.dumps(each).encode())) == expected


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


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("see https://example.com/a now", "see https://example.com/a now"),
        ("a // b", "a "),
        ("a /* b */ c", "a  c"),
    ],
)
def test_an_address_in_a_prompt_is_no_comment(text: str, made: str) -> None:
    assert dynamic_text.choose(text, random.Random(1), []) == made


def test_a_template_does_without_a_negative_prompt_and_keeps_numbers() -> None:
    nodes = {"1": node("X", text="{{NEGATIVE_PROMPT}}", steps="{{STEPS}}", cfg="{{ CFG }}")}
    made = placeholders.fill(nodes, {"steps": 20, "cfg": 7.5}).nodes["1"]["inputs"]
    assert made == {"text": "", "steps": 20, "cfg": 7.5}
    with pytest.raises(PatchError, match='needs "steps"'):
        placeholders.fill(nodes, {"cfg": 1})


def test_width_is_that_of_the_latent_and_not_of_every_node_that_has_one() -> None:
    sized = {"required": {"width": ["INT", {}], "height": ["INT", {}]}}
    schemas = {
        "Latent": {"input": sized, "output": ["LATENT"]},
        "Scale": {"input": sized, "output": ["IMAGE"]},
    }
    nodes = {
        "l": node("Latent", width=512, height=512),
        "u": node("Scale", width=1024, height=1024),
    }
    assert changes(nodes, ToolCall("run", shortcuts={"width": 640}), schemas) == {"l.width": 640}


def test_choices_that_the_server_fetches_are_not_judged_here() -> None:
    def wrong(**options: Any) -> list[str]:
        spec = [["a"], options]
        schemas = {"X": {"input": {"required": {"n": spec}}, "output": [], "output_node": True}}
        found = graph.build({"1": node("X", n="b")}, schemas)
        return [problem.message for problem in validate.problems(found, schemas)]

    assert wrong(remote={"route": "/x"}) == []
    assert "not one of: a" in wrong()[0]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
@pytest.mark.parametrize("name", ["out", "out.json", "folder/secret", "folder/secret.json"])
def test_no_link_leads_out_of_the_workflows_folder(tmp_path: Path, name: str) -> None:
    inside, outside = tmp_path / "workflows", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "secret.json").write_text(json.dumps(PROMPT), "utf-8")
    (inside / "out.json").symlink_to(outside / "secret.json")
    (inside / "folder").symlink_to(outside)
    (inside / "good.json").write_text(json.dumps(PROMPT), "utf-8")
    assert files.load(inside, "good").nodes is not None
    with pytest.raises(WorkflowError, match="There is no workflow"):
        files.load(inside, name)


def test_hidden_workflows_are_not_listed(tmp_path: Path) -> None:
    for name in ("a.json", ".b.json", ".c/d.json", "e/.f.json", "e/g.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}", "utf-8")
    assert files.names(tmp_path) == ["a", "e/g.png"]


def test_a_drawn_seed_stays_exact_in_javascript() -> None:
    from comfyui_pipeline import prepare

    assert float(prepare.MAX_RANDOM_SEED) == prepare.MAX_RANDOM_SEED == 2**53 - 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("image", "images"), ("workflow", "workflow_json")],
)
def test_two_arguments_for_the_same_thing_are_refused(one: str, other: str) -> None:
    from comfyui_pipeline.errors import CallError

    values = {"image": "a.png", "images": ["b.png"], "workflow": "x", "workflow_json": {}}
    call = {"workflow": "x", one: values[one], other: values[other]}
    with pytest.raises(CallError, match=f'"{one}" and "{other}" are both given'):
        parse(json.dumps(call).encode())


def test_a_widget_that_holds_a_list_is_not_sent_as_a_link() -> None:
    from comfyui_pipeline.workflow.convert.prompt import convert

    schema = {
        "input": {"required": {"colors": ["COLORS", {}]}},
        "output": [],
        "output_name": [],
        "output_node": True,
    }
    saved = {"id": 1, "type": "X", "inputs": [], "outputs": [], "widgets_values": [["4", 0]]}
    document = {"nodes": [saved], "links": [], "version": 0.4}
    made = convert(document, {"X": schema}, seed=1).prompt
    assert made["1"]["inputs"] == {"colors": {"__value__": ["4", 0]}}


def test_a_batch_has_at_most_sixteen_parts() -> None:
    from comfyui_pipeline.errors import CallError

    def parts(count: int) -> ToolCall:
        call = {f"workflow{number}": "x" for number in range(1, count + 1)}
        return parse(json.dumps(call).encode())

    assert len(parts(16).parts) == 16
    with pytest.raises(CallError, match="17 parts; at most 16"):
        parts(17)
