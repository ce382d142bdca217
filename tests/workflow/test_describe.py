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
