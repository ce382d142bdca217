"""Invalid numbers, and any JSON as a workflow or as arguments: a result or a ToolError."""

from __future__ import annotations

import copy
import io
import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from comfyui_pipeline import arguments
from comfyui_pipeline.argument_values import parse_integer
from comfyui_pipeline.bounded import json_text, numbers
from comfyui_pipeline.call import parse
from comfyui_pipeline.errors import CallError, ToolError, WorkflowError
from comfyui_pipeline.workflow import files, graph, validate
from comfyui_pipeline.workflow.convert.prompt import convert
from tests.workflow import offline_calls

SCHEMAS = offline_calls.schemas()
BOUNDED = bounds(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

# -- numbers ---------------------------------------------------------------------------------------

ODD = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "1" + "0" * 400,
    "9" * 5000,
    "-" + "9" * 5000,
)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "name", ["seed", "width", "steps", "cfg", "denoise", "strength", "max_side", "batch_size"]
)
def test_an_argument_that_is_not_a_finite_number_is_named_in_the_error(name: str, odd: str) -> None:
    for written in (odd, f'"{odd}"'):
        with pytest.raises(CallError, match=f'"{name}"') as message:
            parse(f'{{"workflow": "x", "{name}": {written}}}'.encode())
        assert len(str(message.value)) < 400


@pytest.mark.parametrize("odd", ODD)
def test_wait_and_params_refuse_numbers_that_are_not_finite(odd: str) -> None:
    with pytest.raises(CallError, match='"wait"'):
        parse(f'{{"command": "result", "prompt_id": "a", "wait": {odd}}}'.encode())
    if odd != ODD[5]:  # a valid Python integer is checked by the input
        raw = f'[{{"node_id": "5", "inputs": {{"seed": [{odd}]}}}}]'
        for params in (raw, json.dumps(raw)):
            with pytest.raises(CallError, match='"params" contains'):
                parse(f'{{"workflow": "x", "params": {params}}}'.encode())


@pytest.mark.parametrize("value", ["512", "512.0", 512, 512.0, "+512", " 512 ", "５１２"])
def test_numbers_in_common_notations_are_accepted(value: Any) -> None:
    call = {"workflow": "x", "width": value}
    assert parse(json.dumps(call).encode()).shortcuts["width"] == 512


@pytest.mark.parametrize("value", ["²", "٣", "1_0", "0x10", "1e3", "--5", "+-5", "5-", "", ".5"])
def test_texts_that_are_not_plain_numbers_are_refused(value: str) -> None:
    assert parse_integer(value) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.5", 0.5), ("1e3", 1000.0), ("²", None), ("nan", None), ("1_0", None), ("9" * 401, None)],
)
def test_a_number_in_a_text(text: str, number: float | None) -> None:
    assert numbers.parse_number(text) == number


@pytest.mark.parametrize(("digits", "infinite"), [(1000, False), (1001, True), (4301, True)])
def test_integers_of_more_than_a_thousand_digits_are_infinite(digits: int, infinite: bool) -> None:
    assert (json_text.read("9" * digits) == math.inf) == infinite


def with_number(odd: str, node_id: str, name: str) -> str:
    """The prompt as JSON text with ``odd`` as the value of one input."""
    nodes = copy.deepcopy(offline_calls.PROMPT)
    nodes["2"]["inputs"]["text"] = "fox"
    nodes[node_id]["inputs"][name] = "MARK"
    return json.dumps(nodes).replace('"MARK"', odd)


def image_with(**texts: str) -> bytes:
    notes = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        notes.add_text(key, text)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


