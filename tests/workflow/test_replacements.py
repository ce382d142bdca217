"""Node types that the server replaces by others, in prompts and in editor documents."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import load_workflow
from comfyui_pipeline.engine import replaced_types
from tests.workflow import offline_calls
from tests.workflow.offline_calls import DATA, node

ENTRIES: dict[str, Any] = {
    "OldResize": [
        {
            "new_node_id": "ImageScaleToMaxDimension",
            "old_widget_ids": ["longer_edge"],
            "input_mapping": [
                {"new_id": "image", "old_id": "images"},
                {"new_id": "largest_size", "old_id": "longer_edge"},
                {"new_id": "upscale_method", "set_value": "lanczos"},
            ],
            "output_mapping": [{"new_idx": 0, "old_idx": 1}],
        },
        {"new_node_id": "ImageInvert"},
    ],
    "OldBatch": [
        {
            "new_node_id": "BatchImagesNode",
            "old_widget_ids": None,
            "input_mapping": [
                {"new_id": "images.image0", "old_id": "image1"},
                {"new_id": "images.image1", "old_id": "image2"},
            ],
            "output_mapping": None,
        }
    ],
    "OldScaleBy": [
        {
            "new_node_id": "ResizeImageMaskNode",
            "old_widget_ids": ["upscale_method", "scale_by"],
            "input_mapping": [
                {"new_id": "input", "old_id": "image"},
                {"new_id": "resize_type", "set_value": "scale by multiplier"},
                {"new_id": "resize_type.multiplier", "old_id": "scale_by"},
                {"new_id": "scale_method", "old_id": "upscale_method"},
            ],
        }
    ],
    "OldLoader": [
        {
            "new_node_id": "ControlNetLoader",
            "input_mapping": [{"new_id": "control_net_name", "old_id": "t2i_adapter_name"}],
        }
    ],
    "OldInvert": [{"new_node_id": "ImageInvert", "input_mapping": None, "output_mapping": None}],
    "OldGone": [{"new_node_id": "GoneToo"}, {"new_node_id": "ImageInvert"}],
}


@cache
def schemas() -> Mapping[str, Any]:
    return json.loads(gzip.decompress((DATA / "classes-0.33.0.json.gz").read_bytes()))  # type: ignore[no-any-return]


class Server(offline_calls.StubServer):
    """Replaces node types; counts how often it is asked which."""

    asked = 0

    def schemas(self, names: Any) -> dict[str, Any]:
        return {name: schemas()[name] for name in names if name in schemas()}

    def replacements(self) -> Any:
        self.asked += 1
        return replaced_types.read(ENTRIES)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    one = Server()
    monkeypatch.setattr(offline_calls, "StubServer", lambda: one)
    return one


def prepared(folder: Path, workflow: Any) -> Any:
    call = {"workflow_json": json.dumps(workflow)}
    return offline_calls.prepare_call(call, offline_calls.settings_in(folder))


EMPTY = node("EmptyImage", width=64, height=64, batch_size=1, color=0)


def prompt_of(kind: str, slot: int = 0, **inputs: Any) -> dict[str, Any]:
    save = node("SaveImage", images=["2", slot], filename_prefix="x")
    return {"1": EMPTY, "2": node(kind, "mine", **inputs), "3": save}


PROMPTS = {
    "values, links and outputs": (
        prompt_of("OldResize", 1, images=["1", 0], longer_edge=32),
        {"image": ["1", 0], "largest_size": 32, "upscale_method": "lanczos"},
    ),
    "inputs of a group": (
        prompt_of("OldBatch", image1=["1", 0], image2=["1", 0]),
        {"images.image0": ["1", 0], "images.image1": ["1", 0]},
    ),
    "another name only": (prompt_of("OldInvert", image=["1", 0]), {"image": ["1", 0]}),
}


@pytest.mark.parametrize(("prompt", "inputs"), PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_gets_the_node_that_the_server_would_run(
    tmp_path: Path, server: Server, prompt: Any, inputs: Any
) -> None:
    ready = prepared(tmp_path, prompt)
    new = ENTRIES[prompt["2"]["class_type"]][0]["new_node_id"]
    assert ready.job.prompt["2"] == {
        "class_type": new,
        "inputs": inputs,
        "_meta": {"title": "mine"},
    }
    assert ready.job.prompt["3"]["inputs"]["images"] == ["2", 0]
    (note,) = [text for text in ready.notes if new in text]
    assert prompt["2"]["class_type"] in note


def test_the_server_is_asked_only_where_a_type_is_missing(tmp_path: Path, server: Server) -> None:
    prepared(tmp_path, prompt_of("ImageInvert", image=["1", 0]))
    assert not server.asked


def test_a_missing_model_of_the_new_type_is_all_that_is_wrong(
    tmp_path: Path, server: Server
) -> None:
    prompt = {
        **prompt_of("OldInvert", image=["1", 0]),
        "4": node("OldLoader", t2i_adapter_name="canny.safetensors"),
        "5": node("PreviewAny", source=["4", 0]),
    }
    ready = prepared(tmp_path, prompt)
    (why,) = ready.skipped_outputs.values()
    assert "the model 'canny.safetensors'" in why
    assert "installed" not in why


def test_a_replacement_that_is_missing_too_is_not_used(tmp_path: Path, server: Server) -> None:
    call = {"workflow_json": json.dumps(prompt_of("OldGone", image=["1", 0]))}
    error = offline_calls.error_of(call, offline_calls.settings_in(tmp_path))
    assert "OldGone" in error


def test_the_list_of_workflows_says_that_it_runs(tmp_path: Path, server: Server) -> None:
    chosen = offline_calls.settings_in(tmp_path)
    for name, kind in (("runs", "OldInvert"), ("does-not", "OldGone")):
        prompt = prompt_of(kind, image=["1", 0])
        (tmp_path / "workflows" / f"{name}.json").write_text(json.dumps(prompt), "utf-8")
    listed = load_workflow.entries(chosen, server)  # type: ignore[arg-type]
    found = {entry.name: entry.runs for entry in listed}
    assert found["runs"] is True
    assert found["does-not"] is False


# -- editor documents ------------------------------------------------------------------------------


def socket(name: str, link: int | None, kind: str = "IMAGE") -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link}


def document_of(
    kind: str, inputs: list[Any], values: Any, links: list[Any], slot: int = 0
) -> dict[str, Any]:
    """EmptyImage -> a node -> SaveImage."""
    named = {"Node name for S&R": "x"}
    outputs = [{"name": "IMAGE", "type": "IMAGE", "links": []} for _ in range(slot + 1)]
    outputs[slot]["links"] = [9]
    nodes = [
        {
            "id": 1,
            "type": "EmptyImage",
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [i for i, *_ in links]}],
            "widgets_values": [64, 64, 1, 0],
            "properties": named,
        },
        {
            "id": 2,
            "type": kind,
            "inputs": inputs,
            "outputs": outputs,
            "widgets_values": values,
            "properties": named,
        },
        {
            "id": 3,
            "type": "SaveImage",
            "inputs": [socket("images", 9)],
            "widgets_values": ["x"],
            "properties": named,
        },
    ]
    return {"nodes": nodes, "links": [*links, [9, 2, slot, 3, 0, "IMAGE"]], "version": 0.4}


DOCUMENTS = {
    "values by position": (
        document_of("OldResize", [socket("images", 5)], [32], [[5, 1, 0, 2, 0, "IMAGE"]], 1),
        {"image": ["1", 0], "largest_size": 32, "upscale_method": "lanczos"},
    ),
    "values by name": (
        document_of(
            "OldResize", [socket("images", 5)], {"longer_edge": 32}, [[5, 1, 0, 2, 0, "IMAGE"]]
        ),
        {"image": ["1", 0], "largest_size": 32, "upscale_method": "lanczos"},
    ),
    "inputs of a group": (
        document_of(
            "OldBatch",
            [socket("image1", 5), socket("image2", 6)],
            [],
            [[5, 1, 0, 2, 0, "IMAGE"], [6, 1, 0, 2, 1, "IMAGE"]],
        ),
        {"images.image0": ["1", 0], "images.image1": ["1", 0]},
    ),
    "a choice with inputs": (
        document_of("OldScaleBy", [socket("image", 5)], ["area", 0.5], [[5, 1, 0, 2, 0, "IMAGE"]]),
        {
            "input": ["1", 0],
            "resize_type": "scale by multiplier",
            "resize_type.multiplier": 0.5,
            "scale_method": "area",
        },
    ),
    "another name only": (
        document_of("OldInvert", [socket("image", 5)], [], [[5, 1, 0, 2, 0, "IMAGE"]]),
        {"image": ["1", 0]},
    ),
}


@pytest.mark.parametrize(("document", "inputs"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_gets_the_node_that_the_server_would_run(
    tmp_path: Path, server: Server, document: Any, inputs: Any
) -> None:
    ready = prepared(tmp_path, document)
    new = ENTRIES[document["nodes"][1]["type"]][0]["new_node_id"]
    assert ready.job.prompt["2"]["class_type"] == new
    assert ready.job.prompt["2"]["inputs"] == inputs
    assert ready.job.prompt["3"]["inputs"]["images"] == ["2", 0]
    assert any(new in text for text in ready.notes)
    kept = ready.job.extra_data["extra_pnginfo"]["workflow"]
    assert [one["type"] for one in kept["nodes"]] == ["EmptyImage", new, "SaveImage"]


def test_a_node_inside_a_subgraph_is_replaced(tmp_path: Path, server: Server) -> None:
    outer = document_of("inner", [socket("in", 5)], [], [[5, 1, 0, 2, 0, "IMAGE"]])
    inside = {
        "id": 7,
        "type": "OldResize",
        "inputs": [socket("images", 1)],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
        "widgets_values": [32],
    }
    link = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    outer["definitions"] = {
        "subgraphs": [
            {
                "id": "inner",
                "name": "inner",
                "nodes": [inside],
                "links": [
                    dict(zip(link, (1, -10, 0, 7, 0, "IMAGE"), strict=True)),
                    dict(zip(link, (2, 7, 0, -20, 0, "IMAGE"), strict=True)),
                ],
                "inputs": [{"id": "a", "name": "in", "type": "IMAGE", "linkIds": [1]}],
                "outputs": [{"id": "b", "name": "out", "type": "IMAGE", "linkIds": [2]}],
            }
        ]
    }
    ready = prepared(tmp_path, outer)
    assert ready.job.prompt["2:7"]["class_type"] == "ImageScaleToMaxDimension"
    assert ready.job.prompt["2:7"]["inputs"]["image"] == ["1", 0]
    assert ready.job.prompt["2:7"]["inputs"]["largest_size"] == 32
