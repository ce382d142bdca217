"""Reading node types from ``/object_info``."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.workflow import schema


def read_input(raw: Any) -> schema.InputSpec:
    (spec,) = schema.read({"input": {"required": {"n": raw}}}).inputs
    return spec


@pytest.mark.parametrize(
    "raw", [[["a", "b"], {}], ["COMBO", {"options": ["a", "b"]}], [["a", "b"]]]
)
def test_both_spellings_of_a_combo_give_the_same_choices(raw: Any) -> None:
    spec = read_input(raw)
    assert (spec.type, spec.choices) == ("COMBO", ("a", "b"))


@pytest.mark.parametrize("raw", [None, 5, "INT", [], {}])
def test_an_input_of_unknown_shape_accepts_any_type(raw: Any) -> None:
    assert read_input(raw) == schema.InputSpec("n", "*", {})


@pytest.mark.parametrize("raw", [{}, {"input": []}, {"input": {"required": 5}, "output": "X"}])
def test_parts_of_the_wrong_type_count_as_absent(raw: Any) -> None:
    found = schema.read(raw)
    assert (found.inputs, found.outputs, found.is_output_node) == ((), (), False)


def test_input_order_applies_to_the_editor_only() -> None:
    inputs = {"required": {"a": ["INT"], "b": ["INT"]}, "optional": {"c": ["INT"]}}
    found = schema.read({"input": inputs, "input_order": {"required": ["b"]}})
    assert [spec.name for spec in found.inputs] == ["a", "b", "c"]
    assert [spec.name for spec in found.editor_order] == ["b", "a", "c"]
    assert [spec.required for spec in found.inputs] == [True, True, False]


def test_a_dynamic_combo_adds_the_inputs_of_its_choice() -> None:
    choices = [{"key": "x", "inputs": {"required": {"w": ["INT"]}}}, {"key": "y"}]
    found = schema.read(
        {"input": {"required": {"d": [schema.DYNAMIC_COMBO, {"options": choices}]}}}
    )
    assert not found.has_fixed_inputs
    assert [spec.name for spec in found.inputs_of({"d": "x"})] == ["d", "d.w"]
    assert [spec.name for spec in found.inputs_of({"d": "y"})] == ["d"]
    assert next(found.inputs_of({})).choices == ("x", "y")


def test_an_autogrow_input_has_the_members_of_the_node() -> None:
    template = {"input": {"required": {"image": ["IMAGE"]}}, "prefix": "image", "min": 1}
    raw = {"input": {"required": {"g": [schema.AUTOGROW, {"template": template}]}}}
    found = list(schema.read(raw).inputs_of({"g.image0": ["1", 0], "g.image1": 1, "other": 1}))
    assert [(spec.name, spec.type, spec.required) for spec in found] == [
        ("g.image0", "IMAGE", True),
        ("g.image1", "IMAGE", False),
    ]


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
def test_which_types_may_be_linked(first: str, second: str, linkable: bool) -> None:
    assert schema.types_match(first, second) == linkable
