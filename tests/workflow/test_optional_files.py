"""Files that a call does not give: left out where only optional inputs need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.workflow import required_files
from comfyui_pipeline.workflow.graph import build
from tests.workflow import offline_calls
from tests.workflow.offline_calls import node

GIVEN = "photo.png"


def stitched(second: str) -> dict[str, Any]:
    """Two images, of which the second goes through a node into an optional input."""
    return {
        "1": node("LoadImage", image="example.png"),
        "2": node("LoadImage", image=second),
        "9": node("ImageInvert", image=["2", 0]),
        "3": node(
            "ImageStitch",
            image1=["1", 0],
            image2=["9", 0],
            direction="right",
            match_image_size=True,
            spacing_width=0,
            spacing_color="white",
        ),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }


def batch(count: int) -> dict[str, Any]:
    """A node that takes at least two images."""
    images = {f"images.image{i}": [str(i), 0] for i in range(count)}
    loaders = {str(i): node("LoadImage", image="example.png") for i in range(count)}
    return {
        **loaders,
        "8": node("BatchImagesNode", **images),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }


def film(audio: str) -> dict[str, Any]:
    return {
        "1": node("LoadImage", image="photo.png"),
        "2": node("LoadAudio", audio=audio),
        "3": node("CreateVideo", images=["1", 0], fps=24.0, audio=["2", 0]),
        "4": node("SaveVideo", video=["3", 0], filename_prefix="x", format="auto", codec="auto"),
    }


def prepared(tmp_path: Path, prompt: Any, **keys: Any) -> Any:
    call = {"workflow_json": prompt, **keys}
    return offline_calls.prepare_call(call, offline_calls.settings_in(tmp_path))


def error_of(tmp_path: Path, prompt: Any, **keys: Any) -> str:
    return offline_calls.error_of(
        {"workflow_json": prompt, **keys}, offline_calls.settings_in(tmp_path)
    )


@pytest.mark.parametrize("name", ["example.png", "", "not_on_the_server.png"])
def test_a_reference_that_is_not_given_goes_with_what_only_it_feeds(
    tmp_path: Path, name: str
) -> None:
    job = prepared(tmp_path, stitched(name), images=[GIVEN])
    assert list(job.job.prompt) == ["1", "3", "4"]
    assert "image2" not in job.job.prompt["3"]["inputs"]
    assert any("node 2" in text and "left out" in text for text in job.important)


def test_an_image_on_the_server_stays_and_is_noted(tmp_path: Path) -> None:
    job = prepared(tmp_path, stitched("photo.png"), images=[GIVEN])
    assert job.job.prompt["3"]["inputs"]["image2"] == ["9", 0]
    assert any("photo.png" in note and "not given" in note for note in job.notes)
    both = prepared(tmp_path, stitched("photo.png"), images=[GIVEN, GIVEN])
    assert not any("not given" in note for note in both.notes)


def test_images_of_a_batch_beyond_those_it_needs_are_left_out(tmp_path: Path) -> None:
    job = prepared(tmp_path, batch(3), images=[GIVEN, GIVEN])
    assert list(job.job.prompt["8"]["inputs"]) == ["images.image0", "images.image1"]
    assert '"images" (node 1' in error_of(tmp_path, batch(2), images=[GIVEN])
    assert '"images" (node 1' in error_of(tmp_path, batch(3), images=[GIVEN])


def test_an_optional_sound_is_left_out(tmp_path: Path) -> None:
    job = prepared(tmp_path, film(""))
    assert "2" not in job.job.prompt
    assert "audio" not in job.job.prompt["3"]["inputs"]
    assert any("node 2" in text for text in job.important)


def test_the_only_image_is_required_but_the_error_says_how_to_run_without(tmp_path: Path) -> None:
    prompt = stitched("photo.png")
    prompt["3"]["inputs"] |= {"image1": ["2", 0], "image2": ["1", 0]}
    del prompt["9"]
    prompt["2"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0)
    error = error_of(tmp_path, prompt)
    assert '"bypass": ["1"]' in error
    assert list(prepared(tmp_path, prompt, bypass=["1"]).job.prompt) == ["2", "3", "4"]


def test_a_mask_that_nobody_has_painted_need_not_be_given() -> None:
    painted = {"image_upload": True, "default": ""}
    types = {
        "Paint": {
            "input": {"required": {"mask": ["STRING", painted]}},
            "output": ["MASK"],
            "output_node": True,
        }
    }
    graph = build({"1": node("Paint", mask="")}, types)
    assert required_files.missing_files(graph) == []
