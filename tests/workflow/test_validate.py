"""Problems that would keep a prompt from running."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.workflow import files, graph, validate
from tests.workflow.editor_prompts import EDITOR_SCHEMAS, editor_prompt, with_choices
from tests.workflow.prompts import SCHEMAS, WORKFLOWS, Schemas, base, build_graph, node

UI = {
    "nodes": [
        {"type": "Foreign", "properties": {"cnr_id": "some-pack"}},
        {
            "type": "CheckpointLoaderSimple",
            "properties": {
                "models": [
                    {"name": "a.ckpt", "url": "https://x/a.ckpt", "directory": "checkpoints"}
                ]
            },
        },
    ]
}


@pytest.mark.parametrize(
    ("node", "change", "expected"),
    [
        ("5", {"class_type": "Foreign"}, "'some-pack'"),
        ("1", {"inputs": {"ckpt_name": "a.ckpt"}}, "https://x/a.ckpt"),
        ("5", {"steps": 0}, "'steps' is 0; it must be a number from 1 to 10000"),
        ("5", {"steps": "many"}, "'steps' is 'many'"),
        ("5", {"sampler_name": "eulr"}, "'eulr', which is not one of: euler"),
        ("5", {"positive": ["4", 0]}, "is of type CONDITIONING, but output 0 of node 4"),
        ("5", {"positive": ["2", 3]}, "which has only 1"),
        ("5", {"positive": ["88", 0]}, "node 88, which is missing"),
    ],
)
def test_problems_are_found_before_queueing(
    node: str, change: dict[str, Any], expected: str
) -> None:
    nodes = editor_prompt()
    if "class_type" in change or "inputs" in change:
        nodes[node] |= change
    else:
        nodes[node]["inputs"] |= change
    found = graph.build(nodes, EDITOR_SCHEMAS)
    wrong = validate.problems(found, EDITOR_SCHEMAS, validate.origin_of(UI))
    assert any(expected in str(problem) for problem in wrong), [str(problem) for problem in wrong]


def test_a_missing_required_input_is_a_problem() -> None:
    nodes = editor_prompt()
    del nodes["6"]["inputs"]["vae"]
    wrong = validate.problems(graph.build(nodes, EDITOR_SCHEMAS), EDITOR_SCHEMAS)
    assert any("'vae' (VAE) has neither link nor value" in str(problem) for problem in wrong)


def test_a_branch_that_cannot_run_is_skipped() -> None:
    schemas = with_choices("CheckpointLoaderSimple", "ckpt_name", ["my model.safetensors"])
    nodes = editor_prompt()
    nodes["20"] = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8}}
    nodes["21"] = {"class_type": "PreviewImage", "inputs": {"images": ["20", 0]}}
    nodes["22"] = {"class_type": "InvertMask", "inputs": {}}
    found = graph.build(nodes, schemas)
    checked = validate.check(found, nodes, validate.problems(found, schemas))
    assert set(checked.prompt) == {"1", "2", "3", "4", "5", "6", "7"}
    assert "'batch_size'" in checked.skipped_outputs["21 (PreviewImage)"]


def test_problems_are_reported_for_the_output_that_needs_the_node() -> None:
    nodes = base()
    nodes["p"] = node("PreviewImage", images=["4", 0])
    nodes["5"]["inputs"].update(steps=0, cfg=1000, denoise=5, sampler_name="none")
    found = build_graph(nodes)
    wrong = validate.problems(found, SCHEMAS)
    checked = validate.check(found, nodes, wrong)
    assert set(checked.prompt) == {"4", "p"}
    (why,) = checked.skipped_outputs.values()
    assert why.count("node 5") == 3
    for part in ("'steps' is 0", "'sampler_name' is 'none'", "'cfg' is 1000"):
        assert part in why
    assert len(wrong) == 4


def test_a_missing_model_is_reported_with_its_folder_and_the_nearest_name() -> None:
    nodes = base()
    nodes["1"]["inputs"]["ckpt_name"] = "aa.safetensors"
    (problem,) = validate.problems(build_graph(nodes), SCHEMAS)
    assert "is missing in models/checkpoints" in str(problem)
    assert "similar: a.safetensors" in str(problem)
    assert problem.maybe_stale
    assert not problem.missing_type


def test_remote_choices_are_not_validated() -> None:
    def wrong(**options: Any) -> list[str]:
        spec = [["a"], options]
        schemas = {"X": {"input": {"required": {"n": spec}}, "output": [], "output_node": True}}
        found = graph.build({"1": node("X", n="b")}, schemas)
        return [problem.message for problem in validate.problems(found, schemas)]

    assert wrong(remote={"route": "/x"}) == []
    assert "not one of: a" in wrong()[0]


@pytest.mark.parametrize("name", files.names(WORKFLOWS))
def test_every_shipped_workflow_fits_the_schemas(schemas: Schemas, name: str) -> None:
    nodes = files.load(WORKFLOWS, name).nodes
    assert nodes is not None
    found = graph.build(nodes, schemas)
    wrong = [
        problem for problem in validate.problems(found, schemas) if "missing" not in str(problem)
    ]
    assert validate.check(found, nodes, wrong).prompt == nodes
    for entry in found.nodes.values():
        required = {spec.name for spec in entry.specs.values() if spec.required}
        assert required <= set(entry.inputs) <= set(entry.specs), entry.label


def test_a_node_type_that_the_server_cannot_describe_stops_only_its_branch() -> None:
    nodes = prompt_of_two_branches()
    known = {**SCHEMAS_OF_BRANCHES, "Broken": {"input": {}, "output": [], "fails": True}}
    found = graph.build(nodes, known)
    checked = validate.check(found, nodes, validate.problems(found, known))
    assert set(checked.prompt) == {"1", "2"}
    assert "fails to describe its node type" in next(iter(checked.skipped_outputs.values()))


SCHEMAS_OF_BRANCHES: dict[str, Any] = {
    "Make": {"input": {}, "output": ["IMAGE"]},
    "Show": {"input": {"required": {"image": ["IMAGE"]}}, "output_node": True},
}


def prompt_of_two_branches() -> dict[str, Any]:
    return {
        "1": {"class_type": "Make", "inputs": {}},
        "2": {"class_type": "Show", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "Broken", "inputs": {"image": ["1", 0]}},
        "4": {"class_type": "Show", "inputs": {"image": ["3", 0]}},
    }
