"""Trigger words of LoRAs, from the headers of their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import trigger_words
from tests.workflow.offline_calls import PROMPT, prepare_call, settings_in


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"modelspec.trigger_phrase": "ink style, brush"}, ("ink style", "brush")),
        (
            {
                "ss_tag_frequency": json.dumps(
                    {"10_x": {"ohwx": 40, "tree": 12}, "2_y": {"ohwx": 9}}
                )
            },
            ("ohwx",),
        ),
        ({"ss_tag_frequency": "{"}, ()),
        ({"ss_tag_frequency": json.dumps({"a": [1], "b": {"c": "x"}})}, ()),
        ({}, ()),
    ],
)
def test_the_header_names_the_words(metadata: dict[str, str], words: tuple[str, ...]) -> None:
    assert trigger_words.of_header(metadata) == words


def test_info_loras_shows_them(plugin: Any, fake: Any) -> None:
    fake.script.broken = {
        "/models/loras": (200, ["s/ink.safetensors"]),
        "/view_metadata/loras": (200, {"modelspec.trigger_phrase": "ink style"}),
    }
    answered = plugin.call({"info": "loras"}, COMFYUI_BASE_URL=fake.url)
    assert answered.text == "1 loras:\n- s/ink.safetensors (trigger words: ink style)"
    assert answered.result["items"] == ["s/ink.safetensors"]
    assert answered.result["trigger_words"] == {"s/ink.safetensors": ["ink style"]}
    assert "/view_metadata/loras?filename=s%2Fink.safetensors" in fake.script.targets


def test_loras_without_a_readable_header_are_listed(plugin: Any, fake: Any) -> None:
    fake.script.broken = {"/models/loras": (200, ["a.pt"]), "/view_metadata": (500, b"")}
    answered = plugin.call({"info": "loras"}, COMFYUI_BASE_URL=fake.url)
    assert answered.text == "1 loras:\n- a.pt"


@pytest.mark.parametrize(
    ("prompt", "lora", "noted"),
    [
        ("a fox", "styles/ink.safetensors", True),
        ("a fox, Ink_Style", "styles/ink.safetensors", False),
        ("a fox", "l", False),  # its header names no words
    ],
)
def test_the_answer_says_when_no_trigger_word_is_in_the_prompt(
    tmp_path: Path, prompt: str, lora: str, noted: bool
) -> None:
    call = {"workflow_json": PROMPT, "prompt": prompt, "lora": lora, "image": "photo.png"}
    ready = prepare_call(call, settings_in(tmp_path))
    found = [note for note in ready.notes if "trigger words" in note]
    assert bool(found) is noted
    if noted:
        assert found == [
            "None of the trigger words of the LoRA styles/ink.safetensors is in the prompt: ink style."
        ]
