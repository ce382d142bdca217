"""A ComfyUI stand-in that records what it receives; jobs finish at once unless told to wait."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

DATA = Path(__file__).resolve().parents[1] / "data"
RESULT = (DATA / "pixels" / "px_dev_a.png").read_bytes()
"""The image that every SaveImage node produces."""
WAITING = "waiting"
"""A job whose SaveImage has this file name prefix stays in the queue until it is cancelled."""
MODELS: Mapping[str, list[str]] = {
    "checkpoints": ["SD1.5/dreamshaper_8.safetensors", "v1-5-pruned-emaonly-fp16.safetensors"],
    "loras": ["styles/ink.safetensors", "detail.safetensors"],
    "vae": ["vae-ft-mse.safetensors"],
    "controlnet": ["control_v11p_sd15_canny_fp16.safetensors"],
    "upscale_models": ["RealESRGAN_x4plus.pth"],
}


def classes() -> dict[str, Any]:
    """Recorded ``/object_info``, with models installed and a loader for LoRAs."""
    found: dict[str, Any] = json.loads((DATA / "schemas.json").read_text("utf-8"))
    installed = {
        ("CheckpointLoaderSimple", "ckpt_name"): MODELS["checkpoints"],
        ("ControlNetLoader", "control_net_name"): MODELS["controlnet"],
        ("UpscaleModelLoader", "model_name"): MODELS["upscale_models"],
    }
    for (name, widget), files in installed.items():
        found[name]["input"]["required"][widget] = [files, {}]
    inputs = {
        "model": ["MODEL"],
        "clip": ["CLIP"],
        "lora_name": [MODELS["loras"], {}],
        "strength_model": ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}],
        "strength_clip": ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}],
    }
    found["LoraLoader"] = {"input": {"required": inputs}, "output": ["MODEL", "CLIP"]}
    inputs = {"vae_name": [MODELS["vae"], {}]}
    found["VAELoader"] = {"input": {"required": inputs}, "output": ["VAE"]}
    return found


class Recorder:
    """``bodies`` are those of POST /prompt, ``requests`` all paths with their Authorization."""

    def __init__(self) -> None:
        self.classes = classes()
        self.prompts: dict[str, dict[str, Any]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.cancelled: list[str] = []

    def pending(self) -> list[list[Any]]:
        return [
            [number, prompt_id, prompt, {}, []]
            for number, (prompt_id, prompt) in enumerate(self.prompts.items())
            if self._waits(prompt_id)
        ]

    def history(self, prompt_id: str) -> dict[str, Any]:
        if prompt_id not in self.prompts or self._waits(prompt_id):
            return {}
        savers = [
            n for n, node in self.prompts[prompt_id].items() if node["class_type"] == "SaveImage"
        ]
        image = {"filename": "result_00001_.png", "subfolder": "", "type": "output"}
        entry = {
            "prompt": [1, prompt_id, self.prompts[prompt_id], {}, savers],
            "outputs": {node: {"images": [image]} for node in savers},
            "status": {"status_str": "success", "completed": True, "messages": []},
        }
        return {prompt_id: entry}

    def _waits(self, prompt_id: str) -> bool:
        return prompt_id not in self.cancelled and any(
            node["inputs"].get("filename_prefix") == WAITING
            for node in self.prompts[prompt_id].values()
        )


class _Handler(BaseHTTPRequestHandler):
    recorder: Recorder
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        recorder, path = self.recorder, unquote(urlsplit(self.path).path)
        recorder.requests.append((path, self.headers["Authorization"]))
        folder, _, name = path.rpartition("/")
        if path == "/view":
            return self._send(RESULT)
        fixed = {
            "/object_info": recorder.classes,
            "/queue": {"queue_running": [], "queue_pending": recorder.pending()},
            "/embeddings": ["easynegative"],
            "/system_stats": {
                "system": {"os": "posix", "comfyui_version": "0.3.64", "python_version": "3.12"},
                "devices": [{"name": "cuda:0", "vram_total": 2**33, "vram_free": 2**32}],
            },
        }
        if path in fixed:
            return self._send(fixed[path])
        if folder == "/object_info":
            return self._send({n: c for n, c in recorder.classes.items() if n == name})
        if folder == "/history":
            return self._send(recorder.history(name))
        if folder == "/models" and name in MODELS:
            return self._send(MODELS[name])
        return self._send({}, 404)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.recorder.requests.append((self.path, self.headers["Authorization"]))
        if self.path.startswith("/upload/"):
            name = raw.partition(b'filename="')[2].partition(b'"')[0].decode()
            folder = raw.partition(b'name="subfolder"\r\n\r\n')[2].partition(b"\r\n")[0].decode()
            return self._send({"name": name, "subfolder": folder, "type": "input"})
        body = json.loads(raw or b"{}")
        if self.path == "/prompt":
            self.recorder.bodies.append(body)
            self.recorder.prompts[body["prompt_id"]] = body["prompt"]
            answer = {"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}}
            return self._send(answer)
        if self.path in ("/queue", "/interrupt"):
            self.recorder.cancelled += [*body.get("delete", []), body.get("prompt_id", "")]
            return self._send({})
        return self._send({}, 404)

    def _send(self, value: Any, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A plugin that has ended leaves its connections without a word."""


@contextmanager
def recording_comfyui() -> Iterator[tuple[str, Recorder]]:
    """Run one; yields its URL and what it records."""
    recorder = Recorder()
    handler = type("Handler", (_Handler,), {"recorder": recorder})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", recorder
    finally:
        server.shutdown()
        server.server_close()