@pytest.mark.parametrize("odd", [one for one in ODD if one != ODD[5]])
@pytest.mark.parametrize("name", ["cfg", "steps", "sampler_name"])
def test_a_number_that_is_not_finite_in_a_prompt_is_named_with_node_and_input(
    odd: str, name: str, tmp_path: Path
) -> None:
    text = with_number(odd, "5", name)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "odd.json").write_text(text, "utf-8")
    (tmp_path / "workflows" / "odd.png").write_bytes(image_with(prompt=text))
    chosen = offline_calls.settings_in(tmp_path)
    for call in ({"workflow": "odd"}, {"workflow": "odd.png"}, {"workflow_json": text}):
        message = offline_calls.error_of(call, chosen)
        assert "node 5 (KSampler)" in message
        assert f"'{name}' is" in message
        assert "with params" in message
        repaired = {"node_id": "5", "inputs": {name: {"sampler_name": "euler"}.get(name, 2)}}
        assert offline_calls.error_of({**call, "params": [repaired]}, chosen) == ""


def test_a_number_too_large_for_an_input_is_named_with_its_range(tmp_path: Path) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    message = offline_calls.error_of({"workflow_json": with_number(ODD[5], "5", "steps")}, chosen)
    assert "'steps' is 1000" in message
    assert "from 1 to 10000" in message
    document = offline_calls.editor_document()
    document["nodes"][0]["widgets_values"] = [10**400, 32, 1, 255]
    message = offline_calls.error_of({"workflow_json": document}, chosen)
    assert "'width' is 1000" in message
    assert len(message) < 1000


def test_a_node_without_output_may_contain_nan(tmp_path: Path) -> None:
    nodes = json.loads(with_number("2", "5", "steps"))
    nodes["11"]["inputs"]["width"] = math.nan
    assert (
        offline_calls.error_of(
            {"workflow_json": json.dumps(nodes)}, offline_calls.settings_in(tmp_path)
        )
        == ""
    )


@pytest.mark.parametrize("odd", ODD)
def test_numbers_that_are_not_finite_outside_the_prompt_are_ignored(
    odd: str, tmp_path: Path
) -> None:
    document = offline_calls.editor_document()
    document["extra"]["ds"] = {"scale": "MARK", "offset": ["MARK", 0]}
    document["nodes"][0].update(
        pos=["MARK", "MARK"], size="MARK", order="MARK", flags={"x": "MARK"}
    )
    document["nodes"][5]["widgets_values"] = ["MARK"]
    document["groups"][0]["bounding"] = ["MARK"]
    document.update(last_node_id="MARK", version="MARK")
    text = json.dumps(document).replace('"MARK"', odd)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "odd.json").write_text(text, "utf-8")
    (tmp_path / "workflows" / "odd.png").write_bytes(image_with(workflow=text))
    chosen = offline_calls.settings_in(tmp_path)
    for name in ("odd", "odd.png"):
        found = files.load(chosen.workflows_dir, name)
        assert convert(found.ui or {}, SCHEMAS).prompt["4"]
        ready = offline_calls.prepare_call({"workflow": name}, chosen)
        json.dumps([ready.job.prompt, ready.job.extra_data], allow_nan=False)
        assert ready.job.extra_data["extra_pnginfo"]["workflow"]["nodes"]


# -- any document ----------------------------------------------------------------------------------

ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    math.nan,
    math.inf,
    10**400,
    2**63,
    "",
    "x",
    "-10",
    "-20",
    "1",
    "MARK" * 100,
    "\ud800",
    "\0",
    [],
    {},
    [[]],
    [None],
    ["1", 0],
    [1, 0],
    ["1", -1],
    ["1", True],
    {"__value__": [1]},
    {"a": {"b": [1, {"c": None}]}},
    [1, 2, 3, 4, 5, 6],
]


@cache
def originals() -> list[Any]:
    """Workflows of both formats, including subgraphs, reroutes, groups and primitives."""
    small = json.loads((offline_calls.DATA / "small_workflows.json").read_text("utf-8"))
    shipped = [
        json.loads(p.read_text("utf-8"))
        for p in (offline_calls.PROJECT / "workflows").glob("*.json")
    ]
    return [
        *small.values(),
        *shipped,
        offline_calls.editor_document(),
        offline_calls.PROMPT,
        nested_groups(),
    ]


