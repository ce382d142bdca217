"""The description of a workflow."""

from __future__ import annotations

from comfyui_pipeline.workflow import describe, graph, validate
from tests.workflow.editor_prompts import EDITOR_SCHEMAS, titled
from tests.workflow.prompts import SCHEMAS, build_graph, node


def test_a_description_lists_arguments_values_and_missing_models() -> None:
    found = graph.build(titled(n2="$prompt.text!"), EDITOR_SCHEMAS)
    wrong = validate.problems(found, EDITOR_SCHEMAS)
    text, fields = describe.describe(found, "base", wrong, ("repaired",), full=False)
    assert "- prompt (required) =" in text
    assert "- steps = 7" in text
    assert "'my model.safetensors' (ckpt_name) is missing in models/checkpoints" in text
    assert "repaired" in text
    assert {entry["argument"] for entry in fields["arguments"]} >= {"seed", "width", "checkpoint"}
    full, _ = describe.describe(found, "base", wrong, (), full=True)
    assert "sampler_name (choice) = " in full
    assert len(full) > len(text)


def test_the_short_description_shows_forty_nodes_and_ten_problems() -> None:
    nodes = {
        str(n): node("CLIPTextEncode", f"T{n}", text="x" * 81, clip=["c", 1]) for n in range(41)
    }
    found = build_graph(nodes)
    wrong = validate.problems(found, SCHEMAS)
    text, fields = describe.describe(found, "w", wrong, ("a note",), full=False)
    assert "- and 1 more" in text
    assert text.count("is linked to node c") == 10
    assert len(fields["problems"]) == 41
    assert "Note: a note" in text
    full, _ = describe.describe(found, "w", wrong, (), full=True)
    assert f'"{"x" * 79}…' in full
    assert "and 1 more" not in full


def test_a_description_says_the_purpose_and_plain_ranges() -> None:
    found = graph.build(titled(), EDITOR_SCHEMAS)
    text, fields = describe.describe(found, "base", (), (), full=False)
    assert text.startswith("The workflow base: 文生图 text to image, ")
    assert "[1 to 10000]" in text
    assert "from 1 to" not in text
    named = [entry["argument"] for entry in fields["arguments"]]
    assert "size" not in named  # width and height show it
    assert len(named) == len(set(named))


def test_arguments_that_work_by_added_nodes_are_listed() -> None:
    loader = {"1": node("LoadImage", image="photo.png")}
    resized = {
        **loader,
        "2": node(
            "ImageScale",
            image=["1", 0],
            upscale_method="area",
            width=64,
            height=32,
            crop="disabled",
        ),
        "3": node("SaveImage", images=["2", 0], filename_prefix="x"),
    }
    text, fields = describe.describe(build_graph(resized), "resize", (), (), full=False)
    assert fields["added_arguments"] == ["scale"]
    assert "By nodes that are added where needed: scale." in text
    shown = {**loader, "3": node("SaveImage", images=["1", 0], filename_prefix="x")}
    text, fields = describe.describe(build_graph(shown), "show", (), (), full=False)
    assert fields["added_arguments"] == []
    assert "By nodes" not in text


def test_a_short_value_stands_with_its_input_unless_an_argument_shows_it() -> None:
    nodes = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("ImageBlur", image=["1", 0], blur_radius=8, sigma=4.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="p" * 41),
    }
    text, _ = describe.describe(build_graph(nodes), "blur", (), (), full=False)
    assert "- 1 (LoadImage): image\n" in text
    assert "- 2 (ImageBlur): blur_radius = 8, sigma = 4.0\n" in text
    assert text.endswith("- 3 (SaveImage): filename_prefix")
    assert "needs no model" in text


def test_longer_texts_are_shown_with_their_beginning() -> None:
    text = "A lantern on a wet street at night, seen from below, with long shadows."
    nodes = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("CLIPTextEncode", text="A second text: " + text),
        "3": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }
    said, _ = describe.describe(build_graph(nodes), "w", (), (), full=False)
    assert 'text = "A second text: A lantern' in said or 'prompt = "A second text' in said


def test_each_image_is_listed_with_what_it_is_for() -> None:
    nodes = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("LoadImage", image="photo.png"),
        "3": node("ImageBatch", image1=["2", 0], image2=["1", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    schemas = {**SCHEMAS, "ImageBatch": BATCH}
    text, fields = describe.describe(build_graph(nodes, schemas), "w", (), (), full=False)
    assert 'Images, in the order of "images": 1 → image1 of node 3 "ImageBatch" (node 2' in text
    assert [slot["node"] for slot in fields["image_slots"]] == ["2", "1"]


def test_a_service_that_enlarges_is_upscaling() -> None:
    schema = {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "scale_factor": ["INT", {}],
                "prompt": ["STRING", {"multiline": True}],
                "seed": ["INT", {}],
            }
        },
        "output": ["IMAGE"],
    }
    nodes = {
        "1": node("LoadImage", image="photo.png"),
        "2": node("Larger", image=["1", 0], scale_factor=2, prompt="", seed=1),
        "3": node("SaveImage", images=["2", 0], filename_prefix="x"),
    }
    schemas = {**SCHEMAS, "Larger": schema}
    text, _ = describe.describe(build_graph(nodes, schemas), "w", (), (), full=False)
    assert "放大 upscaling" in text


def test_a_number_without_limits_shows_none() -> None:
    high = 2**63 - 1
    schema = {
        "input": {"required": {"value": ["INT", {"min": -high, "max": high}]}},
        "output": ["INT"],
    }
    nodes = {
        "s": node("Number", value=20),
        "1": node("KSampler", steps=["s", 0]),
        "2": node("PreviewAny", source=["1", 0]),
    }
    text, _ = describe.describe(
        build_graph(nodes, {**SCHEMAS, "Number": schema}), "w", (), (), full=False
    )
    assert "- steps = 20\n" in text


BATCH = {"input": {"required": {"image1": ["IMAGE"], "image2": ["IMAGE"]}}, "output": ["IMAGE"]}
