"""The editor document that is queued with a job: opened in the editor, it shows what ran.

Tried on all recorded workflows: every value of the prompt is changed as a call could change it.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.workflow import graph as graphs
from comfyui_pipeline.workflow.convert import dynamic_text, node_document, write_back
from comfyui_pipeline.workflow.convert.links import PromotedWidget
from comfyui_pipeline.workflow.convert.prompt import Converted, convert
from comfyui_pipeline.workflow.graph import is_link
from tests.workflow import offline_calls
from tests.workflow.test_convert import RECORDED, base, classes, document, node

Prompt = dict[str, dict[str, Any]]
TEXT = "a {red|blue} fox // no comment"
WITHOUT_WIDGET = {"image_ernie_image", "video_wan21_scail2_character_replacement_int8"}
"""They give values to inputs that have no widget, which a document laid out anew cannot show."""
IN_PLACE = 0.97
"""The share of workflows whose own document shows every change; the others are laid out anew."""


def source_of(converted: Converted, node_id: str, name: str) -> object:
    """What holds the value of an input, where that is shared: a promoted widget, a primitive node."""
    scope, loaded = converted.places[node_id]
    slot = next((i for i, s in enumerate(loaded.sockets) if s.name == name), None)
    if slot is not None and (number := loaded.sockets[slot].link) is not None:
        source = converted.links.source(scope, loaded, slot)
        link = scope.graph.links.get(number)
        return id(source.widget) if isinstance(source, PromotedWidget) else link and link.origin
    return (id(loaded), name)


def changed(prompt: Mapping[str, Any], schemas: Mapping[str, Any], converted: Converted) -> Prompt:
    """The prompt with another value for every number, text and switch."""
    rng = random.Random(1)
    graph = graphs.build(prompt, schemas)
    values: dict[tuple[object, str], Any] = {}
    result: Prompt = {}
    for node_id, one in prompt.items():
        inputs = dict(one["inputs"])
        for name, old in one["inputs"].items():
            spec = graph.nodes[node_id].specs.get(name)
            if spec is None or is_link(old) or name == "filename_prefix":
                continue
            low, high = spec.options.get("min", 0), spec.options.get("max", 1000)
            new = {
                "INT": lambda low=low, high=high: rng.randint(int(low), int(min(high, low + 1000))),
                "FLOAT": lambda low=low, high=high: round(rng.uniform(low, min(high, low + 9)), 2),
                "STRING": lambda: f"{TEXT} {rng.random()}",
                "BOOLEAN": lambda: rng.random() < 0.5,
            }.get(spec.type)
            key = (source_of(converted, node_id, name), spec.type)
            if new is not None and isinstance(old, (int, float, str)):
                inputs[name] = values.setdefault(key, new())
        result[node_id] = {**one, "inputs": inputs}
    return result


def written(corpus: str, name: str) -> tuple[Mapping[str, Any], bool, bool]:
    """The document with changes, whether it converts to the changed prompt, and is the same document."""
    schemas, original = classes(corpus), document(corpus, name)
    converted = convert(original, schemas)
    known = {i: n for i, n in converted.prompt.items() if n["class_type"] in schemas}
    wanted = changed(known, schemas, converted)
    before = copy.deepcopy(original)
    result = write_back.written(original, schemas, wanted, converted)
    assert original == before
    again = convert(result.document, schemas, now=converted.now).prompt
    same = write_back.is_same(again, wanted, schemas)
    ids = [one["id"] for one in result.document["nodes"]]
    return result.document, same, ids == [one["id"] for one in original["nodes"]]


def test_every_recorded_workflow_shows_what_ran() -> None:
    results = {}
    for corpus, name in RECORDED:
        try:
            _, same, in_place = written(corpus, name)
        except WorkflowError:
            continue
        results[corpus, name] = same, in_place
    assert len(results) > 200
    assert {name for (_, name), (same, _) in results.items() if not same} == WITHOUT_WIDGET
    assert sum(in_place for _, in_place in results.values()) >= IN_PLACE * len(results)


def test_a_document_made_of_a_prompt_converts_to_it() -> None:
    for corpus, name in RECORDED[::3]:
        schemas = classes(corpus)
        prompt = convert(document(corpus, name), schemas).prompt
        known = {i: n for i, n in prompt.items() if n["class_type"] in schemas}
        laid_out = node_document.from_prompt(known, schemas)
        assert json.loads(json.dumps(laid_out)) == laid_out
        again = convert(laid_out, schemas).prompt
        assert {i: n["class_type"] for i, n in again.items()} == {
            i: n["class_type"] for i, n in known.items()
        }


@pytest.mark.parametrize(
    "text",
    ["a {b|c} d", "http://x/y // z", "/* a */ b", "(x:1.2) \\(y\\)", "{}", "a}b|c", "///"],
)
def test_an_escaped_text_is_sent_as_it_was(text: str) -> None:
    assert dynamic_text.choose(dynamic_text.escaped(text), random.Random(1), []) == text


# -- what a call does ------------------------------------------------------------------------------


def queued(
    tmp_path: Path, ui: Mapping[str, Any], **arguments: Any
) -> tuple[Any, Mapping[str, Any]]:
    """The prompt that a call queues, and the document that goes with it."""
    chosen = offline_calls.settings_in(tmp_path)
    ready = offline_calls.prepare_call({"workflow_json": ui, **arguments}, chosen)
    return ready.job.prompt, ready.job.extra_data["extra_pnginfo"]["workflow"]


def reopened(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    return convert(shown, offline_calls.schemas()).prompt


def sampling() -> dict[str, Any]:
    """A document of the shape that most have, whose model the server has."""
    result = base()
    node(result, 1)["widgets_values"] = ["a.safetensors"]
    return result


def test_prompt_seed_and_size_of_the_call_are_in_the_document(tmp_path: Path) -> None:
    sizes = {"prompt": "a {red} fox", "seed": "77", "width": "128", "height": "64"}
    prompt, shown = queued(tmp_path, sampling(), **sizes)
    assert node(dict(shown), 5)["widgets_values"][0] == 77
    assert node(dict(shown), 4)["widgets_values"][:2] == [128, 64]
    assert reopened(shown) == prompt


def test_a_lora_that_the_call_adds_is_a_node_of_the_document(tmp_path: Path) -> None:
    prompt, shown = queued(tmp_path, sampling(), loras="l:0.5")
    assert [one["type"] for one in shown["nodes"]].count("LoraLoader") == 1
    assert reopened(shown) == prompt


def test_a_bypassed_node_is_bypassed_in_the_document(tmp_path: Path) -> None:
    ui = offline_calls.editor_document()
    inner = ui["definitions"]["subgraphs"][0]["nodes"][0]
    prompt, shown = queued(tmp_path, ui, params=[{"node_id": "3:20", "bypass": True}])
    assert "3:20" not in prompt
    assert shown["definitions"]["subgraphs"][0]["nodes"][0]["mode"] == 4
    assert "mode" not in inner
    assert write_back.is_same(reopened(shown), prompt, offline_calls.schemas())


def test_an_output_that_the_call_leaves_out_is_muted(tmp_path: Path) -> None:
    ui = sampling()
    ui["nodes"].append({**node(ui, 7), "id": 8, "title": "Other", "widgets_values": ["x"]})
    ui["nodes"][-1]["inputs"] = [{"name": "images", "type": "IMAGE", "link": 99}]
    ui["links"].append([99, 6, 0, 8, 0, "IMAGE"])
    prompt, shown = queued(tmp_path, ui, output="Other")
    assert "7" not in prompt
    assert node(dict(shown), 7)["mode"] == 2
    assert write_back.is_same(reopened(shown), prompt, offline_calls.schemas())


def test_instances_of_one_subgraph_that_differ_inside_are_laid_out_anew(tmp_path: Path) -> None:
    ui = offline_calls.editor_document()
    second = {**copy.deepcopy(ui["nodes"][2]), "id": 30}
    second["inputs"][0]["link"] = 40
    ui["nodes"] += [
        second,
        {
            "id": 31,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 41}],
            "widgets_values": ["two"],
        },
    ]
    ui["links"] += [[40, 2, 0, 30, 0, "*"], [41, 30, 0, 31, 0, "IMAGE"]]
    params = [{"node_id": "3:20", "inputs": {"blur_radius": 5}}]
    prompt, shown = queued(tmp_path, ui, params=params)
    assert prompt["3:20"]["inputs"]["blur_radius"] != prompt["30:20"]["inputs"]["blur_radius"]
    assert "definitions" not in shown
    assert reopened(shown) == prompt


def test_choices_in_a_text_are_written_as_they_were_drawn(tmp_path: Path) -> None:
    ui = sampling()
    node(ui, 2)["widgets_values"] = ["{red|blue|green} fox"]
    prompt, shown = queued(tmp_path, ui)
    assert node(dict(shown), 2)["widgets_values"] == [prompt["2"]["inputs"]["text"]]


# -- prompts without a document --------------------------------------------------------------------


class ReadingServer(offline_calls.StubServer):
    """A server one of whose nodes reads the editor's document."""

    def schemas(self, names: Any) -> dict[str, Any]:
        known = super().schemas(names)
        if "Reads" in names:
            hidden = {"extra_pnginfo": "EXTRA_PNGINFO"}
            inputs = {"required": {"image": ["IMAGE"]}, "hidden": hidden}
            known["Reads"] = {"input": inputs, "output": ["IMAGE"], "output_name": ["IMAGE"]}
        return known


@pytest.mark.parametrize("reads", [True, False])
def test_a_node_that_reads_the_document_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(offline_calls, "StubServer", ReadingServer)
    flow = {
        "1": offline_calls.node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": offline_calls.node("Reads" if reads else "ImageInvert", image=["1", 0]),
        "3": offline_calls.node("SaveImage", images=["2", 0], filename_prefix="x"),
    }
    chosen = offline_calls.settings_in(tmp_path)
    job = offline_calls.prepare_call({"workflow_json": flow}, chosen).job
    assert ("extra_pnginfo" in job.extra_data) == reads
    if reads:
        shown = job.extra_data["extra_pnginfo"]["workflow"]
        assert [one["type"] for one in shown["nodes"]] == ["EmptyImage", "Reads", "SaveImage"]
        assert len(shown["links"]) == 2
