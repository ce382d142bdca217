"""The program that holds conversion against records of the editor, and its table of differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools import conversion_differences as checked

CORPUS = "wild-0.33.0"
SCHEMAS = {
    "One": {
        "input": {"required": {"steps": ["INT", {}]}, "optional": {"image": ["IMAGE", {}]}},
        "output": ["IMAGE"],
        "output_node": False,
    }
}


def test_every_listed_kind_of_difference_has_its_reason_and_its_workflows() -> None:
    table = json.loads(checked.TABLE.read_text("utf-8"))
    assert set(table) == {"wild-0.33.0", "wild-js-0.33.0", "built-0.33.0"}
    for kinds in table.values():
        for entry in kinds.values():
            assert entry["reason"].endswith((".", ")"))
            assert all(count > 0 for count in entry["workflows"].values())


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """One workflow: node 1 with 20 steps and an image of a getter, which no server has."""
    (tmp_path / "object_info.wild.json").write_text(json.dumps(SCHEMAS), "utf-8")
    folder = tmp_path / "records" / CORPUS
    folder.mkdir(parents=True)
    node = {"id": 1, "type": "One", "inputs": [], "widgets_values": [20]}
    (folder / "a.ui.json").write_text(json.dumps({"nodes": [node], "links": []}), "utf-8")
    return tmp_path / "records"


def record(records: Path, inputs: dict[str, Any]) -> None:
    prompt = {
        "1": {"class_type": "One", "inputs": inputs},
        "2": {"class_type": "GetIt", "inputs": {}},
    }
    (records / CORPUS / "a.api.json").write_text(json.dumps(prompt), "utf-8")


def test_equal_prompts_are_not_reported(records: Path) -> None:
    record(records, {"steps": 20})
    assert checked.compare(records, CORPUS, {}) == ({}, [])


def test_a_difference_that_is_not_listed_is_reported(records: Path) -> None:
    record(records, {"steps": 30})
    (line,) = checked.compare(records, CORPUS, {})[1]
    assert line == f"{CORPUS}/a: not listed: 1.steps: 20, the editor: 30"
    listed = {"another version": {"a": 1}}
    assert checked.compare(records, CORPUS, listed) == (listed, [])


def test_a_listed_difference_that_is_gone_or_has_grown_is_reported(records: Path) -> None:
    listed = {"another version": {"a": 1}}
    record(records, {"steps": 20})
    assert "listed 1, found 0" in checked.compare(records, CORPUS, listed)[1][0]
    record(records, {"steps": 30, "image": ["1", 0]})
    assert "listed 1, found 2" in checked.compare(records, CORPUS, listed)[1][0]


def test_a_kind_that_the_values_show_is_found_and_counted(records: Path) -> None:
    record(records, {"steps": 20, "image": ["2", 0]})
    found, report = checked.compare(records, CORPUS, {"nodes of the editor": {"a": 1}})
    assert (found, report) == ({"nodes of the editor": {"a": 1}}, [])
    assert "listed 0, found 1" in checked.compare(records, CORPUS, {})[1][0]
