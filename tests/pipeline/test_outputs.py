"""Outputs in the response: what is linked and what is shown."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests.engine.scripted import SUCCESS
from tests.pipeline.test_fault_matrix import WORKFLOW

EXR = b"\x76\x2f\x31\x01\x02\0\0\0" + b"\0" * 64


def tiff() -> bytes:
    buffer = io.BytesIO()
    Image.new("I;16", (16, 12), 30_000).save(buffer, "TIFF")
    return buffer.getvalue()


def answer_of(plugin: Any, fake: Any, files: dict[str, bytes]) -> Any:
    """The answer about a job whose saving node lists these files."""
    listed = [{"filename": name, "subfolder": "", "type": "output"} for name in files]
    node = {"type": "executing", "data": {"node": "9", "prompt_id": "ID"}}
    fake.script.frames = [
        node,
        SUCCESS,
        {"type": "executing", "data": {"node": None, "prompt_id": "ID"}},
    ]
    status = {"status_str": "success", "messages": [["execution_success", {}]]}
    fake.script.history = {"ID": {"outputs": {"9": {"images": listed}}, "status": status}}
    fake.script.files = files
    call = {"workflow": plugin.workflow("it", WORKFLOW)}
    return plugin.call(call, COMFYUI_BASE_URL=fake.url)


def test_an_image_that_browsers_cannot_show_is_a_link_with_a_png_next_to_it(
    plugin: Any, fake: Any
) -> None:
    answered = answer_of(plugin, fake, {"a.tif": tiff(), "b.exr": EXR})
    tif, shown, exr = answered.result["outputs"]
    assert (tif["file"], tif["shown_as"], shown["file"]) == ("a.tif", "a.png", "a.png")
    assert exr["shown_as"] == ""  # there is no decoder for it
    assert "shown_as" not in shown
    lines = answered.text.splitlines()
    assert [line[:9] for line in lines[1:4]] == ["[a.tif](h", "![a.png](", "[b.exr](h"]
    with Image.open(plugin.output / "a.png") as image:
        assert image.size == (16, 12)
    pictures = [part for part in answered.result["content"] if part["type"] == "image_url"]
    assert len(pictures) == 1


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_an_image_that_browsers_show_is_the_only_output(plugin: Any, fake: Any, name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, name.partition(".")[2])
    (output,) = answer_of(plugin, fake, {name: buffer.getvalue()}).result["outputs"]
    assert "shown_as" not in output
