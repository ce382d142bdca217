"""Coercing a value to the type, range and choices of its input."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.call import Param, ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph, values
from tests.workflow.prompts import base, build_graph, node, patch_default


def one_input(
    kind: str = "INT", name: str = "n", required: bool = True, **options: Any
) -> dict[str, Any]:
    """The schema of a node type with one input."""
    spec: list[Any] = [options.pop("choices", kind), options]
    group = "required" if required else "optional"
    return {"K": {"input": {group: {name: spec}}, "output": ["X"], "output_name": ["X"]}}


def coerce(
    value: Any, kind: str = "INT", *, strict: bool = False, **options: Any
) -> values.Coerced:
    found = graph.build({"1": node("K")}, one_input(kind, **options))
    return values.coerce(found, graph.Target(found.nodes["1"], "n"), value, strict=strict)


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
def test_an_integer_is_unchanged_or_rounded_to_the_step(
    given: Any, taken: int, options: Any
) -> None:
    found = coerce(given, **options)
    assert found.value == taken
    assert type(found.value) is int
    assert bool(found.note) == (int(float(given)) != taken and found.value != given)


@pytest.mark.parametrize("given", [4, 10, "4", 1.5, "x", "", None, [1], {}, "9" * 50, 10**400])
def test_an_integer_out_of_range_is_refused_with_the_range(given: Any) -> None:
    with pytest.raises(PatchError, match=r"from 5 to 9|type INT"):
        coerce(given, min=5, max=9)


def test_strict_neither_rounds_nor_matches_fuzzily() -> None:
    with pytest.raises(PatchError, match="a multiple of 8 plus 1"):
        coerce(16, strict=True, step=8, min=1)
    with pytest.raises(PatchError, match="a multiple of 8"):
        coerce(12, strict=True, step=8, min=0)
    with pytest.raises(PatchError, match="one of"):
        coerce("Euler", strict=True, choices=["euler"])
    assert coerce("Euler", choices=["euler"]) == values.Coerced("euler", "n 'Euler' → 'euler'")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ""),
        ({"min": 1}, " of at least 1"),
        ({"max": 2}, " of at most 2"),
        ({"min": 0, "max": 2}, " from 0 to 2"),
    ],
)
def test_the_text_of_a_range_has_only_the_known_bounds(options: Any, expected: str) -> None:
    spec = graph.build({"1": node("K")}, one_input(**options)).nodes["1"].specs["n"]
    assert values.range_of(spec) == expected


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
    assert coerce(given, "BOOLEAN").value is taken


@pytest.mark.parametrize("given", ["maybe", "", "2", 0.5])
def test_other_words_are_not_booleans(given: Any) -> None:
    with pytest.raises(PatchError, match="true or false"):
        coerce(given, "BOOLEAN")


def test_values_are_converted_to_strings_floats_and_choices() -> None:
    assert coerce(5, "STRING").value == "5"
    assert coerce("0.25", "FLOAT").value == 0.25
    assert coerce("2", choices=[1, 2]).value == 2
    assert coerce(1, choices=["1"]).value == "1"
    assert coerce("new.png", choices=["old.png"], image_upload=True).value == "new.png"
    assert coerce("x", required=False, choices=[]).value == "x"
    with pytest.raises(PatchError, match="none on this server"):
        coerce("x", choices=[])
    with pytest.raises(PatchError, match="a number of at least 0"):
        coerce("nan", "FLOAT", min=0)


def test_a_link_must_lead_to_an_existing_output() -> None:
    nodes = base()
    for link, expected in (
        (["99", 0], "link to a node"),
        (["1", 3], "has 3 outputs"),
        (["1", -1], "outputs"),
    ):
        call = ToolCall("run", params=(Param({"model": link}, node_id="5"),))
        with pytest.raises(PatchError, match=expected):
            patch_default(nodes, call)
    call = ToolCall("run", params=(Param({"model": ["1", 0]}, node_id="5"),))
    assert patch_default(nodes, call)["5"]["inputs"]["model"] == ["1", 0]
    call = ToolCall("run", params=(Param({"model": "a.safetensors"}, node_id="5"),))
    with pytest.raises(PatchError, match="link"):
        patch_default(nodes, call)


def test_at_most_twelve_choices_are_listed_with_the_nearest_first() -> None:
    choices = tuple(f"name{n:02}" for n in range(20))
    expected = values.listed(choices)
    assert expected == ", ".join(choices[:12]) + " and 8 more"
    assert values.listed(choices, "name17").startswith("name17")
    assert values.listed(choices[:12]) == ", ".join(choices[:12])


def test_pixels_come_in_any_number_where_a_node_only_changes_images() -> None:
    sides = dict.fromkeys(("left", "top", "right", "bottom"), 8)
    built = build_graph({"1": node("ImagePadForOutpaint", image=["0", 0], feathering=0, **sides)})
    left = graph.Target(built.nodes["1"], "left")
    assert values.coerce(built, left, "100", strict=False) == values.Coerced(100)
    with pytest.raises(PatchError, match="a multiple of 8"):
        values.coerce(built, left, "100", strict=True)
