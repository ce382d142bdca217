"""A server that sends a byte now and then, or nothing: the call ends at its own deadline.

Not at the watchdog's: that one knows nothing of the run, and responds ``time_limit.WATCHDOG_GRACE`` later.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import png
from tests.pipeline.test_fault_matrix import DONE, GOOD, GOOD_FRAMES, NODE, WITH_IMAGE, WORKFLOW

WATCHDOG = "something on the way does not answer"
LATE = {"COMFYUI_TIMEOUT": "2"}


def text_of(plugin: Any, fake: Any, call: Any) -> str:
    answered = plugin.call(call, COMFYUI_BASE_URL=fake.url, **LATE)
    text: str = answered.json.get("error") or answered.json["result"]["content"][0]["text"]
    assert answered.status == 0
    assert WATCHDOG not in text
    assert "Internal error" not in text
    return text


@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("/object_info", "silent"),
        ("/object_info", "body"),
        ("/prompt", "header"),
        ("/prompt", "informed"),
        ("/prompt", "chunk"),
        ("/queue", "silent"),
        ("/queue", "head"),
        ("/queue", "body"),
        ("/view", "header"),
        ("/view", "chunk"),
    ],
)
def test_a_call_ends_at_its_deadline(plugin: Any, fake: Any, path: str, how: str) -> None:
    fake.script.frames, fake.script.history = GOOD_FRAMES, GOOD
    fake.script.files = {"a.png": png(8, 8)}
    if path == "/queue":  # the socket says nothing, so that the queue is text_of
        fake.script.frames, fake.script.socket_refused = [], True
    fake.script.slow = {path: how}
    text = text_of(plugin, fake, {"workflow": plugin.workflow("it", WORKFLOW)})
    for posted in fake.script.posted:
        assert posted["prompt_id"] in text or path == "/view"


@pytest.mark.parametrize("how", ["silent", "head", "header"])
def test_a_handshake_that_never_ends_falls_back_to_polling(
    plugin: Any, fake: Any, how: str
) -> None:
    fake.script.history, fake.script.files = GOOD, {"a.png": png(8, 8)}
    fake.script.slow = {"/ws": how}
    text = plugin.call(
        {"workflow": plugin.workflow("it", WORKFLOW)},
        COMFYUI_BASE_URL=fake.url,
        COMFYUI_TIMEOUT="30",
    )
    assert "Done" in text.text


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/queue body", {"info": "queue"}),
        ("/system_stats chunk", {"info": "system"}),
        ("/models informed", {"info": "loras"}),
        ("/queue silent", {"command": "status", "prompt_id": "x"}),
        ("/history header", {"command": "status", "prompt_id": "x"}),
        ("/history body", {"command": "result", "prompt_id": "x"}),
        ("/queue head", {"command": "cancel", "prompt_id": "x"}),
    ],
    ids=str,
)
def test_every_info_question_ends_at_the_deadline(
    plugin: Any, fake: Any, path: str, call: Any
) -> None:
    begin, how = path.split()
    fake.script.slow = {begin: how}
    assert fake.url in text_of(plugin, fake, call)


@pytest.mark.parametrize(
    ("path", "how"), [("/upload", "silent"), ("/upload", "body"), ("/view", "chunk")]
)
def test_an_upload_ends_at_the_deadline(
    plugin: Any, fake: Any, image_uri: str, path: str, how: str
) -> None:
    fake.script.slow = {path: how}
    text = text_of(
        plugin, fake, {"workflow": plugin.workflow("it", WITH_IMAGE), "image": image_uri}
    )
    assert fake.url in text or any(p["prompt_id"] in text for p in fake.script.posted)


@pytest.mark.parametrize("how", ["silent", "body"])
def test_an_unanswered_cancel_loses_neither_the_id_nor_the_results(
    plugin: Any, fake: Any, how: str
) -> None:
    fake.script.frames, fake.script.never_ends = [NODE, DONE], True
    fake.script.files = {"a.png": png(8, 8)}
    fake.script.slow = {"/api/jobs": how, "/interrupt": how}
    call = {"workflow": plugin.workflow("it", WORKFLOW), "on_timeout": "cancel"}
    text = text_of(plugin, fake, call)
    assert fake.script.posted[0]["prompt_id"] in text


FRAMES = {
    "a head that does not come": b"",
    "half a head": b"\x81",
    "a length that does not come": b"\x81\x7f\0\0",
    "half a frame": b"\x81\x7e\x10\0{",
    "half a message": b"\x01\x02{}",
}


@pytest.mark.parametrize("begin", FRAMES.values(), ids=FRAMES)
def test_a_websocket_frame_that_never_ends_stops_at_the_deadline(
    plugin: Any, fake: Any, begin: bytes
) -> None:
    fake.script.raw_frames, fake.script.never_ends = True, True
    fake.script.frames = [begin]
    text = text_of(plugin, fake, {"workflow": plugin.workflow("it", WORKFLOW)})
    assert fake.script.posted[0]["prompt_id"] in text
    assert '"command": "result"' in text
