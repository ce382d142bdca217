"""Unusual but valid calls, and invalid ones that must be reported precisely."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

NODES: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "w"}},
    "3": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
}


def test_a_value_of_spaces_is_an_error(ready: Any) -> None:
    image = "a\n" + 200_000 * " " + "!"
    message = ready.call({"workflow_json": NODES, "image": image}, COMFYUI_TIMEOUT="20").error
    assert "neither a file name nor base64 text" in message


def test_a_text_of_open_comments_is_processed(ready: Any) -> None:
    document = {
        "nodes": [
            {"id": 1, "type": "PreviewAny", "title": "/*a" * 100_000},
            {
                "id": 2,
                "type": "EmptyImage",
                "widgets_values": [16, 16, 1, 0],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
            },
            {
                "id": 3,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
                "widgets_values": ["/*a" * 100_000],
            },
        ],
        "links": [[1, 2, 0, 3, 0, "IMAGE"]],
    }
    answered = ready.call(
        {
            "workflow_json": document,
            "params": [{"node_id": "3", "inputs": {"filename_prefix": "x"}}],
        }
    )
    assert answered.text


@pytest.mark.parametrize("odd", ["NaN", "1e400", "9" * 5000])
def test_an_invalid_number_is_reported_as_such(ready: Any, odd: str) -> None:
    nodes = copy.deepcopy(NODES)
    nodes["1"]["inputs"]["width"] = "MARK"
    path = ready.folder / "workflows" / "odd.json"
    path.write_text(json.dumps({k: nodes[k] for k in ("1", "2")}).replace('"MARK"', odd), "utf-8")
    message = ready.call({"workflow": "odd"}).error
    assert "node 1 (EmptyImage): its input 'width' is" in message
    assert "connection" not in message
    assert ready.call({"workflow": "odd", "width": "24"}).result["outputs"][0]["width"] == 24


def test_nan_next_to_the_nodes_is_ignored(ready: Any) -> None:
    image = {"name": "IMAGE", "type": "IMAGE"}
    text = json.dumps(
        {
            "nodes": [
                {
                    "id": 1,
                    "type": "EmptyImage",
                    "pos": ["MARK", 0],
                    "outputs": [image],
                    "widgets_values": [16, 16, 1, 0],
                },
                {
                    "id": 2,
                    "type": "SaveImage",
                    "inputs": [{**image, "name": "images", "link": 1}],
                    "widgets_values": ["n"],
                },
            ],
            "links": [[1, 1, 0, 2, 0, "IMAGE"]],
            "extra": {"ds": {"scale": "MARK"}},
        }
    ).replace('"MARK"', "NaN")
    (ready.folder / "workflows" / "beside.json").write_text(text, "utf-8")
    assert ready.call({"workflow": "beside"}).result["outputs"]


def test_a_long_chain_is_not_too_deeply_nested(ready: Any) -> None:
    nodes = {"0": NODES["1"]}
    for number in range(1, 1200):
        nodes[str(number)] = {
            "class_type": "ImageInvert",
            "inputs": {"image": [str(number - 1), 0]},
        }
    nodes["end"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["1199", 0], "filename_prefix": "c"},
    }
    assert ready.call({"workflow_json": nodes}).result["outputs"]
