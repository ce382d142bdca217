"""Placeholders of template workflows."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import call as tool_call
from comfyui_pipeline import describe_command
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import PatchError
from comfyui_pipeline.workflow import graph, placeholders
from tests.conftest import png
from tests.workflow import offline_calls
from tests.workflow.editor_prompts import editor_prompt
from tests.workflow.prompts import SCHEMAS, base, build_graph, node


def test_placeholders_are_filled_and_numbers_stay_numbers() -> None:
    nodes = editor_prompt()
    nodes["4"]["inputs"].update(width="{{WIDTH}}", height=" {{ HEIGHT }} ")
    nodes["2"]["inputs"]["text"] = "{{QUALITY_TAGS}}{{POSITIVE_PROMPT}}, sharp"
    given = {"width": 640, "height": 480, "prompt": "a fox"}
    filled = placeholders.fill(nodes, given)
    assert filled.nodes["4"]["inputs"]["width"] == 640
    assert filled.nodes["4"]["inputs"]["height"] == 480
    assert filled.nodes["2"]["inputs"]["text"] == "a fox, sharp"
    assert filled.used == {"width", "height", "prompt"}
    assert placeholders.fill(editor_prompt(), {}).nodes == editor_prompt()


def test_an_unfilled_placeholder_is_an_error_naming_the_argument() -> None:
    nodes = editor_prompt()
    nodes["5"]["inputs"]["steps"] = "{{STEPS}}"
    nodes["2"]["inputs"]["text"] = "{{MOOD}} {not_one} {{weights}}"
    with pytest.raises(PatchError, match=r'"mood" \(for \{\{MOOD\}\}\), "steps"'):
        placeholders.fill(nodes, {})


def test_placeholders_preserve_types_and_some_may_stay_empty() -> None:
    nodes = {
        "1": node(
            "A", w="{{ WIDTH }}", t="a {{NEGATIVE_PROMPT}}b {{STEPS}}", o="{{width}}", l="{{LORAS}}"
        )
    }
    filled = placeholders.fill(nodes, {"width": 5, "steps": 7})
    assert filled.nodes["1"]["inputs"] == {"w": 5, "t": "a b 7", "o": "{{width}}", "l": ""}
    assert filled.used == {"width", "steps"}
    with pytest.raises(PatchError, match=r'"prompt" \(for \{\{USER_PROMPT\}\}\)'):
        placeholders.fill({"1": node("A", t="{{USER_PROMPT}}")}, {})
    assert (
        placeholders.fill({"1": node("A", t="x {{LORAS}}")}, {"loras": ("a", "b")}).nodes["1"][
            "inputs"
        ]["t"]
        == "x a, b"
    )


def test_a_template_needs_no_negative_prompt() -> None:
    nodes = {"1": node("X", text="{{NEGATIVE_PROMPT}}", steps="{{STEPS}}", cfg="{{ CFG }}")}
    inputs = placeholders.fill(nodes, {"steps": 20, "cfg": 7.5}).nodes["1"]["inputs"]
    assert inputs == {"text": "", "steps": 20, "cfg": 7.5}
    with pytest.raises(PatchError, match='needs "steps"'):
        placeholders.fill(nodes, {"cfg": 1})


# -- the forms of other tools ----------------------------------------------------------------------


def template() -> dict[str, Any]:
    """A text-to-image prompt whose values are placeholders of both other forms."""
    nodes = base()
    nodes["5"]["inputs"].update(steps="PARAM_INT_STEPS", cfg="%scale%", seed="PARAM_INT_SEED")
    nodes["2"]["inputs"]["text"] = "masterpiece, %prompt%"
    nodes["3"]["inputs"]["text"] = "PARAM_NEGATIVE_PROMPT"
    nodes["11"]["inputs"].update(width="%width%", height="PARAM_INT_HEIGHT")
    nodes["7"]["inputs"]["filename_prefix"] = "%width%"
    return nodes


def test_the_forms_of_chat_programs_and_mcp_servers_are_filled() -> None:
    given = {
        "steps": 9,
        "cfg": 3.5,
        "seed": 4,
        "prompt": "a fox",
        "negative_prompt": "text",
        "width": 64,
        "height": 32,
    }
    filled = placeholders.fill(template(), given)
    sampler, size = filled.nodes["5"]["inputs"], filled.nodes["11"]["inputs"]
    assert (sampler["steps"], sampler["cfg"], sampler["seed"]) == (9, 3.5, 4)
    assert filled.nodes["2"]["inputs"]["text"] == "masterpiece, a fox"
    assert filled.nodes["3"]["inputs"]["text"] == "text"
    assert (size["width"], size["height"]) == (64, 32)
    assert filled.used == set(given)


def test_tokens_that_comfyui_or_a_node_replaces_stay() -> None:
    nodes = template()
    nodes["2"]["inputs"]["text"] = "100%width% %year% %date:yyyy% %seed%"
    given = dict.fromkeys(("steps", "cfg", "seed", "width", "height"), 1)
    filled = placeholders.fill(nodes, {**given, "negative_prompt": ""}).nodes
    assert filled["7"]["inputs"]["filename_prefix"] == "%width%"
    assert filled["2"]["inputs"]["text"] == "100%width% %year% %date:yyyy% %seed%"


def test_nothing_is_replaced_in_what_the_caller_gave() -> None:
    nodes = base()
    nodes["2"]["inputs"]["text"] = "%prompt%, {{PROMPT}}, %negative_prompt%"
    given = {"prompt": "{{NEGATIVE_PROMPT}} %negative_prompt%", "negative_prompt": "%prompt%"}
    text = placeholders.fill(nodes, given).nodes["2"]["inputs"]["text"]
    assert text == f"{given['prompt']}, {given['prompt']}, %prompt%"


def test_what_is_not_given_becomes_what_a_new_node_has() -> None:
    nodes = template()
    nodes["5"]["inputs"].update(sampler_name="%sampler%", scheduler="{{SCHEDULER}}")
    nodes["1"]["inputs"]["ckpt_name"] = "%model%"
    schemas = copy.deepcopy(dict(SCHEMAS))
    lists = {"sampler_name": [["euler", "ddim"]], "scheduler": [["simple", "normal"]]}
    schemas["KSampler"]["input"]["required"] |= {"seed": ["INT", {"min": 0, "max": 49}], **lists}
    schemas["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["a", "b"]]
    found = placeholders.fill(
        nodes, {"prompt": "x", "seed": 60}, lambda: graph.build(nodes, schemas)
    )
    inputs = found.nodes["5"]["inputs"]
    assert [inputs[n] for n in ("sampler_name", "scheduler", "seed")] == ["euler", "simple", 10]
    assert "checkpoint = a" in found.notes[0]


@pytest.mark.parametrize(
    "text", ["{{1girl}}, {{{best}}}", "{{USER}} says", '{"a": {"b": 1}}', "50%"]
)
def test_braces_that_are_no_template_stay(text: str) -> None:
    nodes = base()
    nodes["2"]["inputs"]["text"] = text
    filled = placeholders.fill(nodes, {"prompt": "x"})
    assert filled.nodes == nodes
    assert bool(filled.notes) == ("USER" in text)


def test_a_number_that_is_not_given_becomes_the_default_of_its_input_and_is_noted() -> None:
    nodes = template()
    filled = placeholders.fill(nodes, {"prompt": "x", "seed": 1}, lambda: build_graph(nodes))
    assert filled.nodes["5"]["inputs"]["steps"] == 20
    assert filled.nodes["11"]["inputs"]["width"] == 512
    assert "steps = 20" in filled.notes[0]
    assert "width = 512" in filled.notes[0]


def test_a_prompt_and_an_unknown_text_that_are_not_given_are_an_error() -> None:
    nodes = base()
    nodes["2"]["inputs"]["text"] = "PARAM_PROMPT"
    nodes["3"]["inputs"]["text"] = "PARAM_STR_MOOD"
    with pytest.raises(PatchError, match=r'"prompt" \(for PARAM_PROMPT\), "mood"'):
        placeholders.fill(nodes, {}, lambda: build_graph(nodes))
    filled = placeholders.fill(nodes, {"prompt": "x", "mood": "calm"})
    assert filled.nodes["3"]["inputs"]["text"] == "calm"


def test_a_prefix_that_is_not_given_is_the_default_of_the_saving_node() -> None:
    nodes = base()
    nodes["7"]["inputs"]["filename_prefix"] = "PARAM_PREFIX"
    filled = placeholders.fill(nodes, {}, lambda: build_graph(nodes))
    assert filled.nodes["7"]["inputs"]["filename_prefix"] == "ComfyUI"


# -- files -----------------------------------------------------------------------------------------


def with_images(*names: str) -> dict[str, Any]:
    """Images that are joined one after another, and one that nothing reads."""
    nodes: dict[str, Any] = {
        str(number): node("LoadImage", image=name) for number, name in enumerate(names, 1)
    }
    nodes["20"] = node("ImageBatch", image1=["1", 0], image2=[str(len(names)), 0])
    nodes["21"] = node("SaveImage", images=["20", 0], filename_prefix="x")
    return nodes


@pytest.mark.parametrize(
    ("names", "given", "files"),
    [
        (("%reference_image_name%",), {"image": "a.png"}, {"1": "a.png"}),
        (
            ("%reference_image_name_02%", "%reference_image_name_01%"),
            {"images": ("a.png", "b.png")},
            {"1": "b.png", "2": "a.png"},
        ),
        (("{{IMAGE}}", "{{IMAGE_2}}"), {"images": ("a", "b")}, {"1": "a", "2": "b"}),
        (("PARAM_IMAGE", "x.png"), {"image": "a.png"}, {"1": "a.png"}),
        (("{{MASK}}", "x.png"), {"mask": "m.png"}, {"1": "m.png"}),
        (
            ("{{IMAGE_2}}", "x.png"),
            {"images": ("m.png",), "image_2": "m.png"},
            {"1": "m.png"},
        ),
    ],
)
def test_files_are_left_to_be_uploaded_in_the_order_of_their_numbers(
    names: tuple[str, ...], given: dict[str, Any], files: dict[str, str]
) -> None:
    filled = placeholders.fill(with_images(*names), given)
    assert {file.node_id: file.value for file in filled.files} == files


def test_more_images_than_numbered_placeholders_are_an_error() -> None:
    nodes = with_images("%reference_image_name_01%")
    with pytest.raises(PatchError, match="2 images were given, but this template takes 1"):
        placeholders.fill(nodes, {"images": ("a", "b")})


def test_an_image_that_is_required_and_not_given_is_an_error_naming_the_argument() -> None:
    nodes = with_images("%reference_image_name%")
    with pytest.raises(PatchError, match=r'needs "image" \(for %reference_image_name%\)'):
        placeholders.fill(nodes, {}, lambda: build_graph(nodes))


def test_an_image_that_only_optional_inputs_need_is_left_out_with_its_links() -> None:
    nodes = base()
    nodes["4"]["inputs"]["image"] = "given.png"
    nodes["30"] = node("LoadImage", "Reference", image="%reference_image_name_02%")
    nodes["31"] = node("ImageScaleBy", image=["30", 0], upscale_method="area", scale_by=0.5)
    nodes["32"] = node(
        "TextEncodeQwenImageEditPlus", clip=["9", 1], prompt="x", image1=["4", 0], image2=["31", 0]
    )
    schemas = {
        **SCHEMAS,
        "TextEncodeQwenImageEditPlus": {
            "input": {
                "required": {"clip": ["CLIP"], "prompt": ["STRING", {}]},
                "optional": {"image1": ["IMAGE"], "image2": ["IMAGE"]},
            },
            "output": ["CONDITIONING"],
        },
    }
    nodes["5"]["inputs"]["positive"] = ["32", 0]
    filled = placeholders.fill(nodes, {"image": "a.png"}, lambda: build_graph(nodes, schemas))
    assert not {"30", "31"} & filled.nodes.keys()
    assert filled.nodes["32"]["inputs"]["image1"] == ["4", 0]
    assert "image2" not in filled.nodes["32"]["inputs"]
    assert '30 "Reference" (LoadImage) was left out' in filled.notes[0]


def test_an_image_that_no_output_reads_is_no_problem() -> None:
    nodes = with_images("a.png", "b.png")
    nodes["9"] = node("LoadImage", image="%reference_image_name%")
    assert "9" not in placeholders.fill(nodes, {}, lambda: build_graph(nodes)).nodes


def test_a_file_of_a_placeholder_is_uploaded(tmp_path: Path) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    (chosen.attachments_dir / "cat.png").write_bytes(png(8, 8))
    nodes = with_images("%reference_image_name%")
    job = offline_calls.prepare_call({"workflow_json": nodes, "image": "cat.png"}, chosen)
    assert job.job.prompt["1"]["inputs"]["image"].startswith("comfyui-plugin/")


def test_describe_lists_the_arguments_of_a_template_and_has_no_complaint(tmp_path: Path) -> None:
    nodes = template()
    nodes["4"]["inputs"]["image"] = nodes["10"]["inputs"]["image"] = "a.png"
    chosen = offline_calls.settings_in(tmp_path)
    call = tool_call.parse(json.dumps({"command": "describe", "workflow_json": nodes}).encode())
    result = describe_command.describe(
        call,
        chosen,
        offline_calls.StubServer(),  # type: ignore[arg-type]
        time.monotonic(),
        CallRecord(),
    )
    text = result["content"][0]["text"]
    assert "steps (for PARAM_INT_STEPS), cfg (for %scale%)" in text
    assert not [problem for problem in result["problems"] if "PARAM_" in problem or "%" in problem]
