"""Inputs and outputs that a workflow's author shows in App mode."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.workflow import app_mode, describe
from tests.workflow.prompts import base, build_graph, node


def document(inputs: Any, outputs: Any = ()) -> dict[str, Any]:
    return {"extra": {"linearData": {"inputs": inputs, "outputs": list(outputs)}}}


def test_the_authors_inputs_come_first_with_the_argument_that_sets_them() -> None:
    graph = build_graph(base())
    app = app_mode.read(
        document([[5, "steps"], ["2", "text", {"height": 80}], [8, "grow_mask_by"]], [7]), graph
    )
    text, fields = describe.describe(graph, "w", (), (), full=False, app=app)
    lines = text.splitlines()
    assert lines[1] == "Inputs that its author shows in App mode:"
    assert lines[2].startswith("- steps = 2 (node 5 ")
    assert lines[3].startswith('- prompt = "good" (node 2 "Positive Prompt"')
    assert lines[4].startswith('- params: node_id "8", input grow_mask_by = 6')
    assert lines[5] == "Its results in App mode: 7 (SaveImage)."
    assert fields["app_inputs"][0] == {"node": "5", "input": "steps"}


def test_an_input_that_a_subgraph_shows_belongs_to_the_node_inside() -> None:
    nodes = {"12:5": node("ImageScaleBy", scale_by=2.0, upscale_method="area"), **base()}
    app = app_mode.read(document([["12", "scale_by"], ["12", "nothing"]]), build_graph(nodes))
    assert [(target.node.id, target.name) for target in app.inputs] == [("12:5", "scale_by")]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {},
        {"extra": None},
        {"extra": {"linearData": []}},
        document("x", "y"),
        document([[], [1], [1, 2], ["1"], "ab", None, ["99", "text"], ["5", "model"]], [None, {}]),
    ],
)
def test_what_names_nothing_is_left_out(odd: Any) -> None:
    app = app_mode.read(odd, build_graph(base()))
    assert (app.inputs, app.outputs) == ((), ())
    assert "App mode" not in describe.describe(build_graph(base()), "w", (), (), full=True)[0]
