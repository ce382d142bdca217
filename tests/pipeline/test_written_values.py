"""Arguments as people and language models write them: numbers, sizes, lists, wrappers, loose JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_pipeline.bounded.json_text import InvalidJson
from comfyui_pipeline.call import ToolCall, parse
from comfyui_pipeline.call_params import Param
from comfyui_pipeline.errors import CallError
from comfyui_pipeline.loose_json import read_loosely
from comfyui_pipeline.size_values import SizeRequest, parse_ratio, parse_size
from comfyui_pipeline.value_lists import split_files, split_names


def read(**call: Any) -> ToolCall:
    return parse(json.dumps({"workflow": "w", **call}).encode())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("width", "128px", 128),
        ("width", "１２８", 128),
        ("width", "1,024", 1024),
        ("width", '"512"', 512),
        ("cfg", "7,5", 7.5),
        ("cfg", "7.5 ", 7.5),
        ("denoise", "50%", 0.5),
        ("denoise", "0,125", 0.125),
        ("scale", "2x", 2.0),
        ("scale", "x2", 2.0),
        ("scale", "两倍", 2.0),
        ("scale", "150%", 1.5),
        ("steps", "二十步", 20),
        ("steps", "三十五", 35),
        ("batch_size", "三张", 3),
        ("batch_size", "two", 2),
        ("batch_size", "十", 10),
        ("duration", "5s", 5.0),
        ("duration", "00:05", 5.0),
        ("duration", "1 min 30 s", 90.0),
        ("duration", "五秒", 5.0),
        ("duration", "2,5", 2.5),
        ("fps", "24fps", 24.0),
    ],
)
def test_numbers_are_read_with_units_and_words(name: str, text: str, value: float) -> None:
    assert read(**{name: text}).shortcuts == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("width", "50%"),
        ("width", "12,34,5"),
        ("steps", "20px"),
        ("steps", "一百"),
        ("steps", "many"),
        ("cfg", "7,5%"),
        ("duration", "5 parsecs"),
        ("denoise", "1,5"),
    ],
)
def test_a_number_with_a_strange_unit_is_refused(name: str, text: str) -> None:
    try:
        call = read(**{name: text})
    except CallError as error:
        problems = [error]
    else:
        problems = [*call.problems, *call.deferred.values()]
    assert [name in str(problem) for problem in problems] == [True]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512x768", SizeRequest(512, 768)),
        ("512 x 768 px", SizeRequest(512, 768)),
        ("768×512 pixels", SizeRequest(768, 512)),
        ("５１２＊７６８", SizeRequest(512, 768)),
        ("1080p", SizeRequest(1920, 1080, shape=True)),
        ("竖图", SizeRequest(ratio=(2, 3), shape=True)),
        ("portrait_16_9", SizeRequest(ratio=(9, 16))),
        ("16:9", SizeRequest(ratio=(16, 9))),
        ("1MP", SizeRequest(area=1024 * 1024)),
        ("2K", SizeRequest(area=2048**2)),
        ("768", SizeRequest(768, 768)),
        ("auto", SizeRequest()),
        ([512, 768], SizeRequest(512, 768)),
        ({"width": "512px"}, SizeRequest(512, None)),
        ("0x0", None),
        ("512x", None),
        ("99999", None),
        ("", None),
        ([512], None),
        (True, None),
    ],
)
def test_a_size_is_read_from_all_usual_forms(text: Any, size: SizeRequest | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("16:9", (16, 9)),
        ("1.5", (1.5, 1)),
        ("横图", (3, 2)),
        ([4, 3], (4, 3)),
        ("65:1", None),
        ("0:1", None),
        ("wide-ish", None),
    ],
)
def test_a_ratio_is_read_up_to_64_to_1(text: Any, ratio: tuple[float, float] | None) -> None:
    assert parse_ratio(text) == ratio


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("a.png, b.png", ["a.png", "b.png"]),
        ("a, b.png", ["a, b.png"]),
        ("a, b.png, c.png", ["a, b.png", "c.png"]),
        ("a.png，b.png", ["a.png", "b.png"]),
        ("cat, dog", ["cat", "dog"]),
        ("https://x/w_2,h_3/a.png", ["https://x/w_2,h_3/a.png"]),
        ("https://x/a.png,https://x/b.png", ["https://x/a.png", "https://x/b.png"]),
        (
            "data:image/jpeg;base64,/9j/4A==, data:image/png;base64,BB==",
            ["data:image/jpeg;base64,/9j/4A==", "data:image/png;base64,BB=="],
        ),
        (
            "![a](http://x/a.png) ![b](http://x/b.png)",
            ["![a](http://x/a.png)", "![b](http://x/b.png)"],
        ),
        ("a, b\nc", ["a, b", "c"]),
    ],
)
def test_files_are_split_where_a_file_ends(text: str, files: list[str]) -> None:
    assert split_files(text) == files


def test_names_are_split_at_lines_or_else_at_commas() -> None:
    assert split_names("a, b；c") == ["a", " b", "c"]
    assert split_names("a, b\nc") == ["a, b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1, "b": "x, ]"}]',
        '```json\n[{"a": 1, "b": "x, ]"}]\n```',
        '[{"a": 1, "b": "x, ]",},]',
        "[{“a”: 1, “b”: “x, ]”}]",
        '[{"a"： 1， "b"： "x, ]"}]',
        r"[{\"a\": 1, \"b\": \"x, ]\"}]",
        "[{'a': 1, 'b': 'x, ]'}]",
    ],
)
def test_slips_in_json_are_read_as_meant(text: str) -> None:
    assert read_loosely(text) == [{"a": 1, "b": "x, ]"}]


@pytest.mark.parametrize("text", ['[{"a" 1}]', "[", "```json\n```", "{'it's': 1}"])
def test_what_is_no_json_at_all_is_an_error(text: str) -> None:
    with pytest.raises(InvalidJson):
        read_loosely(text)


@pytest.mark.parametrize("wrapper", ["inputs", "Arguments", "args", "parameters", "参数"])
@pytest.mark.parametrize("as_text", [True, False])
def test_arguments_in_a_wrapper_are_those_of_the_call(wrapper: str, *, as_text: bool) -> None:
    inner = {"steps": 7, "options": {"cfg": 3}}
    call = read(**{wrapper: json.dumps(inner) if as_text else inner})
    assert call.shortcuts == {"steps": 7, "cfg": 3}
    assert not call.unknown


def test_an_argument_beside_a_wrapper_counts_more_and_the_other_is_reported() -> None:
    call = read(inputs={"steps": 7}, steps=8)
    assert call.shortcuts == {"steps": 8}
    assert "steps" in call.ignored


@pytest.mark.parametrize("key", ["set", "params", "overrides"])
@pytest.mark.parametrize(
    "text", ["2.width=64\n3.steps=20", "2.width=64, 3.steps=20", "2.width=64 3.inputs.steps=20"]
)
def test_assignments_set_inputs_of_nodes(key: str, text: str) -> None:
    assert read(**{key: text}).params == (
        Param({"width": "64"}, node_id="2"),
        Param({"steps": "20"}, node_id="3"),
    )


def test_an_assignment_keeps_commas_in_its_text() -> None:
    assert read(set="2.text=a fox, snow; night").params == (
        Param({"text": "a fox, snow; night"}, node_id="2"),
    )
    assert read(set="steps=9").shortcuts == {"steps": 9}


def test_an_object_under_an_alias_of_a_prompt_names_a_node() -> None:
    assert read(**{"Positive Prompt": {"text": "x"}}).unknown == ("Positive Prompt",)
