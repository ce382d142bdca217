"""The query of the server's URL: a login such as ``?token=…``, in every request and in no message."""

from __future__ import annotations

import time
from typing import Any

import pytest

from comfyui_pipeline.engine import server_url
from comfyui_pipeline.engine.protocol import Job, Output
from comfyui_pipeline.errors import EngineError
from tests.engine.scripted import PROMPT
from tests.faulty import FakeServer
from tests.waiting import TIMEOUT

TOKEN = "token=s3cret%2Fvalue"


@pytest.mark.parametrize(
    ("url", "base", "query"),
    [
        ("http://gpu:1234/?token=abc", "http://gpu:1234", "token=abc"),
        ("http://gpu:1234?token=abc&x=1", "http://gpu:1234", "token=abc&x=1"),
        ("https://gpu/comfy/?token=a/b#tab", "https://gpu/comfy", "token=a/b"),
        ("http://gpu:1234/#workflow", "http://gpu:1234", ""),
        ("http://gpu:1234/", "http://gpu:1234", ""),
    ],
)
def test_a_url_is_split_into_base_and_query(url: str, base: str, query: str) -> None:
    parsed = server_url.parse(url)
    assert (parsed.base, parsed.shown, parsed.query) == (base, base, query)
    assert "token" not in repr(parsed)


@pytest.mark.parametrize(
    ("target", "sent"), [("/queue", "/queue?a=1"), ("/view?x=2", "/view?x=2&a=1")]
)
def test_the_query_is_appended_to_that_of_a_request(target: str, sent: str) -> None:
    assert server_url.parse("http://h/?a=1").with_query(target) == sent
    assert server_url.parse("http://h/").with_query(target) == target


def test_every_request_and_the_websocket_have_the_token(new_engine: Any, fake: FakeServer) -> None:
    fake.script.never_ends = True
    fake.script.files = {"a.png": b"x"}
    engine = new_engine(f"{fake.url}/?{TOKEN}", timeout=TIMEOUT, log=lambda text: None)
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        queued.wait(time.monotonic() + 0.3, lambda progress: None)
    engine.queue_state()
    with engine.files.fetch(Output("9", "images", "a.png")) as stream:
        list(stream.chunks)
    engine.close()
    assert {"/ws", "/prompt", "/queue", "/view"} <= {
        t.partition("?")[0] for t in fake.script.targets
    }
    assert [t for t in fake.script.targets if TOKEN not in t] == []


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502, 302])
def test_no_error_has_the_token(new_engine: Any, fake: FakeServer, status: int) -> None:
    logged: list[str] = []
    engine = new_engine(f"{fake.url}/?{TOKEN}", timeout=TIMEOUT, log=logged.append)
    fake.script.broken = {"/queue": (status, b"")}
    with pytest.raises(EngineError) as error:
        engine.queue_state()
    engine.close()
    assert "s3cret" not in f"{error.value} {logged}"
