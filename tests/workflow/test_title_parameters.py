"""Parameters declared in node titles."""

from __future__ import annotations

import pytest

from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import describe, graph, title_parameters
from tests.workflow.editor_prompts import EDITOR_SCHEMAS, patch_editor, plan_editor, titled
from tests.workflow.prompts import build_graph, node, patch_default


def test_parameters_in_titles_take_precedence_over_roles() -> None:
    nodes = titled(n2="$prompt.text!", n3="Style $style.text", n5="$steps, $power.cfg")
    call = ToolCall(
        "run", shortcuts={"prompt": "fox", "steps": 7}, extras={"style": "ink", "power": "3"}
    )
    prompt = patch_editor(nodes, call)
    assert prompt["2"]["inputs"]["text"] == "fox"
    assert prompt["3"]["inputs"]["text"] == "ink"
    assert (prompt["5"]["inputs"]["steps"], prompt["5"]["inputs"]["cfg"]) == (7, 3.0)
    with pytest.raises(PatchError, match='requires "prompt"'):
        plan_editor(nodes, ToolCall("run"))


def test_a_title_parameter_must_name_an_existing_input() -> None:
    with pytest.raises(PatchError, match="does not say which input is meant"):
        title_parameters.find(graph.build(titled(n4="$size"), EDITOR_SCHEMAS))
    with pytest.raises(PatchError, match="has no input 'words'"):
        title_parameters.find(graph.build(titled(n2="$prompt.words"), EDITOR_SCHEMAS))


def test_a_price_in_a_title_is_not_a_parameter() -> None:
    assert not title_parameters.find(
        graph.build(titled(n2="costs $5", n3="US$ text"), EDITOR_SCHEMAS)
    )


def test_title_parameters_are_parsed_with_their_marks() -> None:
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
        patch_default(nodes, ToolCall("run"))
    nodes["1"]["_meta"]["title"] = "$words.nothing"
    with pytest.raises(PatchError, match="has no input 'nothing'"):
        title_parameters.find(build_graph(nodes))


@pytest.mark.parametrize(
    ("title", "descriptions"),
    [
        ("$width.width!:how wide", {"width": "how wide"}),
        ("$width.width: how wide, $height.height!：高度", {"width": "how wide", "height": "高度"}),
        ("Size: $width.width", {"width": ""}),
        ("$width.width! : not a description", {"width": ""}),
        ("$width.width:", {"width": ""}),
        ("$width.width:" + "x" * 300, {"width": "x" * 200 + "…"}),
    ],
)
def test_a_text_after_a_colon_describes_a_parameter(
    title: str, descriptions: dict[str, str]
) -> None:
    nodes = {"1": node("EmptyLatentImage", title, width=64, height=64, batch_size=1)}
    found = title_parameters.find(build_graph(nodes))
    assert {name: parameter.description for name, parameter in found.items()} == descriptions


def test_the_description_is_shown_by_describe_and_where_the_parameter_is_missing() -> None:
    title = "$width.width!:how wide"
    nodes = {"1": node("EmptyLatentImage", title, width=64, height=64, batch_size=1)}
    text, fields = describe.describe(build_graph(nodes), "w", (), (), full=False)
    assert "- width (required): how wide = 64" in text
    assert fields["parameters"][0]["description"] == "how wide"
    with pytest.raises(PatchError, match=r'requires "width" \(how wide\)'):
        patch_default(nodes, ToolCall("run"))
