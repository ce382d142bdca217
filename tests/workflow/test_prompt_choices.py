"""``{a|b}`` in a call's prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.workflow import prompt_choices
from tests.workflow import offline_calls
from tests.workflow.offline_calls import node


def chosen(text: str, seed: int = 1) -> tuple[str, list[str]]:
    result, notes = prompt_choices.choose({"prompt": text}, seed)
    return result["prompt"], notes


def test_one_option_is_chosen_and_reported() -> None:
    text, (note,) = chosen("a {red|blue} fox")
    assert text in ("a red fox", "a blue fox")
    assert f'"{text.split()[1]}"' in note


def test_the_seed_decides() -> None:
    texts = [chosen("a {red|blue|green} fox", seed)[0] for seed in range(20)]
    assert set(texts) == {"a red fox", "a blue fox", "a green fox"}
    assert texts == [chosen("a {red|blue|green} fox", seed)[0] for seed in range(20)]


def test_options_contain_options_and_may_be_empty() -> None:
    texts = {chosen("{a {b|c}|d}", seed)[0] for seed in range(20)}
    assert texts == {"a b", "a c", "d"}
    assert {chosen("x{|,y}", seed)[0] for seed in range(20)} == {"x", "x,y"}


@pytest.mark.parametrize(
    "text",
    [
        '{"subject": "fox", "style": ["ink"]}',
        "a fox {1.2}",
        r"\{a|b\}",
        "a | b",
        "{a|b",
        "__init",
        "snake_case __ x",
        "{a|b}" + "x" * 100_001,
    ],
)
def test_other_braces_and_lines_stay(text: str) -> None:
    assert chosen(text) == (text, [])


def test_escaped_characters_are_themselves_in_a_text_with_choices() -> None:
    assert chosen(r"\{a\|b\} {c|c}")[0] == "{a|b} c"


def test_wildcards_are_passed_on_and_mentioned() -> None:
    text, (note,) = chosen("a __color__ fox, __styles/ink__")
    assert text == "a __color__ fox, __styles/ink__"
    assert '"__color__", "__styles/ink__"' in note


@pytest.mark.parametrize(("strict", "literal"), [(False, False), (True, True)])
def test_a_call_gets_a_choice_unless_it_is_strict(
    tmp_path: Path, strict: bool, literal: bool
) -> None:
    call = {
        "workflow_json": offline_calls.PROMPT,
        "prompt": "a {red|blue}",
        "seed": 3,
        "strict": strict,
        "image": "example.png",
        "mask": "example.png",
    }
    chosen_settings = offline_calls.settings_in(tmp_path)
    job = offline_calls.prepare_call(call, chosen_settings)
    text = job.job.prompt["2"]["inputs"]["text"]
    assert text == "a {red|blue} fox" if literal else text in ("a red fox", "a blue fox")
    assert any("Chosen by the seed" in note for note in job.notes) is not literal


TEXT = "a {red|blue} __animal__"
BOTH = ("a red __animal__", "a blue __animal__")


def workflow(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node with a text whose result is shown."""
    return {
        "1": node(kind, "Positive Prompt", **inputs),
        "2": node("PreviewAny", source=["1", 0]),
    }


def custom(options: dict[str, Any], name: str = "text", **more: Any) -> dict[str, Any]:
    """The schema of a node with a text."""
    text = ["STRING", {"multiline": True, **options}]
    return {
        "input": {"required": {name: text, **more}},
        "output": ["STRING"],
        "output_name": ["STRING"],
        "output_node": False,
        "python_module": "custom_nodes.pack",
    }


def queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types: dict[str, Any], **call: Any
) -> Any:
    known = {**offline_calls.schemas(), **types}
    monkeypatch.setattr(offline_calls, "schemas", lambda: known)
    return offline_calls.prepare_call(call, offline_calls.settings_in(tmp_path))


@pytest.mark.parametrize(
    ("schema", "name", "literal"),
    [
        (custom({"dynamicPrompts": True}), "text", False),
        (custom({}), "text", False),
        (custom({"dynamicPrompts": False}), "text", True),
        (custom({}, "wildcard_text"), "wildcard_text", True),
    ],
)
def test_a_node_that_handles_wildcards_itself_gets_the_text_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: Any, name: str, literal: bool
) -> None:
    prompt = workflow("TextNode", **{name: ""})
    types = {"TextNode": schema}
    job = queued(tmp_path, monkeypatch, types, workflow_json=prompt, prompt=TEXT)
    text = job.job.prompt["1"]["inputs"][name]
    assert text == TEXT if literal else text in BOTH
    assert any("itself" in note for note in job.notes) is literal


def test_a_text_that_goes_to_such_a_node_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = {
        "0": node("PrimitiveStringMultiline", "Prompt", value=""),
        "1": node("WildcardProcessor", text=["0", 0]),
        "2": node("PreviewAny", source=["1", 0]),
    }
    types = {"WildcardProcessor": custom({})}
    job = queued(tmp_path, monkeypatch, types, workflow_json=prompt, prompt=TEXT)
    assert job.job.prompt["0"]["inputs"]["value"] == TEXT


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dynamicPrompts": True}, BOTH),
        ({"dynamicPrompts": False}, (TEXT,)),
        ({}, (TEXT,)),
    ],
)
def test_a_saved_text_follows_the_editors_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, expected: Any
) -> None:
    types = {"TextNode": custom(options)}
    document = {
        "nodes": [
            {"id": 1, "type": "TextNode", "outputs": [{"name": "STRING", "type": "STRING"}]}
            | {"widgets_values": [TEXT]},
            {"id": 2, "type": "PreviewAny"}
            | {"inputs": [{"name": "source", "type": "*", "link": 1}]},
        ],
        "links": [[1, 1, 0, 2, 0, "STRING"]],
    }
    chosen_by = {}
    for seed in range(8):
        call = {"workflow_json": document, **({"seed": seed} if len(expected) > 1 else {})}
        for _ in range(2):
            job = queued(tmp_path, monkeypatch, types, **call)
            text = job.job.prompt["1"]["inputs"]["text"]
            assert chosen_by.setdefault(seed, text) == text
    assert set(chosen_by.values()) == set(expected)
    prompt = workflow("TextNode", text=TEXT)  # in API format nothing saved is chosen again
    job = queued(tmp_path, monkeypatch, types, workflow_json=prompt)
    assert job.job.prompt["1"]["inputs"]["text"] == TEXT


def test_without_a_seed_input_the_note_names_the_seed_that_chooses_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {"workflow_json": workflow("TextNode", text=""), "prompt": "{a|b|c|d|e|f|g|h}"}
    types = {"TextNode": custom({})}
    job = queued(tmp_path, monkeypatch, types, **call)
    (note,) = (note for note in job.notes if '("seed": "' in note)
    seed = note.partition('("seed": "')[2].partition('"')[0]
    again = queued(tmp_path, monkeypatch, types, **call, seed=seed)
    assert again.job.prompt["1"] == job.job.prompt["1"]
