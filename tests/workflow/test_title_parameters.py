"""Parameters declared in node titles."""

from __future__ import annotations

import pytest

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph, title_parameters
from tests.workflow.editor_prompts import EDITOR_SCHEMAS, patched_editor, planned, titled
from tests.workflow.prompts import build_graph, node, patched


def test_parameters_named_in_titles_come_first() -> None:
    nodes = titled(n2="$prompt.text!", n3="Style $style.text", n5="$steps, $power.cfg")
    call = ToolCall(
        "run", shortcuts={"prompt": "fox", "steps": 7}, extras={"style": "ink", "power": "3"}
    )
    made = patched_editor(nodes, call)
    assert made["2"]["inputs"]["text"] == "fox"
    assert made["3"]["inputs"]["text"] == "ink"
    assert (made["5"]["inputs"]["steps"], made["5"]["inputs"]["cfg"]) == (7, 3.0)
    with pytest.raises(PatchError, match='requires "prompt"'):
        planned(nodes, ToolCall("run"))


def test_a_title_that_names_no_input_says_which_there_are() -> None:
    with pytest.raises(PatchError, match="does not say which input is meant"):
        title_parameters.find(graph.build(titled(n4="$size"), EDITOR_SCHEMAS))
    with pytest.raises(PatchError, match="has no input 'words'"):
        title_parameters.find(graph.build(titled(n2="$prompt.words"), EDITOR_SCHEMAS))


def test_a_price_in_a_title_is_no_parameter() -> None:
    assert not title_parameters.find(
        graph.build(titled(n2="costs $5", n3="US$ text"), EDITOR_SCHEMAS)
    )


def test_title_parameters() -> None:
    nodes = {
        "1": node("CLIPTextEncode", "$words.text! and $~pic", text="a", clip=["9", 0]),
        "2": node("LoadImage", "$~pic", image="a.png"),
    }
    nodes["1"]["_meta"]["title"] = "$words.text!"
    nodes["3"] = node("CLIPTextEncode", "$words", text="b", clip=["9", 0])
    found = title_parameters.find(build_graph(nodes))
    assert {n: (p.file, p.required, len(p.targets)) for n, p in found.items()} == {
        "words": (False, True, 2),
        "pic": (True, False, 1),
    }
    with pytest.raises(PatchError, match='requires "words"'):
        patched(nodes, ToolCall("run"))
    nodes["1"]["_meta"]["title"] = "$words.nothing"
    with pytest.raises(PatchError, match="has no input 'nothing'"):
        title_parameters.find(build_graph(nodes))
