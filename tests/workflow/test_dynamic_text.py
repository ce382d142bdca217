"""Random choices, comments and patterns in texts of the editor."""

from __future__ import annotations

import random
from datetime import datetime

import pytest

from comfyui_pipeline.workflow.convert import dynamic_text


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_comments_escapes_and_single_choices(text: str, expected: str) -> None:
    assert dynamic_text.choose(text, random.Random(1), []) == expected


def test_dates_and_widget_values_in_file_names() -> None:
    now = datetime(2026, 3, 4, 5, 6, 7)

    def value_of(name: str, widget: str) -> object:
        return {"n.a": 2.0, "n.b": True, "n.c": 'x/"y"', "n.d": None}[f"{name}.{widget}"]

    text = "%date:yyyy-MM-dd hh:mm:ss yy M%|%n.a%|%n.b%|%n.c%|%n.d%|%n.none%|%year%|%a.b.c%"
    assert dynamic_text.replace_patterns(text, value_of, now) == (
        "2026-03-04 05:06:07 26 3|2|true|x__y_||%n.none%|%year%|%a.b.c%"
    )
    long = "%n.a%" + "x" * 4096
    assert dynamic_text.replace_patterns(long, value_of, now) == long


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://example.com/a now", "see https://example.com/a now"),
        ("a // b", "a "),
        ("a /* b */ c", "a  c"),
    ],
)
def test_a_url_in_a_prompt_is_not_a_comment(text: str, expected: str) -> None:
    assert dynamic_text.choose(text, random.Random(1), []) == expected
