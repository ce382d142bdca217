"""Any bytes as a response to any request give a result or a ToolError."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_pipeline import info
from comfyui_pipeline.engine import http
from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.protocol import Job, Output
from comfyui_pipeline.engine.timeouts import Timeouts
from comfyui_pipeline.errors import ToolError
from comfyui_pipeline.process.stdout import success
from comfyui_pipeline.workflow import graph
from tests.engine.conftest import NEW_ENGINES
from tests.engine.test_faults import END, PROMPT, SUCCESS
from tests.faulty import FakeServer

bounded = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
KEYS = st.sampled_from(
    [
        "queue_running",
        "queue_pending",
        "my-id",
        "status",
        "messages",
        "outputs",
        "prompt",
        "system",
        "devices",
        "SaveImage",
        "input",
        "required",
        "options",
        "output",
        "error",
        "node_errors",
        "errors",
        "extra_info",
        "name",
        "images",
        "filename",
        "9",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(["", "my-id", "COMBO", "INT", "x" * 2000, "execution_error", 10**400])
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
BODIES = st.binary(max_size=60) | DOCUMENTS.map(lambda document: json.dumps(document).encode())
STATUSES = st.sampled_from([200, 200, 200, 200, 204, 206, 302, 400, 404, 416, 500, 502, 999])


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Responses that are valid HTTP, almost valid, or random bytes."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=80) | st.just(b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000))
    body = draw(BODIES)
    length = draw(st.sampled_from([str(len(body))] * 6 + ["", "²", "9" * 5000, "-1", "nan"]))
    extra = draw(
        st.sampled_from(
            [""] * 6
            + [
                "Content-Encoding: gzip\r\n",
                "Content-Encoding: x\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Location: http://[::1\r\n",
                "Content-Range: bytes 0-0/²\r\n",
                ": \r\n",
                "\xff\r\n",
            ]
        )
    )
    head = f"HTTP/1.1 {draw(STATUSES)} x\r\n{extra}Content-Length: {length}\r\n\r\n"
    return head.encode("utf-8") + body


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


def built_graph(engine: ComfyUI) -> Any:
    """Build a graph from the schemas, as the pipeline does."""
    found = engine.schemas({"SaveImage"})
    return repr(graph.build({"1": {"class_type": "SaveImage", "inputs": {}}}, found))[:9]


def fetched(engine: ComfyUI) -> Any:
    with engine.files.fetch(Output("9", "images", "a.png")) as incoming:
        return len(b"".join(incoming.chunks))


def run(engine: ComfyUI) -> Any:
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        return queued.wait(time.monotonic() + 1.0, lambda progress: None).prompt_id


REQUESTS: dict[str, Callable[[ComfyUI], Any]] = {
    "queue": lambda engine: info.ask("queue", engine),
    "system": lambda engine: info.ask("system", engine),
    "loras": lambda engine: info.ask("loras", engine),
    "embeddings": lambda engine: info.ask("embeddings", engine),
    "samplers": lambda engine: info.ask("samplers", engine),
    "state": lambda engine: engine.state("my-id").stage,
    "job": lambda engine: str(engine.job("my-id"))[:9],
    "schemas": built_graph,
    "catalog": lambda engine: len(engine.catalog()),
    "cancel": lambda engine: engine.cancel("my-id"),
    "upload": lambda engine: engine.files.upload(b"x", "a.png", ""),
    "size": lambda engine: engine.files.size(Output("9", "images", "a.png")),
    "read": lambda engine: engine.files.input_size("a.png"),
    "fetch": fetched,
    "run": run,
}


@pytest.mark.parametrize("new_engine", NEW_ENGINES.values(), ids=NEW_ENGINES)
@pytest.mark.parametrize("what", REQUESTS)
@bounded
@given(response=responses(), first=st.integers(0, 2))
def test_any_response_gives_a_result_or_a_tool_error(
    server: FakeServer, new_engine: Any, what: str, response: bytes, first: int
) -> None:
    paths = ["/queue", "/history", "/prompt"][first:] if what in ("state", "job", "run") else ["/"]
    server.script.raw = dict.fromkeys(paths, response)
    server.script.frames = [SUCCESS, END]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "FIRST_WAIT", 0.0001)
        timeouts = Timeouts(
            ask_after=0.05,
            poll_interval=0.05,
            down_timeout_running=0.1,
            down_timeout_queued=0.1,
            stall_timeout=0.3,
        )
        engine = new_engine(server.url, timeout=3, timeouts=timeouts, log=lambda text: None)
        try:
            result = REQUESTS[what](engine)
        except ToolError:  # anything else fails the test
            pass
        else:
            json.dumps(success({"result": result}), allow_nan=False)
        finally:
            engine.close()
