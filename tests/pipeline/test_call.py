"""Parsing a call: ranges, defaults, lists, batches, typos."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_pipeline.call import ToolCall, parse
from comfyui_pipeline.errors import CallError, ToolError


def parsed(**call: Any) -> ToolCall:
    return parse(json.dumps(call).encode())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("steps", 1, 10_000),
        ("width", 1, 16_384),
        ("height", 1, 16_384),
        ("batch_size", 1, 4096),
        ("cfg", 0, 1000),
        ("denoise", 0, 1),
        ("strength", -100, 100),
    ],
)
def test_each_number_argument_has_a_range(name: str, low: int, high: int) -> None:
    for value in (low, high, str(high)):
        assert parsed(workflow="x", **{name: value}).shortcuts[name] == float(value)
    for value in (low - 1, high + 1):
        with pytest.raises(ToolError, match=f"from {low} to {high}"):
            parsed(workflow="x", **{name: value})


def test_the_defaults_of_a_call() -> None:
    call = parsed(workflow="x")
    assert call == ToolCall("run", workflow="x")
    assert call.add_loras
    assert not any((call.strict, call.full, call.cancel_on_timeout, call.previews))
    assert (call.seed, call.max_side, call.return_image) == (None, None, "")
    assert parsed(workflow="x", negative_prompt="").shortcuts == {"negative_prompt": ""}
    assert parsed(workflow="x", prompt="").shortcuts == {}
    assert parsed(command="result", prompt_id="a").wait is None
    assert parsed(command="result", prompt_id="a", wait="86400").wait == 86_400
    assert [parsed(workflow="x", seed=s).seed for s in ("-1", "random", 2**64 - 1, "0")] == [
        None,
        None,
        2**64 - 1,
        0,
    ]
    assert parsed(workflow="x", showbase64="true").return_image == "preview"
    assert parsed(workflow="x", showbase64="false").return_image == "none"
    assert parsed(workflow="x", lora_nodes="add").add_loras
    assert parsed(workflow="x", max_side=16).max_side == 16
    for value in (15, 16_385):
        with pytest.raises(ToolError, match="from 16 to 16384"):
            parsed(workflow="x", max_side=value)
    with pytest.raises(ToolError, match="18446744073709551615"):
        parsed(workflow="x", seed=2**64)
    with pytest.raises(ToolError, match="from 0 to 86400"):
        parsed(command="result", prompt_id="a", wait=86_401)


def test_a_list_is_split_at_line_breaks_or_else_at_commas() -> None:
    assert parsed(workflow="x", images="a, b ,").shortcuts["images"] == ("a", "b")
    assert parsed(workflow="x", images="a,1\nb").shortcuts["images"] == ("a,1", "b")
    assert parsed(workflow="x", images="data:x,y").shortcuts["images"] == ("data:x,y",)
    assert parsed(workflow="x", images='["a,b"]').shortcuts["images"] == ("a,b",)


def test_only_keys_similar_to_a_known_one_are_reported() -> None:
    assert set(parsed(workflow="x", promt="a", negativ_prompt="b", foo="c").ignored) == {
        "promt",
        "negativ_prompt",
    }


@pytest.mark.parametrize("seed", ["-2", "1.5", str(2**64), "abc"])
def test_an_invalid_seed_is_refused(seed: str) -> None:
    with pytest.raises(CallError, match="seed"):
        parse(json.dumps({"workflow": "x", "seed": seed}).encode())


@pytest.mark.parametrize(
    ("one", "other"),
    [("image", "images"), ("workflow", "workflow_json")],
)
def test_two_arguments_with_the_same_meaning_are_refused(one: str, other: str) -> None:
    values = {"image": "a.png", "images": ["b.png"], "workflow": "x", "workflow_json": {}}
    call = {"workflow": "x", one: values[one], other: values[other]}
    with pytest.raises(CallError, match=f'"{one}" and "{other}" are both given'):
        parse(json.dumps(call).encode())


def test_a_batch_has_at_most_sixteen_parts() -> None:
    def parts(count: int) -> ToolCall:
        call = {f"workflow{number}": "x" for number in range(1, count + 1)}
        return parse(json.dumps(call).encode())

    assert len(parts(16).parts) == 16
    with pytest.raises(CallError, match="17 parts; at most 16"):
        parts(17)


def test_a_key_without_digits_that_is_no_argument_is_kept_as_unknown() -> None:
    assert parsed(workflow="x", mood="happy", f00b4r="1").unknown == ("mood", "f00b4r")


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        ("status", {"steps": "3"}, '"steps" has no effect with the command "status".'),
        ("result", {"prompt_ids": "x"}, 'did you mean "prompt_id"?'),
        ("cancel", {"foo": "1"}, '"foo" is no argument of "cancel" and was ignored.'),
        ("describe", {"提示词": "a fox"}, '"提示词" has no effect with the command "describe".'),
        ("info", {"info": "queue", "detial": "x"}, '"detial" is no argument of "info"'),
        ("queue", {"workflow": "x"}, '"workflow" has no effect with the command "queue".'),
    ],
)
def test_each_command_notes_the_keys_without_effect(
    command: str, given: dict[str, str], said: str
) -> None:
    needed = {"describe": {"workflow": "x"}, "info": {}, "queue": {}}
    host = {"maid": "Nova", "tool_name": "t", "cfg": ""}
    call = parsed(command=command, **{**host, **needed.get(command, {"prompt_id": "y"}), **given})
    assert said in " ".join(call.ignored.values())
    assert len(call.ignored) == 1


def test_a_missing_argument_may_be_a_misspelled_key() -> None:
    with pytest.raises(CallError, match='did you mean "prompt_id"'):
        parsed(command="status", prompt_ident="x")


def test_a_shared_key_of_a_batch_is_noted_only_if_no_part_uses_it() -> None:
    call = parsed(workflow1="x", command2="info", info2="queue", steps="3", detail="full")
    assert [set(part.ignored) for part in call.parts] == [{"detail"}, {"detail"}]
