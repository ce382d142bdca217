"""Security of the embedded server: interrupts, paths, content types, origins; and masks."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from PIL import Image

from tests.waiting import TIMEOUT

SAVE = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "p/a"}}


def gated(prefix: str = "p/a") -> dict[str, Any]:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 1}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "Gate", "inputs": {"image": ["1", 0]}},
        "3": {**SAVE, "inputs": {**SAVE["inputs"], "filename_prefix": prefix}},  # type: ignore[dict-item]
    }


@pytest.mark.parametrize(("named", "stopped"), [("another", False), ("mine", True), (None, True)])
def test_an_interrupt_for_another_job_does_not_stop_the_running_one(
    served: Any, named: str | None, stopped: bool
) -> None:
    client = served.client()
    assert client.post(gated(), prompt_id="mine").status_code == 200
    assert served.gate.begun.wait(TIMEOUT)
    assert served.post("/interrupt", {"prompt_id": named} if named else {}).status_code == 200
    if not stopped:  # otherwise the waiting node would be interrupted first
        served.gate.open.set()
    kinds = [frame["type"] for frame in client.until_end("mine")]
    assert ("execution_interrupted" in kinds, "execution_success" in kinds) == (
        stopped,
        not stopped,
    )


@pytest.mark.parametrize("prefix", ["../outside/a", "p/../../outside/a"])
def test_nothing_is_saved_outside_the_output_folder(served: Any, prefix: str) -> None:
    served.gate.open.set()
    client = served.client()
    kinds = [frame["type"] for frame in client.run(gated(prefix))]
    assert "execution_error" in kinds
    assert not (served.base / "outside").exists()


@pytest.mark.parametrize("name", ["a.html", "a.xhtml", "a.js", "a.css"])
def test_active_content_is_sent_as_binary(served: Any, name: str) -> None:
    (served.base / "output" / name).write_text("alert(1)", "utf-8")
    query = {"filename": name, "type": "output"}
    answer = requests.get(f"{served.url}/view", params=query, timeout=TIMEOUT)
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_requests_from_another_origin_are_refused(served: Any) -> None:
    for origin, status in (("http://evil.example", 403), (served.url, 200), ("null", 403)):
        headers = {"Origin": origin}
        assert requests.get(
            f"{served.url}/queue", headers=headers, timeout=TIMEOUT
        ).status_code == (status)


def test_the_mask_of_a_loaded_image_covers_transparent_pixels(served: Any) -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((0, 0), (255, 0, 0, 0))
    image.save(served.base / "input" / "half.png")
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "half.png"}},
        "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 1]}},
        "3": {**SAVE},
    }
    client = served.client()
    (shown,) = [f["data"]["output"] for f in client.run(nodes) if f["type"] == "executed"]
    saved = shown["images"][0]
    query = {name: saved[name] for name in ("filename", "subfolder", "type")}
    content = requests.get(f"{served.url}/view", params=query, timeout=TIMEOUT).content
    mask = Image.open(io.BytesIO(content)).convert("L")
    assert (mask.getpixel((0, 0)), mask.getpixel((1, 0))) == (255, 0)
