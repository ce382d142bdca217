"""Inputs and outputs that a workflow's author shows in App mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.workflow import app_mode, describe
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.convert.prompt import convert
from tests.workflow import editor_parts, offline_calls
from tests.workflow.prompts import base, build_graph


def document(inputs: Any, outputs: Any = ()) -> dict[str, Any]:
    return {"extra": {"linearData": {"inputs": inputs, "outputs": list(outputs)}}}


def test_the_authors_inputs_come_first_with_the_argument_that_sets_them() -> None:
    graph = build_graph(base())
    app = app_mode.read(
        document([[5, "steps"], ["2", "text", {"height": 80}], [8, "grow_mask_by"]], [7]), graph
    )
    text, fields = describe.describe(graph, "w", (), (), full=False, app=app)
    lines = text.splitlines()
    assert lines[1].endswith("returns unless output names others: 7 (SaveImage).")
    assert lines[2] == "Inputs that its author shows in App mode:"
    assert lines[3].startswith("- steps = 2 (node 5 ")
    assert lines[4].startswith('- prompt = "good" (node 2 "Positive Prompt"')
    assert lines[5].startswith('- params: node_id "8", input grow_mask_by = 6')
    assert fields["app_inputs"][0] == {"node": "5", "input": "steps", "label": ""}
    assert fields["app_outputs"] == ["7"]


ROOT = "00000000-1111-4222-8333-444444444444"


def with_subgraph() -> dict[str, Any]:
    """A subgraph node 3 that shows the text of the node 21 inside as "words", and a primitive 9."""
    shown = {"name": "words", "type": "STRING", "link": None, "widget": {"name": "words"}}
    text = {"name": "text", "type": "STRING", "link": 1, "widget": {"name": "text"}}
    inner = {
        "id": editor_parts.SUBGRAPH,
        "name": "Encode",
        "inputs": [
            {"name": "words", "label": "Describe it", "type": "STRING", "linkIds": [1]},
        ],
        "outputs": [],
        "nodes": [
            {
                "id": 21,
                "type": "CLIPTextEncode",
                "inputs": [{"name": "clip", "type": "CLIP", "link": None}, text],
                "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING"}],
                "widgets_values": ["a fox"],
            }
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 21, "target_slot": 1},
        ],
    }
    width = {"name": "width", "type": "INT", "link": 5, "widget": {"name": "width"}}
    blank = {**editor_parts.node(1, "EmptyImage", "Blank", 0), "inputs": [width]}
    return {
        "id": ROOT,
        "nodes": [
            blank,
            editor_parts.node(2, "SaveImage", "First", 1, 2),
            {
                "id": 3,
                "type": editor_parts.SUBGRAPH,
                "inputs": [shown],
                "outputs": [],
                "widgets_values": ["a cat"],
            },
            editor_parts.node(4, "SaveImage", "Second", 2, 3),
            {
                "id": 9,
                "type": "PrimitiveNode",
                "title": "How wide",
                "outputs": [{"name": "INT", "type": "INT", "links": [5]}],
                "widgets_values": [96, "fixed"],
            },
        ],
        "links": [
            [2, 1, 0, 2, 0, "IMAGE"],
            [3, 1, 0, 4, 0, "IMAGE"],
            [5, 9, 0, 1, 0, "INT"],
        ],
        "definitions": {"subgraphs": [inner]},
    }


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ([3, "words"], ("3:21", "text", "Describe it")),
        ([f"{ROOT}:3:words", "words"], ("3:21", "text", "Describe it")),
        ([21, "text"], ("3:21", "text", "")),
        ([f"{editor_parts.SUBGRAPH}:21", "text", {"height": 90}], ("3:21", "text", "")),
        (["3:21", "text"], ("3:21", "text", "")),
        ([9, "value"], ("1", "width", "How wide")),
        (["9", "width"], ("1", "width", "How wide")),
        ([1, "height"], ("1", "height", "")),
        ([3, "nothing"], None),
        ([9, "nothing"], None),
    ],
)
def test_an_input_is_found_where_its_value_goes(entry: Any, expected: Any) -> None:
    ui = with_subgraph() | document([entry])
    converted = convert(ui, offline_calls.schemas())
    graph = graphs.build(converted.prompt, offline_calls.schemas())
    app = app_mode.read(ui, graph, converted)
    found = [(i.target.node.id, i.target.name, i.label) for i in app.inputs]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("key", "node_id", "name", "value"),
    [
        ("How wide", "1", "width", 128),
        ("how_wide", "1", "width", 128),
        ("height", "1", "height", 32),
    ],
)
def test_a_label_is_a_key_of_the_call(
    tmp_path: Path, key: str, node_id: str, name: str, value: int
) -> None:
    ui = with_subgraph() | document([[9, "value"], [1, "height"]])
    call = {"workflow_json": ui, key: str(value)}
    job = offline_calls.prepare_call(call, offline_calls.settings_in(tmp_path))
    assert job.job.prompt[node_id]["inputs"][name] == value
    assert not any(key in text for text in job.important)


@pytest.mark.parametrize(
    ("outputs", "keys", "expected"),
    [
        ([4], {}, {"4"}),
        (["4"], {"output": "all"}, {"2", "4"}),
        ([4], {"output": "First"}, {"2"}),
        ([], {}, {"2", "4"}),
        ([77], {}, {"2", "4"}),
        ([4], {"enable": "First"}, {"2", "4"}),
        ([4], {"bypass": "Second"}, {"2"}),
    ],
)
def test_the_chosen_outputs_are_the_ones_that_run(
    tmp_path: Path, outputs: list[Any], keys: dict[str, Any], expected: set[str]
) -> None:
    ui = with_subgraph() | document([], outputs)
    call = {"workflow_json": ui, **keys}
    job = offline_calls.prepare_call(call, offline_calls.settings_in(tmp_path))
    assert {i for i, n in job.job.prompt.items() if n["class_type"] == "SaveImage"} == expected
    said = any("App mode" in note for note in job.notes)
    assert said is (expected == {"4"})


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
