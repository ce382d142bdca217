"""Numbers and booleans from outside: what is accepted, and as which value."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_pipeline.bounded.numbers import finite, parse_number
from input_server.parse_values import parse_boolean, parse_count

bounded = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        (" 12\t", None),
        ("100", 100),
        ("101", None),
        ("", None),
        (" ", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("1_0", None),
        ("1 0", None),
        ("0x1", None),
        ("²", None),
        ("١", None),
        ("1\n", None),
        ("9" * 5000, None),
        ("0" * 5000, None),
        (" " * 5000 + "1", None),
    ],
)
def test_a_count_is_ascii_digits_up_to_a_limit(text: str, number: int | None) -> None:
    assert parse_count(text, at_most=100) == number
    digits = text.isascii() and text.isdigit() and len(text) <= 4000
    assert parse_count(text, at_most=100, clamp=True) == (
        100 if digits and number is None else number
    )


@bounded
@given(st.text(max_size=70) | st.integers().map(str))
def test_any_text_gives_a_count_within_the_limit_or_none(text: str) -> None:
    number = parse_count(text, at_most=10**6)
    assert number is None or (0 <= number <= 10**6 and int(text) == number)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0),
        (-1.5, -1.5),
        (10**300, 1e300),
        (10**400, None),
        (float("nan"), None),
        (math.inf, None),
        (-math.inf, None),
        (True, None),
        (False, None),
        ("1", None),
        (None, None),
        ([1], None),
    ],
)
def test_a_json_number_is_finite_or_none(value: Any, number: float | None) -> None:
    assert finite(value) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("-2", -2.0),
        ("", None),
        ("x", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("١", None),
        ("1" * 400, None),
        ("0" * 401, None),
    ],
)
def test_a_number_in_text_is_a_finite_float_or_none(text: str, number: float | None) -> None:
    assert parse_number(text) == number


def test_booleans_have_four_words_each_in_any_case() -> None:
    for word in ("true", "1", "yes", "on", "TRUE", "Yes"):
        assert parse_boolean(word) is True
    for word in ("false", "0", "no", "off", "False", "OFF"):
        assert parse_boolean(word) is False
    for word in ("", " true", "2", "y", "wahr"):
        assert parse_boolean(word) is None
