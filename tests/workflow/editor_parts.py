"""A small editor document with groups, a subgraph and nodes that are off, made of ImageInvert nodes.

Blank 1 -> Inverted 2 -> Subgraph 3 (inside: Inner 21) -> Final 4, and Blank 1 -> Extra 5 -> Side 6,
of which 5 and 6 are bypassed and form the group "Side branch".
"""

from __future__ import annotations

from typing import Any

IMAGE = {"name": "IMAGE", "type": "IMAGE"}
SUBGRAPH = "5f0c1b3e-0000-4000-8000-000000000001"


def node(
    number: int, kind: str, title: str, place: int, link: int | None = None, **more: Any
) -> dict[str, Any]:
    """A node 200 wide and 100 high, in a row; ``link``: the one that arrives at its input."""
    name = "images" if kind == "SaveImage" else "image"
    inputs = [] if kind == "EmptyImage" else [{"name": name, "type": "IMAGE", "link": link}]
    values = {"EmptyImage": [64, 48, 1, 255], "SaveImage": [title]}.get(kind, [])
    return {
        "id": number,
        "type": kind,
        "title": title,
        "pos": [place * 300, 100],
        "size": [200, 100],
        "mode": 0,
        "inputs": inputs,
        "outputs": [] if kind == "SaveImage" else [dict(IMAGE)],
        "widgets_values": values,
        **more,
    }


def document() -> dict[str, Any]:
    inner = {
        "id": SUBGRAPH,
        "name": "Twice",
        "inputs": [{"name": "image", "type": "IMAGE", "linkIds": [1]}],
        "outputs": [{**IMAGE, "linkIds": [2]}],
        "nodes": [node(21, "ImageInvert", "Inner", 0, 1)],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 21, "target_slot": 0},
            {"id": 2, "origin_id": 21, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
        "groups": [{"title": "Inside", "bounding": [-50, 0, 400, 300]}],
    }
    return {
        "last_node_id": 30,
        "nodes": [
            node(1, "EmptyImage", "Blank", 0),
            node(2, "ImageInvert", "Inverted", 1, 1),
            node(3, SUBGRAPH, "Subgraph", 2, 2),
            node(4, "SaveImage", "Final", 3, 3),
            node(5, "ImageInvert", "Extra", 5, 4, mode=4),
            node(6, "SaveImage", "Side", 6, 5, mode=4),
            {"id": 7, "type": "Note", "pos": [1500, 100], "size": [200, 100]},
        ],
        "links": [
            [1, 1, 0, 2, 0, "IMAGE"],
            [2, 2, 0, 3, 0, "IMAGE"],
            [3, 3, 0, 4, 0, "IMAGE"],
            [4, 1, 0, 5, 0, "IMAGE"],
            [5, 5, 0, 6, 0, "IMAGE"],
        ],
        "groups": [
            {"title": "Effects", "bounding": [290, 0, 620, 300]},
            {"title": "Side branch", "bounding": [1490, 0, 620, 300]},
            {"title": "Empty", "bounding": [9000, 0, 10, 10]},
        ],
        "definitions": {"subgraphs": [inner]},
        "extra": {},
    }


PROMPT: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255},
        "_meta": {"title": "Blank"},
    },
    "2": {
        "class_type": "ImageInvert",
        "inputs": {"image": ["1", 0]},
        "_meta": {"title": "Inverted"},
    },
    "3": {
        "class_type": "SaveImage",
        "inputs": {"images": ["2", 0], "filename_prefix": "x"},
        "_meta": {"title": "Final"},
    },
}
