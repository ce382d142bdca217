"""Batches: parallel parts, the combined response, and failed parts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comfyui_pipeline import batch
from comfyui_pipeline.call_record import QUEUED, CallRecord
from comfyui_pipeline.errors import BatchFailed, JobLost, JobTimeout, PatchError, ToolError
from tests.waiting import TIMEOUT


def answer(text: str, *urls: str, **fields: Any) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"content": [{"type": "text", "text": text}, *shown], **fields}


def perform(part: Any, record: CallRecord) -> Any:
    if isinstance(part, Exception):
        raise part
    return part


def run(*parts: Any) -> dict[str, Any]:
    return batch.batch(parts, perform, CallRecord())


def test_every_part_is_numbered_and_has_its_own_fields() -> None:
    result = run(answer("one", a=1), ToolError("no.", "Do this."), answer("three", "p", b=2))
    text, image = result["content"]
    assert text["text"] == (
        "1 of 3 parts FAILED.\n\nPart 1: one\n\nPart 2 FAILED: no. Do this.\n\nPart 3: three"
    )
    assert image["image_url"]["url"] == "p"
    assert result["parts"] == [
        {"status": "success", "a": 1},
        {"status": "error", "error": "no. Do this.", "code": "tool_error"},
        {"status": "success", "b": 2},
    ]


def test_without_a_failure_none_is_reported() -> None:
    assert run(answer("one"), answer("two"))["content"][0]["text"] == "Part 1: one\n\nPart 2: two"


def test_the_error_of_a_part_names_its_queued_jobs_and_stored_files() -> None:
    def perform(part: Any, record: CallRecord) -> Any:
        if part == "good":
            return answer("fine")
        record.add_job(f"id-{part}", lambda: "stopped").state = QUEUED
        record.add_file(f"/{part}.png")
        raise ToolError("no.") if part == "expected" else ValueError("s3cret")

    parts: Any = ["good", "expected", "unforeseen"]
    result = batch.batch(parts, perform, CallRecord())
    text = result["content"][0]["text"]
    for part in parts[1:]:
        assert f'"prompt_id": "id-{part}"' in text
        assert f"/{part}.png" in text
    assert "s3cret" not in text
    assert "expected" not in result["parts"][2]["error"]


def test_a_batch_fails_only_when_all_parts_fail() -> None:
    with pytest.raises(ToolError, match=r"^Part 1: a\. Part 2: b\.$"):
        run(ToolError("a."), ToolError("b."))
    with pytest.raises(ToolError, match=r"^Part 1: a\.$"):
        run(ToolError("a."))


def test_a_failed_batch_has_the_common_code_of_its_parts() -> None:
    for errors, code in [
        ((PatchError("a."), PatchError("b.")), "invalid_change"),
        ((PatchError("a."), JobLost("b.")), "batch_failed"),
        ((KeyError("a"), ValueError("b")), "internal_error"),
    ]:
        with pytest.raises(BatchFailed) as caught:
            run(*errors)
        assert caught.value.code == code


def test_an_internal_error_in_one_part_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run(answer("one"), KeyError("s3cret"))
    assert result["parts"][1]["error"].startswith(
        "Internal error (KeyError in test_batch.py, line "
    )
    assert result["parts"][1]["code"] == "internal_error"
    assert "KeyError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sizes", "fitting"),
    [
        ([2**20], [2**20]),
        ([2**20 + 1], []),
        ([2**19, 2**19, 1], [2**19, 2**19]),
        ([2**19, 2**20, 2**19], [2**19, 2**19]),
    ],
)
def test_the_images_of_a_batch_share_one_megabyte(sizes: list[int], fitting: list[int]) -> None:
    result = run(*(answer("x", "p" * size) for size in sizes))
    shown = [len(part["image_url"]["url"]) for part in result["content"][1:]]
    assert shown == fitting


def test_at_most_four_parts_run_at_the_same_time() -> None:
    started, go = threading.Semaphore(0), threading.Event()

    def perform(part: Any, record: CallRecord) -> Any:
        started.release()
        go.wait(TIMEOUT)
        return answer("x")

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(batch.batch, list(range(8)), perform, CallRecord())  # type: ignore[arg-type]
        assert all(started.acquire(timeout=TIMEOUT) for _ in range(4))
        fifth = started.acquire(timeout=0.3)
        go.set()
        assert len(future.result(TIMEOUT)["parts"]) == 8
    assert not fifth


def test_a_part_that_has_not_ended_in_time_has_not_failed() -> None:
    late = JobTimeout("The job is still running.", "Get the result later.")
    text = run(answer("one"), late, ToolError("no."))["content"][0]["text"]
    assert text.startswith("1 of 3 parts FAILED. 1 of 3 parts NOT FINISHED.\n\n")
    assert "Part 2 NOT FINISHED: The job is still running. Get the result later." in text
