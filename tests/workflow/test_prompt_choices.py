"""``{a|b}`` in a call's prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_pipeline.workflow import prompt_choices
from tests.workflow import offline_calls


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
