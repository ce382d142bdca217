"""When a job counts as successful, and the order of its outputs."""

from __future__ import annotations

import pytest

from comfyui_pipeline.engine import job_end, responses
from comfyui_pipeline.engine.responses import ExecutionError, HistoryEntry
from comfyui_pipeline.errors import JobFailed
from tests.engine.scripted import PROMPT


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (HistoryEntry(events=frozenset({"execution_success"})), None),
        (HistoryEntry(status="success"), None),
        (HistoryEntry(status="error"), "status error and no error"),
        (HistoryEntry(), "status unknown and no error"),
        (
            HistoryEntry(status="success", events=frozenset({"execution_start"})),
            "status success and no error",
        ),
        (
            HistoryEntry(events=frozenset({"execution_interrupted", "execution_error"})),
            "cancelled before its end",
        ),
        (
            HistoryEntry(
                events=frozenset({"execution_error"}), error=ExecutionError(message="bad")
            ),
            "failed: bad",
        ),
    ],
)
def test_a_job_is_successful_only_if_its_history_entry_says_so(
    entry: HistoryEntry, message: str | None
) -> None:
    if message is None:
        job_end.check_end(PROMPT, entry)
    else:
        with pytest.raises(JobFailed, match=message):
            job_end.check_end(PROMPT, entry)


def test_outputs_are_in_prompt_order_and_empty_texts_are_dropped() -> None:
    by_node = {"x": {"text": [" ", "b"]}, "9": {"images": [{"filename": "a"}]}}
    found = job_end.ordered(
        PROMPT, {node: responses.node_outputs(node, ui) for node, ui in by_node.items()}
    )
    assert [(one.node_id, one.filename or one.text) for one in found] == [("9", "a"), ("x", "b")]
    assert found[0].folder_type == "output"
    assert found[0].subfolder == ""


def test_outputs_are_in_prompt_order_and_unknown_nodes_come_last() -> None:
    prompt = {name: {"class_type": "SaveImage", "inputs": {}} for name in ("7", "3", "5")}
    by_node = {name: {"images": [{"filename": f"{name}.png"}]} for name in ("5", "x", "3", "7")}
    found = job_end.ordered(
        prompt, {node: responses.node_outputs(node, ui) for node, ui in by_node.items()}
    )
    assert [one.filename for one in found] == ["7.png", "3.png", "5.png", "x.png"]