def nested_groups() -> dict[str, Any]:
    document = offline_calls.editor_document()
    group = {
        "nodes": [
            {"type": "ImageInvert", "inputs": [{"name": "image", "type": "IMAGE"}], "outputs": []}
        ],
        "links": [[0, 0, 0, 0, 1, "IMAGE"]],
        "external": [[0, 0, "IMAGE"]],
    }
    document["extra"]["groupNodes"] = {"G": group}
    document["nodes"].append({"id": 9, "type": "workflow>G", "widgets_values": [1, 2]})
    return document


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one))
        for key in keys:
            found.append((one, key))
            if isinstance(one[key], (dict, list)):
                waiting.append(one[key])
    return found


def mutated(number: int) -> Any:
    """One of the originals with a few values replaced, removed, duplicated or swapped."""
    dice = random.Random(number)
    document = copy.deepcopy(dice.choice(originals()))
    for _ in range(dice.randint(1, 6)):
        there = places(document)
        if not there:
            break
        holder, key = dice.choice(there)
        way = dice.randrange(5)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif way == 2:
            other, place = dice.choice(there)
            holder[key] = copy.deepcopy(
                other.get(place) if isinstance(other, dict) else other[place : place + 1]
            )
        else:
            holder[key] = copy.deepcopy(dice.choice(ODD_VALUES))
    return document


def check_no_crash(document: Any, chosen: Any) -> None:
    """Run and describe the document; anything but a result or a ToolError fails the test."""
    for more in ({"prompt": "fox", "seed": 3}, {"command": "describe", "detail": "full"}):
        offline_calls.error_of({"workflow_json": document, **more}, chosen)
    try:
        found = files.from_bytes("x", json.dumps(document).encode())
        nodes = found.nodes or convert(found.ui or {}, SCHEMAS).prompt
        seen = graph.build(nodes, SCHEMAS)
        validate.check(seen, nodes, validate.problems(seen, SCHEMAS))
    except ToolError as error:
        message = str(error)
    else:
        message = "it runs"
    assert message


@pytest.mark.parametrize("part", range(8))
def test_a_mutated_workflow_gives_a_result_or_a_tool_error(part: int, tmp_path: Path) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    for number in range(part * 60, part * 60 + 60):
        check_no_crash(mutated(number), chosen)


NAMES = [
    "nodes",
    "links",
    "id",
    "type",
    "inputs",
    "outputs",
    "name",
    "link",
    "class_type",
    "_meta",
    "title",
    "definitions",
    "subgraphs",
    "mode",
    "widgets_values",
    "properties",
    "proxyWidgets",
    "linkIds",
    "extra",
    "groupNodes",
    "prompt",
    "workflow",
    "extra_data",
    "extra_pnginfo",
    "1",
    "2",
    "state",
]
ANY = st.recursive(
    st.sampled_from([v for v in ODD_VALUES if not isinstance(v, (list, dict))])
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=25,
)


@BOUNDED
@given(value=ANY)
def test_any_json_as_a_workflow_gives_a_result_or_a_tool_error(value: Any, tmp_path: Path) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    check_no_crash(value, chosen)
    check_no_crash(
        {"nodes": [value], "links": [value], "definitions": {"subgraphs": [value]}}, chosen
    )
    check_no_crash(
        {"1": {"class_type": "KSampler", "inputs": {"model": value, "seed": value}}}, chosen
    )


@BOUNDED
@given(
    call=st.dictionaries(
        st.sampled_from(sorted(arguments.BY_NAME))
        | st.sampled_from(["workflow1", "prompt2", "command1", "mad", ""]),
        ANY,
        max_size=6,
    )
)
def test_any_json_as_arguments_gives_a_result_or_a_tool_error(call: Any, tmp_path: Path) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    offline_calls.error_of(call, chosen)
    offline_calls.error_of(
        {**call, "command": "run", "workflow": None, "workflow_json": offline_calls.PROMPT}, chosen
    )


@BOUNDED
@given(
    raw=st.binary(max_size=80)
    | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_as_a_call_or_a_workflow_give_a_tool_error(raw: bytes) -> None:
    with pytest.raises(ToolError):
        parse(raw)
    for beginning in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(WorkflowError):
            files.from_bytes("x", beginning + raw)
