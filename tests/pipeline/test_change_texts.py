"""How an answer words what the call has changed."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline import change_texts
from comfyui_pipeline.workflow.changes import STAND_IN, Change, Origin, with_value
from comfyui_pipeline.workflow.graph import Node, Target
from comfyui_pipeline.workflow.schema import InputSpec

FILE = InputSpec("image", "COMBO", {"image_upload": True})


def target(name: str, *specs: InputSpec) -> Target:
    known = {spec.name: spec for spec in specs}
    return Target(Node("3", "Any", "T", {}, known, (), (), is_output_node=False), name)


def change(name: str, value: Any, origin: Origin = Origin.ARGUMENT, **fields: Any) -> Change:
    return Change(target(name), value, origin, **fields)


def file_change(value: str, argument: str = "image", **fields: Any) -> Change:
    return Change(target("image", FILE), value, Origin.ARGUMENT, argument, **fields)


def said(*changes: Change) -> str:
    return "; ".join(change_texts.sentences(changes))


def test_a_change_has_the_name_that_the_caller_used() -> None:
    assert said(change("batch_size", 4, argument="batch_size", key="n")) == "n = 4"
    assert said(change("text", "a fox", argument="prompt")) == 'prompt = "a fox"'


def test_a_change_by_params_names_node_and_input() -> None:
    assert said(change("steps", 4, Origin.PARAMS)) == '3 "T" (Any), steps = 4'


def test_one_argument_for_several_inputs_is_said_once() -> None:
    twice = [change("text", "x", argument="prompt"), change("text_g", "x", argument="prompt")]
    assert said(*twice) == 'prompt = "x"'


def test_the_part_of_an_argument_is_said() -> None:
    assert said(change("n", 2, argument="size", part="side")) == "size (side) = 2"
    assert said(change("height", 72, argument="width", part="height")) == "height = 72"


def test_seeds_and_file_names_that_only_we_chose_are_not_said() -> None:
    assert said(change("seed", 4, Origin.RANDOM_SEED), change("seed", 4, Origin.GIVEN_SEED)) == ""
    assert said(change("filename_prefix", "a_fox", Origin.FILE_NAME)) == ""
    asked = change("filename_prefix", "a_fox", Origin.FILE_NAME, argument="filename_prefix")
    assert said(asked) == 'filename_prefix = "a_fox"'


def test_an_uploaded_file_keeps_the_name_that_was_given() -> None:
    uploaded = with_value(file_change("/home/me/dress.png", part="start image"), "x/0a1b.png")
    assert said(uploaded) == "start image ← dress.png"
    assert uploaded.value == "x/0a1b.png"
    assert said(with_value(uploaded, "x/masked.png")) == "start image ← dress.png"


def test_a_file_that_is_not_uploaded_yet_is_worded_in_the_same_way() -> None:
    assert said(file_change("cat.png", key="init_image")) == "init_image ← cat.png"


def test_a_mask_is_said_with_its_image_or_alone() -> None:
    both = with_value(file_change("cat.png", mask="m/hole.png"), "x/0a1b.png")
    assert said(both) == "image ← cat.png; mask ← hole.png"
    alone = Change(
        target("image", FILE), "own.png", Origin.ARGUMENT, "mask", mask="hole.png", on_server=True
    )
    assert said(with_value(alone, "x/masked.png")) == "mask ← hole.png"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://u:p@host/a/cat%20b.png?token=secret", "cat b.png"),
        ("https://host/show?id=secret", "https://host/show"),
        ("http://host/pw=secret/files/cat.png", "cat.png"),
        ("http://host/pw=secret", "http://host/pw=…"),
        ("data:image/png;base64,AAAA", change_texts.INLINE),
        ("base64://AAAA", change_texts.INLINE),
        ("A" * 5000, change_texts.INLINE),
        ("C:\\pictures\\cat.png", "cat.png"),
    ],
)
def test_a_file_is_named_without_secrets_and_content(given: str, shown: str) -> None:
    assert change_texts.file_name(given) == shown


def test_the_seed_sentence_says_where_the_seed_is_from() -> None:
    assert change_texts.seed_sentence({"3": 7}, "given") == "Seed: 7 (as given)."
    assert "pass it" in change_texts.seed_sentence({"3": 7}, "random")
    assert change_texts.seed_sentence({"3": 7, "4": 8}, "") == "Seed: 7 in node 3, 8 in node 4."


def test_the_seed_of_a_batch_says_how_to_get_one_image_again() -> None:
    assert "batch" not in change_texts.seed_sentence({"3": 7}, "given", 1)
    assert "the same batch size" in change_texts.seed_sentence({"3": 7}, "given", 2)


def test_fields_name_argument_key_and_part_where_there_are_any() -> None:
    plain = change("steps", 4, Origin.PARAMS)
    assert change_texts.fields(plain) == {
        "node_id": "3",
        "input": "steps",
        "value": 4,
        "from": "params",
    }
    named = change_texts.fields(change("w", 4, argument="size", key="resolution", part="width"))
    assert [named[name] for name in ("argument", "key", "part")] == ["size", "resolution", "width"]


def test_a_lora_is_said_once_with_its_strength() -> None:
    changes = [
        change("lora_name", "style/ink.safetensors", argument="loras", key="lora"),
        change("strength_model", 0.6, argument="loras", key="lora"),
        change("strength_clip", 0.6, argument="loras", key="lora"),
    ]
    assert said(*changes) == 'lora = "style/ink.safetensors" at 0.6'
    assert said(changes[0]) == 'lora = "style/ink.safetensors"'


def test_a_side_that_follows_from_the_image_is_not_said() -> None:
    sides = [
        change("width", 320, argument="width"),
        change("height", 0, argument="width", part="height"),
    ]
    assert said(*sides) == "width = 320"


def test_both_sides_of_one_argument_are_said_as_a_size() -> None:
    sides = [
        change("width", 416, argument="size", key="resolution", part="width"),
        change("height", 624, argument="size", key="resolution", part="height"),
    ]
    assert said(*sides) == "resolution = 416x624"


def test_a_length_has_its_unit_and_a_stand_in_is_left_to_its_own_sentence() -> None:
    assert said(change("length", 81, argument="duration", part="frames")) == "duration = 81 frames"
    assert said(change("ckpt_name", "b", Origin.DEFAULT, part=STAND_IN)) == ""
