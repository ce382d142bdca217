"""The embedded server responds as recorded from ComfyUI 0.3.64."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.waiting import TIMEOUT

DATA = Path(__file__).resolve().parents[1] / "data"


def rows(name: str) -> list[dict[str, Any]]:
    lines = (DATA / name).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def comparable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response of ``/prompt`` without the parts that vary between runs and servers."""
    reduced = json.loads(json.dumps(body))
    for key in ("prompt_id", "number"):
        reduced.pop(key, None)
    if isinstance(reduced.get("error"), dict):
        reduced["error"]["message"] = reduced["error"]["message"].partition(
            " This embedded server"
        )[0]
    for entry in reduced.get("node_errors", {}).values():
        entry["dependent_outputs"] = sorted(entry["dependent_outputs"])
        for reason in entry["errors"]:
            reason["extra_info"].pop("traceback", None)
            config = reason["extra_info"].get("input_config")
            if config:
                config[1].pop("tooltip", None)
    return reduced


VALIDATION = rows("transcripts/validation.jsonl")


@pytest.mark.parametrize("row", VALIDATION, ids=[row["note"][:50] for row in VALIDATION])
def test_a_prompt_is_validated_as_recorded(served: Any, row: dict[str, Any]) -> None:
    answer = served.post("/prompt", row["sent"])
    assert answer.status_code == row["status"]
    if isinstance(row["body"], dict):
        assert comparable(answer.json()) == comparable(row["body"])
    else:
        assert answer.text == row["body"]


def shape(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a frame to what clients rely on, as in the recording."""
    data = frame["data"]
    reduced = {"type": frame["type"], "keys": sorted(data)}
    if "node" in data:
        reduced["node"] = data["node"]
    if frame["type"] == "progress_state":
        reduced["states"] = {node: entry["state"] for node, entry in data["nodes"].items()}
        reduced["node_keys"] = sorted(next(iter(data["nodes"].values())))
    if frame["type"] == "execution_cached":
        reduced["nodes"] = sorted(data["nodes"])
    if frame["type"] == "executed":
        reduced["output"] = {
            key: [sorted(value) if isinstance(value, dict) else value for value in values]
            for key, values in data["output"].items()
        }
    return reduced


def test_jobs_send_the_recorded_frames_in_the_recorded_order(served: Any) -> None:
    """In sequence, because each job uses results that earlier ones cached."""
    client = served.client()
    for row in rows("transcripts/runs.jsonl"):
        frames = client.run(row["sent"])
        got = [shape(frame) for frame in frames]
        if not any(frame["type"] == "executing" and frame["node"] for frame in row["frames"]):
            got, row["frames"] = outputs_sorted(got), outputs_sorted(row["frames"])
        assert got == row["frames"]
        expected = row.get("history")
        if expected:
            entry = served.get(f"/history/{frames[0]['data']['prompt_id']}")
            (job,) = entry.values()
            assert sorted(job) == expected["keys"]
            assert job["status"]["status_str"] == expected["status_str"]
            assert job["status"]["completed"] == expected["completed"]
            assert [m[0] for m in job["status"]["messages"]] == expected["messages"]
            assert sorted(job["outputs"]) == expected["outputs"]
            assert sorted(job["meta"]) == expected["meta"]


def outputs_sorted(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort cached outputs, which ComfyUI sends in the order of a set."""
    for frame in frames:
        frame.pop("states", None)
    return sorted(frames, key=lambda frame: (frame["type"] == "executed", str(frame.get("node"))))


VIEWS = rows("transcripts/view.jsonl")


@pytest.fixture
def viewed(served: Any) -> Any:
    folder = served.base / "input"
    image = Image.new("RGBA", (16, 12), (10, 200, 30, 128))
    image.save(folder / "v.png")
    (folder / "sub" / "dir").mkdir(parents=True)
    image.save(folder / "sub" / "dir" / "a.png")
    (folder / "x.html").write_text("<html><script>alert(1)</script>", "utf-8")
    (folder / "x.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", "utf-8")
    return served


@pytest.mark.parametrize("row", VIEWS, ids=[(row["note"] or "view") for row in VIEWS])
def test_view_responds_as_recorded(viewed: Any, row: dict[str, Any]) -> None:
    method, _, path = row["request"].partition(" ")
    headers = {"Range": "bytes=0-9"} if row["note"] == "range" else {}
    answer = requests.request(method, viewed.url + path, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == row["status"]
    if row["status"] in (200, 206):
        assert answer.headers["Content-Type"] == row["type"]


CASES = rows("pixels/cases.jsonl")


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from embedded_comfyui import serve_in_thread

    with serve_in_thread(tmp_path_factory.mktemp("pixels")) as server:
        for path in (DATA / "pixels").glob("px_*.png"):
            (server.base / "input" / path.name).write_bytes(path.read_bytes())
        yield server


def wait_for_history(url: str, prompt_id: str) -> Any:
    while not (entry := requests.get(f"{url}/history/{prompt_id}", timeout=TIMEOUT).json()):
        pass
    return entry[prompt_id]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_pixels_match_the_recorded_ones(pixels: Any, case: dict[str, Any]) -> None:
    answer = requests.post(pixels.url + "/prompt", json={"prompt": case["prompt"]}, timeout=TIMEOUT)
    body = answer.json()
    if "refused" in case:
        assert answer.status_code == 400
        wanted = comparable(case["refused"])["node_errors"]
        assert comparable(body)["node_errors"] == wanted
        return
    entry = wait_for_history(pixels.url, body["prompt_id"])
    if "error" in case:
        message = entry["status"]["messages"][-1]
        assert message[0] == "execution_error"
        assert message[1]["node_id"] == case["error"]["node_id"]
        assert message[1]["exception_type"] == case["error"]["exception_type"]
        return
    images = entry["outputs"]["90"]["images"]
    assert len(images) == len(case["outputs"])
    for image, name in zip(images, case["outputs"], strict=True):
        content = requests.get(pixels.url + "/view", params=image, timeout=TIMEOUT).content
        got = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int)
        wanted = np.asarray(Image.open(DATA / "pixels" / name).convert("RGB"), int)
        assert got.shape == wanted.shape
        assert abs(got - wanted).max() <= 1
