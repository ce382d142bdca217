"""Decisions of the embedded server that a small change could reverse unnoticed."""

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
def test_an_interruption_of_another_run_does_not_stop_this_one(
    served: Any, named: str | None, stopped: bool
) -> None:
    client = served.client()
    assert client.post(gated(), prompt_id="mine").status_code == 200
    assert served.gate.begun.wait(TIMEOUT)
    assert served.post("/interrupt", {"prompt_id": named} if named else {}).status_code == 200
    if not stopped:  # whoever waits at the gate would be interrupted before it opens
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
def test_what_a_browser_would_run_is_shown_as_plain_data(served: Any, name: str) -> None:
    (served.base / "output" / name).write_text("alert(1)", "utf-8")
    query = {"filename": name, "type": "output"}
    answer = requests.get(f"{served.url}/view", params=query, timeout=TIMEOUT)
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_page_of_another_place_reaches_nothing(served: Any) -> None:
    for origin, status in (("http://evil.example", 403), (served.url, 200), ("null", 403)):
        headers = {"Origin": origin}
        assert requests.get(
            f"{served.url}/queue", headers=headers, timeout=TIMEOUT
        ).status_code == (status)


def test_see_through_is_what_a_loaded_mask_covers(served: Any) -> None:
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((0, 0), (255, 0, 0, 0))
    picture.save(served.base / "input" / "half.png")
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
    made = Image.open(io.BytesIO(content)).convert("L")
    assert (made.getpixel((0, 0)), made.getpixel((1, 0))) == (255, 0)
