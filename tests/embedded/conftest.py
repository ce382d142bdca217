"""An embedded server with nodes that block or fail, and a WebSocket client."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from PIL import Image

from embedded_comfyui import serve_in_thread
from embedded_comfyui.nodes.base import NodeContext, NodeResult, Plain
from tests.waiting import TIMEOUT, wait_until

DATA = Path(__file__).resolve().parents[1] / "data"


def schema(inputs: Mapping[str, Any], output: list[str], *, saves: bool = False) -> dict[str, Any]:
    return {
        "input": {"required": dict(inputs)},
        "output": output,
        "output_name": output,
        "output_node": saves,
    }


@dataclass
class Client:
    """A client with one socket."""

    url: str
    sid: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        url = self.url.replace("http", "ws") + f"/ws?clientId={self.sid}"
        self.socket = websocket.create_connection(url, timeout=TIMEOUT)

    def post(self, prompt: Mapping[str, Any], **more: Any) -> requests.Response:
        body = {"prompt": prompt, "client_id": self.sid, **more}
        return requests.post(self.url + "/prompt", json=body, timeout=TIMEOUT)

    def next(self) -> dict[str, Any]:
        return json.loads(self.socket.recv())

    def until_end(self, prompt_id: str) -> list[dict[str, Any]]:
        """Return the frames of a job up to its last one."""
        frames = []
        while True:
            frame = self.next()
            if frame["data"].get("prompt_id") != prompt_id:
                continue
            frames.append(frame)
            if frame["type"] == "executing" and frame["data"]["node"] is None:
                return frames

    def run(self, prompt: Mapping[str, Any], **more: Any) -> list[dict[str, Any]]:
        answer = self.post(prompt, **more)
        assert answer.status_code == 200, answer.text
        return self.until_end(answer.json()["prompt_id"])


@dataclass
class Gate:
    """A node that sets ``begun`` and waits for ``open`` or an interruption."""

    begun: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    def run(self, inputs: Mapping[str, Any], context: NodeContext) -> NodeResult:
        self.begun.set()
        while not self.open.wait(0.01):
            context.check_interrupted()
        return NodeResult((inputs["image"],))


def _raise(_inputs: Mapping[str, Any], _context: NodeContext) -> NodeResult:
    raise ValueError("this node always fails")


@dataclass
class Served:
    url: str
    base: Path
    gate: Gate
    client: Callable[[], Client]

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=TIMEOUT).json()

    def post(self, path: str, body: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=TIMEOUT)

    def history(self, prompt_id: str) -> Any:
        entry = wait_until(lambda: self.get(f"/history/{prompt_id}"), f"no history of {prompt_id}")
        return entry[prompt_id]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    gate = Gate()
    extra = {
        "Gate": Plain(schema({"image": ["IMAGE"]}, ["IMAGE"]), gate.run),
        "Fails": Plain(schema({"image": ["IMAGE"]}, ["IMAGE"]), _raise),
    }
    clients: list[Client] = []
    with serve_in_thread(tmp_path / "base", extra_nodes=extra) as server:

        def client() -> Client:
            clients.append(Client(server.url))
            return clients[-1]

        source = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
        source.save(server.base / "input" / "src.png")
        (server.base / "input" / "broken.png").write_bytes(b"not an image")
        yield Served(server.url, server.base, gate, client)
        gate.open.set()
        for one in clients:
            one.socket.shutdown()
