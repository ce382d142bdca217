"""A fake ComfyUI for benchmarks: every job finishes at once with configured outputs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CLASSES: Mapping[str, Any] = {
    "LoadImage": {
        "input": {"required": {"image": [["example.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "CheckpointLoaderSimple": {
        "input": {"required": {"ckpt_name": [["model.safetensors"]]}},
        "output": ["MODEL", "CLIP", "VAE"],
    },
    "LoraLoader": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "clip": ["CLIP"],
                "lora_name": [["style.safetensors"]],
                "strength_model": ["FLOAT", {"default": 1.0}],
                "strength_clip": ["FLOAT", {"default": 1.0}],
            }
        },
        "output": ["MODEL", "CLIP"],
    },
    "CLIPTextEncode": {
        "input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}},
        "output": ["CONDITIONING"],
    },
    "SaveImage": {
        "input": {
            "required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "bench"}]}
        },
        "output": [],
        "output_node": True,
    },
    "ShowText": {
        "input": {"required": {"text": ["STRING", {"multiline": True}]}},
        "output": ["STRING"],
        "output_node": True,
    },
    "ShowAny": {"input": {"required": {"value": ["*"]}}, "output": [], "output_node": True},
}


@dataclass
class FakeComfyUI:
    """``outputs``: what the history of every run names; ``files``: file name -> the file that
    ``/view`` sends; ``answers``: path -> a body that is sent in place of the usual one.
    """

    outputs: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    answers: Mapping[str, Iterator[bytes]] = field(default_factory=dict)
    prompts: dict[str, Any] = field(default_factory=dict)

    def entry(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of one run (ComfyUI execution.py, PromptQueue.task_done)."""
        return {
            "prompt": [1, prompt_id, self.prompts[prompt_id], {}, []],
            "outputs": self.outputs,
            "status": {"status_str": "success", "completed": True, "messages": []},
        }


class _Handler(BaseHTTPRequestHandler):
    fake: FakeComfyUI

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, _, name = unquote(parts.path).rpartition("/")
        if parts.path in self.fake.answers:
            return self._stream(self.fake.answers[parts.path])
        if parts.path == "/object_info":
            return self._json(CLASSES)
        if path == "/object_info":
            return self._json({name: CLASSES[name]} if name in CLASSES else {})
        if path == "/history":
            known = name in self.fake.prompts
            return self._json({name: self.fake.entry(name)} if known else {})
        if parts.path == "/queue":
            return self._json({"queue_running": [], "queue_pending": []})
        if parts.path == "/view":
            return self._file(self.fake.files[parse_qs(parts.query)["filename"][0]])
        return self._json({}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/upload/"):
            return self._json({"name": "input.png", "subfolder": "", "type": "input"})
        if self.path != "/prompt":
            return self._json({}, 404)
        posted = json.loads(body)
        self.fake.prompts[posted["prompt_id"]] = posted["prompt"]
        return self._json({"prompt_id": posted["prompt_id"], "number": 1, "node_errors": {}})

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, file: Path) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        with file.open("rb") as content:
            while block := content.read(2**20):
                self.wfile.write(block)

    def _stream(self, blocks: Iterator[bytes]) -> None:
        """A body without a length, until the client has enough of it."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        for block in blocks:
            self.wfile.write(block)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect: some benchmarks kill them."""


@contextmanager
def run_fake_comfyui(fake: FakeComfyUI) -> Iterator[str]:
    """Run it inside the block; yields its URL."""
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
