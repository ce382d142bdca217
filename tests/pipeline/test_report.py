"""The response to a job: headline, outputs, warnings, images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import pipeline, report, settings
from comfyui_pipeline.call import ToolCall
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.engine.protocol import Job, JobResult, Output
from comfyui_pipeline.errors import (
    MediaError,
)
from comfyui_pipeline.media import previews
from comfyui_pipeline.media.image_memory import ImageMemory
from comfyui_pipeline.outcome import Outcome
from comfyui_pipeline.outputs import FetchedOutputs, ResultOutput
from comfyui_pipeline.prepared_job import PreparedJob
from comfyui_pipeline.workflow import graph
from tests.conftest import png


def result_of(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"workflow": "it", "prompt_id": "the-id", "finished": True}
    return report.build_result(Outcome(**{**base, **fields}))


@pytest.mark.parametrize(
    ("fields", "begins", "complete"),
    [
        ({}, "Done: workflow it finished in", True),
        ({"node_errors": {"9": "x"}}, "PARTLY FAILED", False),
        ({"failed": {"a": MediaError("x")}}, "PARTLY FAILED", False),
        (
            {"finished": False},
            "NOT FINISHED within the time limit (0.0 s): workflow it is still",
            False,
        ),
        (
            {"finished": False, "cancelled": True},
            "NOT FINISHED within the time limit (0.0 s), and cancelled",
            False,
        ),
        ({"finished": False, "failed": {"a": MediaError("x")}}, "NOT FINISHED", False),
    ],
)
def test_the_headline_says_how_the_job_ended(fields: Any, begins: str, complete: bool) -> None:
    result = result_of(**fields)
    assert result["content"][0]["text"].startswith(begins)
    assert result["complete"] is complete


@pytest.mark.parametrize(
    ("total", "ran", "earlier", "said"),
    [
        (9000, 3.14, False, "Done: workflow it finished in 9.0 s (ran in 3.1 s)."),  # it waited
        (4000, 3.14, False, "Done: workflow it finished in 4.0 s."),
        (9000, None, False, "Done: workflow it finished in 9.0 s."),
        (100, 3.14, True, "Done: workflow it (prompt id ID) finished (ran in 3.1 s)."),
    ],
)
def test_ran_in_is_the_run_time(total: int, ran: float | None, earlier: bool, said: str) -> None:
    outcome = Outcome("it", "ID", finished=True, seconds=ran, earlier=earlier)
    text = report.build_result(outcome, timings_ms={"total": total})["content"][0]["text"]
    assert text == said


def test_the_headline_of_a_part_names_the_job() -> None:
    outcome = Outcome("it", "ID", finished=True, failed={"a.png": MediaError("full")})
    first = report.build_result(outcome)["content"][0]["text"].splitlines()[0]
    assert first.endswith("but some outputs are missing (prompt id ID).")


def line(**fields: Any) -> ResultOutput:
    usual: dict[str, Any] = {"node_id": "9", "title": "", "kind": "image", "file": "a.png"}
    return ResultOutput(**{**usual, "path": "/a.png", "url": "http://u", "bytes": 10, **fields})


VIDEO = {"title": "T", "kind": "video", "file": "a.mp4", "bytes": 3 * 2**20}


MOVING = {"bytes": 2048, "width": 4, "height": 3, "frames": 2, "seconds": 1.25}


STILL = {"file": "s/a]b.png", "bytes": 2**20, "width": 4, "height": 3, "frames": 1}


LONG = {"kind": "text", "file": "t.txt", "bytes": 5000, "text": "beg…"}


LINES = [
    (line(), "![a.png](http://u) image, 1 KB"),
    (line(**VIDEO), '[a.mp4](http://u) video, 3.0 MB, from node 9 "T"'),
    (line(url=None), "/a.png (no URL: FILE_SERVER_ACCESS_KEY is not set)"),
    (line(url=None, no_url="odd"), "/a.png (no URL: odd)"),
    (line(**STILL), "![a b.png](http://u) 4×3, 1.0 MB"),
    (line(**MOVING), "4×3, 2 frames, 1.2 s, 2 KB"),
    (line(preview=True), "(preview, not saved"),
    (ResultOutput("9", "", "text", text="words"), "Text from node 9: words"),
    (line(**LONG), "(text, 5 KB): [t.txt](http://u), it begins: beg…"),
]


@pytest.mark.parametrize(("output", "words"), LINES)
def test_the_line_of_an_output(output: ResultOutput, words: str) -> None:
    assert words in result_of(outputs=(output,))["content"][0]["text"]


def test_the_note_of_a_file_is_a_warning_and_a_field() -> None:
    noted = ResultOutput("9", "", "image", "a.png", "/", "http://u", 1, note="odd")
    result = result_of(outputs=(noted, ResultOutput("9", "", "image", "b.png")))
    assert result["warnings"] == ["a.png: odd"]
    assert "Warning: a.png: odd" in result["content"][0]["text"]
    assert ["note" in output for output in result["outputs"]] == [True, False]


def image_output(place: Path, node: str = "9", **fields: Any) -> ResultOutput:
    place.write_bytes(png(8, 8))
    usual = {"kind": "image", "file": place.name, "path": str(place), "bytes": 10}
    return ResultOutput(node, "", **{**usual, **fields})


def finished(folder: Path, *outputs: ResultOutput, cached: tuple[str, ...] = ()) -> Any:
    """The result for a job with these outputs."""
    prompt = {o.node_id: {"class_type": "SaveImage", "inputs": {}} for o in outputs}
    job = Job(prompt, "the-id")
    ready = PreparedJob("it", job, graph.build(prompt, {}))
    chosen = settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "k"})
    call = ToolCall("run", workflow="it")
    context = CallContext(call, chosen, None, CallRecord(), time.monotonic(), 0.0)  # type: ignore[arg-type]

    results = tuple(Output(o.node_id, "images", str(o.file)) for o in outputs)
    result = JobResult("the-id", results, complete=True, cached=frozenset(cached))
    return pipeline.finish(context, ready, result, FetchedOutputs(outputs))


def test_a_job_is_from_cache_only_when_all_outputs_are(tmp_path: Path) -> None:
    both = image_output(tmp_path / "a.png", "1"), image_output(tmp_path / "b.png", "2")
    for cached, said in (((), False), (("1",), False), (("1", "2"), True), (("x",), False)):
        answer = finished(tmp_path, *both, cached=cached)
        assert ("returned the results of that one" in answer["content"][0]["text"]) is said, cached


def test_previews_are_not_shown_when_images_were_saved(tmp_path: Path) -> None:
    saved = image_output(tmp_path / "a.png")
    preview = image_output(tmp_path / "b.png", preview=True)
    for outputs, count in (((preview, saved), 1), ((preview,), 1), ((saved, saved), 2)):
        shown = [p for p in finished(tmp_path, *outputs)["content"] if p["type"] == "image_url"]
        assert len(shown) == count
    only = previews.build_previews([tmp_path / "a.png"], full=False, memory=ImageMemory())
    images = finished(tmp_path, preview, saved)["content"][1:]
    assert [image["image_url"]["url"] for image in images] == list(only.uris)


@pytest.mark.parametrize("name", ["a](http://evil) ![b.png", "a`b\\c.png", "a\r\n# b.png"])
def test_a_file_name_is_not_interpreted_as_markdown(tmp_path: Path, name: str) -> None:
    one = ResultOutput("9", "", "image", name, str(tmp_path / "x"), "http://u", 10)
    line = finished(tmp_path, one)["content"][0]["text"].splitlines()[1]
    assert line.startswith("![")
    assert line[2:].partition("]")[2].startswith("(http://u) ")
    assert not set(line[2:].partition("]")[0]) & set("[]`\\")


def test_a_failed_output_makes_the_result_incomplete() -> None:
    for failed in ({}, {"a.png": MediaError("deleted")}):
        outcome = Outcome("it", "the-id", finished=True, failed=failed)
        assert report.build_result(outcome)["complete"] is not bool(failed)


def test_an_image_too_large_to_decode_is_one_warning(tmp_path: Path) -> None:
    large = ResultOutput("9", "", "image", "a.png", str(tmp_path / "a.png"), note="not decoded: x")
    broken = ResultOutput("9", "", "image", "b.png", str(tmp_path / "b.png"))
    outcome = Outcome("it", "the-id", finished=True, outputs=(large, broken))
    failed = {str(tmp_path / name): "it is too large" for name in ("a.png", "b.png")}
    warnings = report.build_result(outcome, previews.Previews((), 0, 2, failed))["warnings"]
    assert warnings == ["a.png: not decoded: x", "no preview of b.png: it is too large."]
