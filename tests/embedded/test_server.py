"""Queue, interruption, sockets, uploads and errors of the embedded server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.waiting import TIMEOUT

PROJECT = Path(__file__).resolve().parents[2]


def gated(color: int = 1) -> dict[str, Any]:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color},
        },
        "2": {"class_type": "Gate", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "g"}},
    }


def test_an_interrupted_job_sends_execution_interrupted(served: Any) -> None:
    client = served.client()
    prompt_id = client.post(gated()).json()["prompt_id"]
    assert served.gate.begun.wait(TIMEOUT)
    served.post("/interrupt", {"prompt_id": "another job"})
    assert served.get("/queue")["queue_running"][0][1] == prompt_id
    served.post("/interrupt", {"prompt_id": prompt_id})
    frames = client.until_end(prompt_id)
    assert [f["type"] for f in frames][-2:] == ["execution_interrupted", "executing"]
    status = served.history(prompt_id)["status"]
    assert status["status_str"] == "error"
    assert status["messages"][-1][0] == "execution_interrupted"


def test_queued_prompts_run_by_number_and_deleted_ones_never(served: Any) -> None:
    client = served.client()
    first = client.post(gated(1)).json()["prompt_id"]
    assert served.gate.begun.wait(TIMEOUT)
    second = client.post(gated(2), number=50).json()["prompt_id"]
    deleted = client.post(gated(3)).json()["prompt_id"]
    front = client.post(gated(4), front=True).json()["prompt_id"]
    assert requests.delete(served.url + "/queue", timeout=TIMEOUT).status_code == 405
    assert served.post("/queue", {"delete": [deleted, first, "unknown"]}).status_code == 200
    assert served.get("/prompt") == {"exec_info": {"queue_remaining": 3}}
    served.gate.open.set()
    client.until_end(second)
    order = list(served.get("/history"))
    assert order == [first, front, second]
    assert served.get(f"/history/{deleted}") == {}


def test_a_prompt_that_crashes_the_worker_of_comfyui_is_refused(served: Any) -> None:
    prompt = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "ImageInvert"},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }
    client = served.client()
    assert client.post(prompt).json()["node_errors"]
    del prompt["3"], prompt["4"]
    assert client.run(prompt)[-2]["type"] == "execution_success"


def test_history_is_written_before_the_last_frame(served: Any) -> None:
    client = served.client()
    served.gate.open.set()
    for color in range(20):
        frames = client.run(gated(color + 100))
        assert served.get(f"/history/{frames[0]['data']['prompt_id']}")


def test_outputs_before_an_error_are_in_the_history(served: Any) -> None:
    prompt = gated()
    prompt["2"]["class_type"] = "Fails"
    prompt["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    frames = served.client().run(prompt)
    problem = frames[-2]
    assert problem["type"] == "execution_error"
    assert problem["data"]["exception_type"] == "ValueError"
    assert list(served.history(problem["data"]["prompt_id"])["outputs"]) == ["4"]


def test_a_client_id_gets_no_messages_after_one_of_its_sockets_closes(served: Any) -> None:
    older = served.client()
    newer = served.client()
    newer.socket.shutdown()
    newer.sid = older.sid
    newer.__post_init__()
    older.socket.close()
    served.gate.open.set()
    prompt_id = newer.post(gated()).json()["prompt_id"]
    served.history(prompt_id)
    newer.socket.settimeout(0.3)
    types = []
    try:
        while True:
            types.append(newer.next()["type"])
    except Exception:
        assert "executed" not in types


def test_feature_flags_in_the_first_message_get_a_response(served: Any) -> None:
    client = served.client()
    client.socket.send(json.dumps({"type": "feature_flags", "data": {}}))
    assert client.next()["type"] == "status"
    assert client.next() == {
        "type": "feature_flags",
        "data": {"supports_preview_metadata": True, "max_upload_size": 104857600},
    }


def upload(served: Any, name: str, content: bytes, **fields: str) -> requests.Response:
    body = b"".join(
        f'--B\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    )
    head = f'--B\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body += head.encode() + content + b"\r\n--B--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    return requests.post(served.url + "/upload/image", data=body, headers=headers, timeout=TIMEOUT)


def test_uploads_replace_files_only_with_overwrite(served: Any) -> None:
    assert upload(served, "图 片.png", b"a").json()["name"] == "图 片.png"
    assert upload(served, "up.png", b"a").json()["name"] == "up.png"
    assert upload(served, "up.png", b"a").json()["name"] == "up.png"
    assert upload(served, "up.png", b"b").json()["name"] == "up (1).png"
    assert upload(served, "up.png", b"b", overwrite="True").json()["name"] == "up (1).png"
    assert upload(served, "up.png", b"c", overwrite="true").json()["name"] == "up.png"
    placed = upload(served, "a.png", b"a", subfolder="sub/dir").json()
    assert placed == {"name": "a.png", "subfolder": "sub/dir", "type": "input"}
    assert (served.base / "input" / "sub" / "dir" / "a.png").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("../evil.png", {}, 400),
        ("e.png", {"subfolder": "../.."}, 400),
        ("e.png", {"subfolder": "/srv/x"}, 400),
        ("e.png", {"type": "nonsense"}, 500),
        ("nodir/n.png", {}, 500),
        ("/srv/x", {}, 500),
    ],
)
def test_uploads_outside_the_folder_are_refused(
    served: Any, name: str, fields: dict[str, str], status: int
) -> None:
    assert upload(served, name, b"a", **fields).status_code == status
    assert not list(served.base.parent.rglob("evil.png"))


def test_another_origin_gets_an_empty_403(served: Any) -> None:
    answer = requests.get(served.url + "/queue", headers={"Origin": "http://evil"}, timeout=TIMEOUT)
    assert (answer.status_code, answer.content) == (403, b"")


def test_a_saved_image_contains_its_prompt_and_workflow(served: Any) -> None:
    served.gate.open.set()
    workflow = {"nodes": [1, 2]}
    client = served.client()
    for number in (1, 2):
        client.run(gated(number), extra_data={"extra_pnginfo": {"workflow": workflow}})
    path = served.base / "output" / "g_00002_.png"
    with Image.open(path) as image:
        assert json.loads(image.text["prompt"]) == gated(2)
        assert json.loads(image.text["workflow"]) == workflow


def test_an_unknown_node_type_is_refused_with_an_explanation(served: Any) -> None:
    prompt = {"1": {"class_type": "KSampler", "inputs": {}}}
    error = served.post("/prompt", {"prompt": prompt}).json()["error"]
    assert error["type"] == "invalid_prompt"
    assert "full ComfyUI" in error["message"]
    assert served.get("/object_info/KSampler") == {}


def test_every_route_also_exists_below_api(served: Any) -> None:
    for path in ("/prompt", "/queue", "/history", "/system_stats", "/features", "/models"):
        assert served.get(f"/api{path}") == served.get(path)
    assert served.get("/models/checkpoints") == []
    assert requests.get(served.url + "/models/nope", timeout=TIMEOUT).status_code == 404


def test_the_program_serves_until_it_is_terminated() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "embedded_comfyui", "--port", "0"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert "LoadImage" in requests.get(url + "/object_info", timeout=TIMEOUT).json()
        process.terminate()
        assert process.wait(TIMEOUT) in (0, 1, -15)
        assert process.stdout.read() == ""
