"""Placeholders of template workflows."""

from __future__ import annotations

import pytest

from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import placeholders
from tests.workflow.editor_prompts import editor_prompt
from tests.workflow.prompts import node


def test_placeholders_are_filled_and_numbers_stay_numbers() -> None:
    nodes = editor_prompt()
    nodes["4"]["inputs"].update(width="{{WIDTH}}", height=" {{ HEIGHT }} ")
    nodes["2"]["inputs"]["text"] = "{{QUALITY_TAGS}}{{POSITIVE_PROMPT}}, sharp"
    given = {"width": 640, "height": 480, "prompt": "a fox"}
    filled = placeholders.fill(nodes, given)
    assert filled.nodes["4"]["inputs"]["width"] == 640
    assert filled.nodes["4"]["inputs"]["height"] == 480
    assert filled.nodes["2"]["inputs"]["text"] == "a fox, sharp"
    assert filled.used == {"width", "height", "prompt"}
    assert placeholders.fill(editor_prompt(), {}).nodes == editor_prompt()


def test_an_unfilled_placeholder_is_an_error_naming_the_argument() -> None:
    nodes = editor_prompt()
    nodes["5"]["inputs"]["steps"] = "{{STEPS}}"
    nodes["2"]["inputs"]["text"] = "{{MOOD}} {not_one} {{weights}}"
    with pytest.raises(PatchError, match=r'"mood" \(for \{\{MOOD\}\}\), "steps"'):
        placeholders.fill(nodes, {})


def test_placeholders_preserve_types_and_some_may_stay_empty() -> None:
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


def test_a_template_needs_no_negative_prompt() -> None:
    nodes = {"1": node("X", text="{{NEGATIVE_PROMPT}}", steps="{{STEPS}}", cfg="{{ CFG }}")}
    inputs = placeholders.fill(nodes, {"steps": 20, "cfg": 7.5}).nodes["1"]["inputs"]
    assert inputs == {"text": "", "steps": 20, "cfg": 7.5}
    with pytest.raises(PatchError, match='needs "steps"'):
        placeholders.fill(nodes, {"cfg": 1})
