"""Numbers that somebody else wrote are taken only as what they may be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_pipeline.bounded.numbers import finite, parse_count

bounded = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        (" 12\t", 12),
        ("100", 100),
        ("101", None),
        ("", None),
        (None, None),
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
def test_a_length_is_ascii_digits_up_to_a_limit(text: str | None, number: int | None) -> None:
    assert parse_count(text, at_most=100) == number


@bounded
@given(st.text(max_size=70) | st.integers().map(str))
def test_any_text_is_a_number_within_the_limit_or_none(text: str) -> None:
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
