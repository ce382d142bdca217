"""Faults of a server, and the response of the real process to each.

Each case: one JSON object, in time, with what to do; no partial file; nothing else left behind.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import png
from tests.waiting import TIMEOUT, wait_until, with_more_time

WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
}
WITH_IMAGE = {**WORKFLOW, "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}
IMAGE = {"filename": "a.png", "subfolder": "", "type": "output"}
END = {"type": "executing", "data": {"node": None, "prompt_id": "ID"}}
SUCCESS = {"type": "execution_success", "data": {"prompt_id": "ID"}}
NODE = {"type": "executing", "data": {"node": "9", "prompt_id": "ID"}}
DONE = {
    "type": "executed",
    "data": {"node": "9", "output": {"images": [IMAGE]}, "prompt_id": "ID"},
}
GOOD_FRAMES = [NODE, DONE, SUCCESS, END]
FOREIGN = {"type": "executed", "data": {"node": "9", "output": {}, "prompt_id": "another"}}


def history(*messages: Any, outputs: Any = None, status: str = "success") -> dict[str, Any]:
    events = [[m, {}] if isinstance(m, str) else list(m) for m in messages]
    shown = {"9": {"images": [IMAGE]}} if outputs is None else outputs
    return {"ID": {"outputs": shown, "status": {"status_str": status, "messages": events}}}


def failing(kind: str, message: str) -> dict[str, Any]:
    error = {"node_id": "1", "node_type": "EmptyImage", "exception_type": kind}
    return history(
        ("execution_error", {**error, "exception_message": message}), outputs={}, status="error"
    )


def with_metadata(node: str) -> Callable[[str], bytes]:
    """An image message as sent to a client that supports metadata."""

    def frame(ident: str) -> bytes:
        data = {"node_id": node, "prompt_id": ident, "image_type": "image/png"}
        metadata = json.dumps(data).encode()
        return b"\0\0\0\4" + len(metadata).to_bytes(4, "big") + metadata + png(8, 8)

    return frame


GOOD = history("execution_success")


def rejected(message: str, errors: dict[str, Any]) -> Callable[[int, Any], tuple[int, Any]]:
    body = {"error": {"type": "x", "message": message, "details": ""}, "node_errors": errors}
    return lambda count, posted: (400, body)


@dataclass(frozen=True)
class Case:
    """A fault and its response.

    ``expected`` is in the text or the error; ``good``: the image is returned anyway (its name);
    ``limited``: the time limit of the call ends it.
    """

    name: str
    expected: str = "Done"
    good: bool | str = False
    set: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    limited: bool = False
    queued: bool = False  # the job stays in the queue, and the response says so


INVALID = {
    "9": {
        "class_type": "SaveImage",
        "dependent_outputs": ["9"],
        "errors": [
            {
                "type": "value_smaller_than_min",
                "message": "Value smaller than min",
                "details": "",
                "extra_info": {"input_name": "width", "received_value": 0},
            }
        ],
    }
}
PARTLY = {"number": 1, "node_errors": INVALID}
CASES = [
    Case("all goes well", good=True),
    Case("the socket is refused", good=True, set={"socket_refused": True}),
    Case("the socket closes mid-run", good=True, set={"frames": [NODE], "close_socket": True}),
    Case("the socket falls silent", good=True, set={"frames": [NODE]}),
    Case(
        "a proxy that opens no socket at first",
        good=True,
        set={"socket_statuses": [502], "frames": [], "later_frames": GOOD_FRAMES},
    ),
    Case(
        "a socket that breaks, and another one that says the rest",
        good=True,
        set={"frames": [NODE], "close_socket": True, "later_frames": [DONE, SUCCESS, END]},
    ),
    Case(
        "a second socket that the server forgets as the first one closes",
        good=True,
        set={"frames": [NODE], "close_socket": True, "later_frames": []},
    ),
    Case("a slow server", good=True, set={"delay": 0.5}),
    Case(
        "a proxy that fails now and then",
        good=True,
        set={"frames": [NODE], "flaky": {"/queue": 1, "/history": 1, "/view": 1}},
    ),
    Case(
        "results that come only over the socket, with their node",
        good="websocket_9_00001_.png",
        set={
            "frames": [NODE, with_metadata("9"), SUCCESS, END],
            "history": history("execution_success", outputs={}),
        },
    ),
    Case(
        "results that come only over the socket, without metadata",
        good="websocket_9_00001_.png",
        set={
            "frames": [NODE, b"\0\0\0\1\0\0\0\2" + png(8, 8), SUCCESS, END],
            "history": history("execution_success", outputs={}),
        },
    ),
    Case(
        "images over the socket that are only previews",
        "returned no output",
        set={
            "frames": [
                {"type": "executing", "data": {"node": "1", "prompt_id": "ID"}},
                with_metadata("1"),
                b"\0\0\0\1\0\0\0\1\xff\xd8\xff\xe0",
                SUCCESS,
                END,
            ],
            "history": history("execution_success", outputs={}),
        },
    ),
    Case("frames that are no JSON", good=True, set={"frames": ["{", "", "[1]", *GOOD_FRAMES]}),
    Case("frames that are no objects", good=True, set={"frames": [None, 7, {}, *GOOD_FRAMES]}),
    Case("binary frames", good=True, set={"frames": [b"\0\0\0\1", b"", *GOOD_FRAMES]}),
    Case("frames of another job", good=True, set={"frames": [FOREIGN, *GOOD_FRAMES]}),
    Case("a history that lags", good=True, set={"history_empty_for": 4}),
    Case("a history that was cleared", good=True, set={"history": {}}),
    Case(
        "taken out of the queue",
        "It was removed",
        set={"frames": [], "history": {}},
    ),
    Case(
        "interrupted by another client",
        "cancelled before its end",
        set={
            "frames": [END],
            "history": history("execution_interrupted", outputs={}, status="error"),
        },
    ),
    Case(
        "out of memory",
        "lower width (now 8)",
        set={"frames": [END], "history": failing("torch.OutOfMemoryError", "CUDA out of memory")},
    ),
    Case(
        "a damaged model",
        "download it again",
        set={"frames": [END], "history": failing("SafetensorError", "HeaderTooLarge")},
    ),
    Case(
        "a full disk at the server",
        "free some space",
        set={"frames": [END], "history": failing("OSError", "[Errno 28] No space left on device")},
    ),
    Case(
        "a status success without the event",
        "ended at ComfyUI with the status success",
        set={"frames": [END], "history": history("execution_start", outputs={})},
    ),
    Case(
        "no output at all",
        "returned no output",
        set={
            "frames": [NODE, SUCCESS, END],
            "history": history("execution_success", outputs={}),
        },
    ),
    Case(
        "a job that is silent until the time limit",
        "reported no progress for",
        set={"frames": [NODE], "history": {}, "never_ends": True},
        env={"COMFYUI_SILENCE_TIMEOUT": "5", "COMFYUI_TIMEOUT": "10"},
        queued=True,
    ),
    Case(
        "a silent job at the time limit, and the call requests cancelling",
        "was cancelled as requested",
        set={"frames": [NODE], "history": {}, "never_ends": True},
        call={"on_timeout": "cancel"},
        env={"COMFYUI_SILENCE_TIMEOUT": "5", "COMFYUI_TIMEOUT": "10"},
    ),
    Case(
        "a job that does not end in time",
        '"command": "result"',
        set={"frames": [NODE], "history": {}, "never_ends": True},
        limited=True,
        queued=True,
    ),
    Case(
        "a job that is late and has given something",
        "NOT FINISHED",
        good=True,
        set={"frames": [NODE, DONE], "history": {}, "never_ends": True},
        limited=True,
        queued=True,
    ),
    Case(
        "a job that is still waiting when the time is over",
        "still waiting in the queue",
        set={"frames": [], "history": {}, "never_begins": True},
        limited=True,
        queued=True,
    ),
    Case(
        "a job that ignores being cancelled",
        "was asked to cancel it, but it is still running",
        set={"frames": [NODE], "history": {}, "never_ends": True, "deaf": True},
        call={"on_timeout": "cancel"},
        limited=True,
        queued=True,
    ),
    Case(
        "a job that is to be cancelled when late",
        "was cancelled as requested",
        set={"frames": [NODE], "history": {}, "never_ends": True},
        call={"on_timeout": "cancel"},
        limited=True,
    ),
    Case("a lost reply to the prompt", good=True, set={"post": lambda n, b: None}),
    Case(
        "a busy server", good=True, set={"post": lambda n, b: (503, b"") if n == 1 else (200, {})}
    ),
    Case("a server that stays busy", "503", set={"post": lambda n, b: (503, b""), "history": {}}),
    Case(
        "a crash on the prompt",
        "failed on /prompt (500)",
        set={"post": lambda n, b: (500, b"oops"), "history": {}},
    ),
    Case("no JSON for the prompt", "is not ComfyUI", set={"post": lambda n, b: (200, b"<html>")}),
    Case("an invalid value", "'width'", set={"post": rejected("bad", INVALID)}),
    Case("a refusal without a reason", "no reason given", set={"post": lambda n, b: (400, {})}),
    Case(
        "a refusal with a message",
        "Prompt has no outputs",
        set={"post": rejected("Prompt has no outputs", {})},
    ),
    Case(
        "a part that did not validate",
        "PARTLY FAILED",
        good=True,
        set={"post": lambda n, b: (200, {**PARTLY, "prompt_id": b["prompt_id"]})},
    ),
    Case("a login page", "Set COMFYUI_AUTH", set={"broken": {"/object_info": (302, b"")}}),
    Case("a wrong login", "COMFYUI_AUTH", set={"broken": {"/object_info": (401, b"")}}),
    Case("a login only for prompts", "COMFYUI_AUTH", set={"broken": {"/prompt": (403, b"")}}),
    Case("another program", "is not ComfyUI", set={"broken": {"/object_info": (200, b"<html>")}}),
    Case(
        "classes of another shape", "is not ComfyUI", set={"broken": {"/object_info": (200, [1])}}
    ),
    Case(
        "a crash on the classes",
        "fails to describe its node type",
        set={
            "broken": {
                "/object_info": (500, b"x"),
                "/system_stats": (200, {"system": {"os": "posix"}, "devices": []}),
            }
        },
    ),
    Case("a queue of another shape", good=True, set={"broken": {"/queue": (200, [1])}}),
    Case("a broken history", good=True, set={"broken": {"/history": (500, b"x")}}),
    Case("a missing result", "no longer", set={"files": {}}),
    Case(
        "one missing result of two",
        "PARTLY FAILED",
        good=True,
        set={
            "frames": [NODE, SUCCESS, END],
            "history": history(
                "execution_success",
                outputs={"9": {"images": [IMAGE, {**IMAGE, "filename": "b.png"}]}},
            ),
        },
    ),
    Case(
        "a truncated image as a result",
        "broken or cut-off PNG",
        set={"files": {"a.png": png(80, 80)[:-90]}},
    ),
    Case(
        "a failure after something was saved",
        "Saved before that: http",
        good=True,
        set={
            "frames": [NODE, DONE, END],
            "history": failing("RuntimeError", "no luck"),
        },
    ),
    Case(
        "only a preview, and nothing saved",
        "preview, not saved",
        good="a.png",
        set={
            "frames": [NODE, SUCCESS, END],
            "history": history(
                "execution_success", outputs={"9": {"images": [{**IMAGE, "type": "temp"}]}}
            ),
        },
    ),
    Case("a result that is cut off", "a.png", set={"cut_files": True}),
    Case("a crash on the result", "failed on /view", set={"broken": {"/view": (500, b"x")}}),
    Case("a login page as the result", "COMFYUI_AUTH", set={"broken": {"/view": (302, b"")}}),
    Case(
        "a file name that leads elsewhere",
        good=True,
        set={
            "history": history(
                "execution_success",
                outputs={
                    "9": {"images": [{**IMAGE, "filename": "../../a.png", "subfolder": "/etc"}]}
                },
            ),
            "files": {"../../a.png": png(8, 8)},
        },
    ),
    Case(
        "only a text",
        "Text from node 9",
        set={
            "frames": [NODE, SUCCESS, END],
            "history": history("execution_success", outputs={"9": {"text": ["some words"]}}),
        },
    ),
    Case(
        "outputs of odd shapes",
        good=True,
        set={
            "history": history(
                "execution_success",
                outputs={"9": {"images": [IMAGE, None, 7, {}], "x": 5, "y": None}, "10": None},
            )
        },
    ),
    Case(
        "an upload that is too large for the server",
        "--max-upload-size",
        set={"broken": {"/upload": (413, b"")}},
        call={"image": 1},
    ),
    Case(
        "an input that is not an image",
        "web page",
        call={"image": "data:image/png;base64,PCFkb2N0eXBlIGh0bWw+PGh0bWw+"},
    ),
    Case(
        "an image URL of a private address",
        "DOWNLOAD_ALLOW",
        call={"image": "http://127.0.0.1:9/x.png"},
    ),
    Case("an image that does not exist", "neither in", call={"image": "nowhere.png"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_response_says_what_happened_and_what_to_do(
    plugin: Any, fake: Any, image_uri: str, case: Case
) -> None:
    def check(seconds: float) -> None:
        fake.stop()
        fake.start()
        shutil.rmtree(plugin.output, ignore_errors=True)
        check_response(plugin, fake, image_uri, case, {"COMFYUI_TIMEOUT": f"{seconds:.0f}"})

    if case.limited:
        with_more_time(check, 2, 15, 60)
    else:
        check_response(plugin, fake, image_uri, case, {})


def check_response(
    plugin: Any, fake: Any, image_uri: str, case: Case, limit: dict[str, str]
) -> None:
    fake.script.frames, fake.script.history = GOOD_FRAMES, GOOD
    fake.script.files = {"a.png": png(8, 8)}
    for name, value in case.set.items():
        setattr(fake.script, name, value)
    name = plugin.workflow("it", WITH_IMAGE if "image" in case.call else WORKFLOW)
    given = {**case.call, **({"image": image_uri} if case.call.get("image") == 1 else {})}
    env = {"COMFYUI_BASE_URL": fake.url, **case.env, **limit}
    answered = plugin.call({"workflow": name, **given}, **env)
    response = answered.json
    assert case.expected in (response.get("error") or response["result"]["content"][0]["text"])
    assert answered.status == 0
    files = [path for path in plugin.folder.rglob("*") if path.is_file() and "output" in path.parts]
    name = "a.png" if case.good is True else case.good
    assert [path.name for path in files] == ([name] if name else [])
    assert all(path.read_bytes() == png(8, 8) for path in files)
    if fake.script.never_ends or fake.script.never_begins:
        left = {posted["prompt_id"] for posted in fake.script.posted} - set(fake.script.cancelled)
        assert bool(left) == case.queued
        assert not case.queued or all(ident in str(response) for ident in left)


def started(plugin: Any, fake: Any, frames: list[Any]) -> Any:
    """Start a call whose job is at the server."""
    fake.script.frames, fake.script.history = frames, {}
    fake.script.never_begins = True
    name = plugin.workflow("it", WORKFLOW)
    process = plugin.start({"workflow": name}, COMFYUI_BASE_URL=fake.url)
    wait_until(lambda: fake.script.sent.is_set() or process.poll() is not None)
    assert fake.script.sent.is_set(), process.communicate(timeout=TIMEOUT)
    return process


def test_a_server_that_stops_while_the_job_runs(plugin: Any, fake: Any) -> None:
    process = started(plugin, fake, [NODE])
    fake.stop()
    out, _ = process.communicate(timeout=TIMEOUT)
    assert b"went down while it ran this job" in out


def test_a_server_restarted_while_the_job_runs_has_lost_the_job(plugin: Any, fake: Any) -> None:
    process = started(plugin, fake, [NODE])
    fake.stop()
    fake.start()
    out, _ = process.communicate(timeout=TIMEOUT)
    assert json.loads(out)["code"] == "job_lost"
    assert not fake.script.posted


def test_a_job_that_had_not_started_is_queued_again_after_a_restart(plugin: Any, fake: Any) -> None:
    process = started(plugin, fake, [])
    fake.stop()
    time.sleep(1.5)  # while the server is down there is no event to wait for
    fake.start()
    fake.script.frames, fake.script.history = GOOD_FRAMES, GOOD
    fake.script.files = {"a.png": png(8, 8)}
    out, _ = process.communicate(timeout=TIMEOUT)
    assert b'"status": "success"' in out
    assert len(fake.script.posted) == 1


def test_a_refused_connection_names_the_setting(plugin: Any) -> None:
    error = plugin.call({"workflow": "invert_image"}, COMFYUI_BASE_URL="http://127.0.0.1:9").error
    assert "refuses the connection" in error
    assert "COMFYUI_BASE_URL" in error


def test_a_cached_job_whose_files_were_deleted_is_run_again(plugin: Any, fake: Any) -> None:
    cached = {"type": "execution_cached", "data": {"nodes": ["1", "9"], "prompt_id": "ID"}}
    fake.script.frames = fake.script.later_frames = [cached, DONE, SUCCESS, END]
    fake.script.history = GOOD

    def post(count: int, body: dict[str, Any]) -> tuple[int, Any]:
        if count == 2:
            fake.script.files = {"a.png": png(8, 8)}
        return 200, {"prompt_id": body["prompt_id"], "number": count, "node_errors": {}}

    fake.script.post = post
    name = plugin.workflow("it", WORKFLOW)
    (output,) = plugin.call({"workflow": name}, COMFYUI_BASE_URL=fake.url).result["outputs"]
    assert output["width"] == 8
    first, second = (
        body["prompt"]["9"]["inputs"]["filename_prefix"] for body in fake.script.posted
    )
    assert (first, second[:2]) == ("a", "a_")
