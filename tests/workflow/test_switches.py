"""``bypass``, ``enable``, ``mute`` and the choice of outputs, in documents and in prompts."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import call, describe_command
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.workflow.convert import write_back
from comfyui_pipeline.workflow.convert.prompt import convert
from tests.workflow import editor_parts, offline_calls


def queued(tmp_path: Path, document: Any = None, **keys: Any) -> Any:
    call = {"workflow_json": document or editor_parts.document(), **keys}
    return offline_calls.prepare_call(call, offline_calls.settings_in(tmp_path))


def links(job: Any) -> dict[str, Any]:
    """Node -> the node that its image comes from."""
    return {
        i: next((v[0] for k, v in n["inputs"].items() if k.startswith("image")), None)
        for i, n in job.job.prompt.items()
    }


def refused(tmp_path: Path, document: Any = None, **keys: Any) -> str:
    call = {"workflow_json": document or editor_parts.document(), **keys}
    return offline_calls.error_of(call, offline_calls.settings_in(tmp_path))


AS_SAVED = {"1": None, "2": "1", "3:21": "2", "4": "3:21"}
WITHOUT_2 = {"1": None, "3:21": "1", "4": "3:21"}
WITHOUT_3 = {"1": None, "2": "1", "4": "2"}
WITHOUT_EFFECTS = {"1": None, "4": "1"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, AS_SAVED),
        ({"bypass": "Inverted"}, WITHOUT_2),
        ({"bypass": "2"}, WITHOUT_2),
        ({"bypass": 2}, WITHOUT_2),
        ({"bypass": '["inverted"]'}, WITHOUT_2),
        ({"绕过": "Inverted"}, WITHOUT_2),
        ({"disable": ["Inverted"]}, WITHOUT_2),
        ({"bypass": {"Inverted": True}}, WITHOUT_2),
        ({"bypass": "Subgraph"}, WITHOUT_3),
        ({"bypass": "Twice"}, WITHOUT_3),
        ({"bypass": "Inner"}, WITHOUT_3),
        ({"bypass": "3:21"}, WITHOUT_3),
        ({"bypass": "Inside"}, WITHOUT_3),
        ({"bypass": "Effects"}, WITHOUT_EFFECTS),
        ({"bypass": "group: effects"}, WITHOUT_EFFECTS),
        ({"bypass": "Inverted, Subgraph"}, WITHOUT_EFFECTS),
        ({"bypass": "ImageInvert", "all": True}, WITHOUT_EFFECTS),
        ({"params": [{"node_title": "Inverted", "bypass": True}]}, WITHOUT_2),
        ({"params": {"Inverted": {"bypass": True}}}, WITHOUT_2),
        ({"params": '{"2": {"bypass": "true"}}'}, WITHOUT_2),
        ({"params": {"Effects": {"mode": 4}}}, WITHOUT_EFFECTS),
        ({"Inverted": {"bypass": True}}, WITHOUT_2),
        ({"enable": "Side branch"}, {**AS_SAVED, "5": "1", "6": "5"}),
        ({"启用": ["5", "6"]}, {**AS_SAVED, "5": "1", "6": "5"}),
        ({"enable": "Side"}, {**AS_SAVED, "6": "1"}),
        ({"params": {"Side": {"bypass": False}}}, {**AS_SAVED, "6": "1"}),
        ({"enable": "Side branch", "bypass": "Extra"}, {**AS_SAVED, "6": "1"}),
        ({"enable": "Side branch", "only": "Side"}, {"1": None, "5": "1", "6": "5"}),
        ({"enable": "Side branch", "只运行": "Side branch"}, {"1": None, "5": "1", "6": "5"}),
        ({"enable": "Side branch", "mute": "Final"}, {"1": None, "5": "1", "6": "5"}),
        ({"enable": "Side branch", "mute": "Inverted"}, {"1": None, "5": "1", "6": "5"}),
    ],
)
def test_nodes_and_groups_are_switched_by_name(
    tmp_path: Path, keys: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert links(queued(tmp_path, **keys)) == expected


def test_the_document_of_the_job_shows_the_modes_and_the_answer_says_them(tmp_path: Path) -> None:
    job = queued(tmp_path, bypass="Effects", enable="Side branch")
    document = job.job.extra_data["extra_pnginfo"]["workflow"]
    modes = {node["id"]: node.get("mode") for node in document["nodes"]}
    assert [modes[i] for i in (2, 3, 5, 6)] == [4, 4, 0, 0]
    again = convert(document, offline_calls.schemas())
    assert write_back.is_same(again.prompt, job.job.prompt, offline_calls.schemas())
    assert 'enabled group "Side branch" (nodes 5, 6)' in job.changed
    assert 'bypassed group "Effects" (nodes 2, 3)' in job.changed


def test_one_of_two_instances_is_switched_inside(tmp_path: Path) -> None:
    document = editor_parts.document()
    nodes = document["nodes"]
    nodes[3]["inputs"][0]["link"] = 7
    nodes.append(editor_parts.node(8, editor_parts.SUBGRAPH, "Second", 4, 3))
    document["links"][2] = [3, 3, 0, 8, 0, "IMAGE"]
    document["links"].append([7, 8, 0, 4, 0, "IMAGE"])
    ambiguous = refused(tmp_path, document, bypass="Inner")
    assert "3:21" in ambiguous
    assert "8:21" in ambiguous
    job = queued(tmp_path, document, bypass="8:21")
    kinds = [one["class_type"] for one in job.job.prompt.values()]
    assert sorted(kinds) == ["EmptyImage", "ImageInvert", "ImageInvert", "SaveImage"]
    shown = job.job.extra_data["extra_pnginfo"]["workflow"]
    again = convert(shown, offline_calls.schemas())
    assert write_back.is_same(again.prompt, job.job.prompt, offline_calls.schemas())


def test_enabling_a_subgraph_enables_the_inside_that_the_editor_switched_with_it(
    tmp_path: Path,
) -> None:
    document = editor_parts.document()
    document["nodes"][2]["mode"] = 4
    document["definitions"]["subgraphs"][0]["nodes"][0]["mode"] = 4
    assert links(queued(tmp_path, document)) == WITHOUT_3
    for name in ("Subgraph", "Inner"):
        assert links(queued(tmp_path, document, enable=name)) == AS_SAVED


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    error = refused(tmp_path, bypass="Nothing like it")
    assert '"Effects"; "Side branch"' in error
    assert '2 "Inverted"' in error
    assert '"disable" names' in refused(tmp_path, disable="Nothing like it")
    off = refused(tmp_path, enable="Nothing like it")
    assert '5 "Extra"' in off
    assert '2 "Inverted"' not in off


def test_an_ambiguous_name_lists_the_candidates_and_says_how_to_choose(tmp_path: Path) -> None:
    document = editor_parts.document()
    document["groups"][0]["title"] = "Inverted"
    error = refused(tmp_path, document, bypass="Inverted")
    assert "2 parts" in error
    assert '"group: Inverted"' in error
    assert links(queued(tmp_path, document, bypass="group: Inverted")) == WITHOUT_EFFECTS


def test_what_cannot_do_without_a_bypassed_node_is_said_before_queueing(tmp_path: Path) -> None:
    for document in (None, editor_parts.PROMPT):
        error = refused(tmp_path, document, bypass="Blank")
        assert "cannot be bypassed" in error
        assert "'image'" in error
        assert "Nothing was queued" in error
    assert "left to run" in refused(tmp_path, editor_parts.PROMPT, bypass=["1", "2", "3"])


def test_the_error_names_all_that_has_to_be_bypassed_with_it(tmp_path: Path) -> None:
    for document, gone in (
        (editor_parts.document(), ["5", "6"]),
        (copy.deepcopy(editor_parts.PROMPT), ["2", "3"]),
    ):
        if "nodes" in document:
            document["nodes"][4].update(type="EmptyImage", inputs=[], mode=0)
            document["nodes"][5]["mode"] = 0
            del document["links"][3]
        else:
            document["2"] = offline_calls.node("LoadImage", image="photo.png")
            document["5"] = offline_calls.node("PreviewImage", images=["1", 0])
        error = refused(tmp_path, document, bypass=gone[0])
        assert f'"bypass": {json.dumps(gone)}' in error
        job = queued(tmp_path, document, bypass=gone)
        assert not {*gone} & job.job.prompt.keys()
    assert "No output would be left" in refused(tmp_path, bypass="Blank")


def test_what_a_muted_node_takes_along_is_said_and_no_failure(tmp_path: Path) -> None:
    prompt = copy.deepcopy(editor_parts.PROMPT)
    prompt["5"] = offline_calls.node("PreviewImage", images=["1", 0])
    for document, keys in ((prompt, {}), (None, {"enable": "Side branch"})):
        job = queued(tmp_path, document, mute="Inverted", **keys)
        assert not job.skipped_outputs
        assert any('"Final" (SaveImage)' in text for text in job.changed)
    assert "left to run" in refused(tmp_path, mute="Inverted")


def test_enabling_says_what_else_has_to_be_enabled(tmp_path: Path) -> None:
    document = editor_parts.document()
    document["nodes"][4]["mode"] = 2
    error = refused(tmp_path, document, enable="Side")
    assert '"enable": ["6", "5"]' in error
    assert links(queued(tmp_path, document, enable=["6", "5"])) == {
        **AS_SAVED,
        "5": "1",
        "6": "5",
    }


def test_params_for_a_node_that_is_off_say_how_to_enable_it(tmp_path: Path) -> None:
    params = [{"node_title": "Side", "inputs": {"filename_prefix": "y"}}]
    assert '"enable": ["6"]' in refused(tmp_path, params=params)
    job = queued(tmp_path, params=params, enable="6")
    assert job.job.prompt["6"]["inputs"]["filename_prefix"] == "y"


def test_an_output_that_is_off_is_no_output_to_run(tmp_path: Path) -> None:
    for name in ("Side", "Side branch"):
        error = refused(tmp_path, only=name)
        assert '"only" is' in error
        assert '"enable": ["' in error


def test_a_prompt_is_switched_too_but_holds_nothing_to_enable(tmp_path: Path) -> None:
    prompt = editor_parts.PROMPT
    job = queued(tmp_path, prompt, bypass="Inverted")
    assert links(job) == {"1": None, "3": "1"}
    assert job.changed == ('bypassed node 2 "Inverted" (ImageInvert)',)
    assert "API format" in refused(tmp_path, prompt, enable="Upscale")
    (said,) = queued(tmp_path, prompt, enable="Inverted").changed
    assert "as it was" in said


def test_an_input_of_that_name_is_set_and_not_a_mode(tmp_path: Path) -> None:
    schema = copy.deepcopy(offline_calls.schemas()["ImageInvert"])
    schema["input"]["required"]["enabled"] = ["BOOLEAN", {"default": True}]
    known = offline_calls.schemas() | {"ImageInvert": schema}
    prompt = json.loads(json.dumps(editor_parts.PROMPT))
    prompt["2"]["inputs"]["enabled"] = True
    for keys in (
        {"params": [{"node_id": "2", "enabled": False}]},
        {"params": {"2": {"enabled": False}}},
        {"enabled": False},
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offline_calls, "schemas", lambda: known)
            job = queued(tmp_path, prompt, **keys)
        assert job.job.prompt["2"]["inputs"]["enabled"] is False


@pytest.mark.parametrize("given", [True, "true", "False", {"Inverted": False}])
def test_a_switch_without_a_name_is_an_error(tmp_path: Path, given: Any) -> None:
    assert '"bypass" has to name nodes or groups' in refused(tmp_path, bypass=given)


def test_describe_lists_the_groups_and_what_is_off(tmp_path: Path) -> None:
    raw = json.dumps({"command": "describe", "workflow_json": editor_parts.document()})
    answer = describe_command.describe(
        call.parse(raw.encode()),
        offline_calls.settings_in(tmp_path),
        offline_calls.StubServer(),  # type: ignore[arg-type]
        time.monotonic(),
        CallRecord(),
    )
    text = json.dumps(answer, ensure_ascii=False)
    assert '\\"Effects\\", \\"Side branch\\" (off)' in text
    assert '5 \\"Extra\\" (ImageInvert), bypassed' in text
