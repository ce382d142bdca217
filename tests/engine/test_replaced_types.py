"""What a server says about the node types that it replaces by others."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.workflow.replacements import Replacement

ROUTE = "/api/node_replacements"


def replacements(fake: Any) -> Any:
    engine = ComfyUI(fake.url, "tests", log=lambda text: None)
    try:
        return engine.replacements()
    finally:
        engine.close()


def test_the_first_replacement_of_a_type_counts(fake: Any) -> None:
    mapping = [{"new_id": "image", "old_id": "images"}, {"new_id": "mode", "set_value": "a"}]
    entry = {
        "new_node_id": "New",
        "old_node_id": "Old",
        "old_widget_ids": ["edge"],
        "input_mapping": mapping,
        "output_mapping": [{"new_idx": 1, "old_idx": 0}],
    }
    fake.script.broken[ROUTE] = (200, {"Old": [entry, {"new_node_id": "Other"}]})
    assert replacements(fake) == {
        "Old": Replacement("New", {"image": "images"}, {"mode": "a"}, {0: 1}, ("edge",))
    }


def test_a_type_that_is_only_renamed_keeps_its_inputs(fake: Any) -> None:
    entry = {"new_node_id": "New", "input_mapping": None, "output_mapping": None}
    fake.script.broken[ROUTE] = (200, {"Old": [entry]})
    found = replacements(fake)["Old"]
    assert found.is_renaming
    assert found.renamed({"text": "x"}) == {"text": "x"}


ODD = {
    "an older server": (404, b""),
    "a server that fails": (500, b"oops"),
    "a page instead": (200, b"<html></html>"),
    "a list": (200, []),
    "no list of entries": (200, {"Old": {"new_node_id": "New"}}),
    "an empty list": (200, {"Old": []}),
    "an entry without a new type": (200, {"Old": [{"new_node_id": None}]}),
}


@pytest.mark.parametrize("response", ODD.values(), ids=ODD)
def test_other_answers_mean_that_nothing_is_replaced(fake: Any, response: Any) -> None:
    fake.script.broken[ROUTE] = response
    assert replacements(fake) == {}
