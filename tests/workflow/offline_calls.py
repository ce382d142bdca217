"""Process calls up to the queue without a server, and a prompt and a document of all kinds of nodes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from comfyui_pipeline import call as tool_call
from comfyui_pipeline import describe_command, prepare, settings
from comfyui_pipeline.call_context import CallContext
from comfyui_pipeline.call_record import CallRecord
from comfyui_pipeline.errors import ToolError

PROJECT = Path(__file__).resolve().parents[2]
DATA = PROJECT / "tests" / "data" / "conversion"


@cache
def schemas() -> Mapping[str, Any]:
    read = json.loads((DATA / "classes-0.8.0.json").read_text("utf-8"))
    files = {
        "ckpt_name": ["a.safetensors", "b/c.ckpt"],
        "lora_name": ["l", "styles/ink.safetensors"],
        "image": ["photo.png"],
    }
    for schema in read.values():
        required = schema["input"].get("required") or {}
        for name, choices in files.items():
            if name in required and isinstance(required[name][0], list):
                required[name] = [choices, *required[name][1:]]
    return read


class StubServer:
    """A server that has the schemas and accepts every upload."""

    files: Any

    def __init__(self) -> None:
        self.files = self

    def schemas(self, names: Any) -> dict[str, Any]:
        return {name: schemas()[name] for name in names if name in schemas()}

    def replacements(self) -> dict[str, Any]:
        return {}

    def catalog(self) -> Mapping[str, Any]:
        return schemas()

    def metadata(self, folder: str, name: str) -> dict[str, str]:
        return {"modelspec.trigger_phrase": "ink style"} if "ink" in name else {}

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        return f"{subfolder}/{name}"

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        return f"{subfolder}/{name}"

    def input_size(self, value: str) -> int | None:
        return 1

    def read_input(self, value: str) -> bytes | None:
        return None


def settings_in(folder: Path) -> settings.Settings:
    """Settings of an installation in ``folder`` without a file server."""
    for name in ("workflows", "attachments"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {
        "COMFYUI_BASE_URL": "http://127.0.0.1:9",
        "COMFYUI_ATTACHMENTS_DIR": str(folder / "attachments"),
        "COMFYUI_ALLOWED_DIRS": str(folder),
    }
    return settings.load(folder, environment)


def context_of(call: tool_call.ToolCall, chosen: settings.Settings) -> CallContext:
    now = time.monotonic()
    return CallContext(call, chosen, StubServer(), CallRecord(), now, now + 60)  # type: ignore[arg-type]


def prepare_call(call: Mapping[str, Any], chosen: settings.Settings) -> Any:
    """Return the prepared job of a call. Raises ToolError."""
    read = tool_call.parse(json.dumps(call).encode())
    return prepare.prepare(context_of(read, chosen))


def error_of(call: Mapping[str, Any], chosen: settings.Settings) -> str:
    """Process a call up to queueing or describing; return its error, "" if there is none."""
    try:
        read = tool_call.parse(json.dumps(call).encode())
        for part in read.parts or (read,):
            if part.command == "describe":
                describe_command.describe(
                    part, chosen, StubServer(), time.monotonic(), CallRecord()
                )  # type: ignore[arg-type]
            elif part.command == "run":
                prepare.prepare(context_of(part, chosen))
    except ToolError as error:
        return str(error) or "an error without text"
    return ""


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


PROMPT: dict[str, Any] = {
    "1": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
    "9": node(
        "LoraLoader",
        model=["1", 0],
        clip=["1", 1],
        lora_name="l",
        strength_model=1.0,
        strength_clip=1.0,
    ),
    "2": node("CLIPTextEncode", "Positive Prompt", text="{{PROMPT}} fox", clip=["9", 1]),
    "3": node("CLIPTextEncode", "Negative Prompt", text="bad", clip=["9", 1]),
    "4": node("LoadImage", image="photo.png"),
    "10": node("LoadImageMask", "$~mask", image="photo.png", channel="red"),
    "8": node("VAEEncodeForInpaint", pixels=["4", 0], vae=["1", 2], mask=["10", 0], grow_mask_by=6),
    "11": node("EmptyLatentImage", "$size.width", width=64, height=64, batch_size=1),
    "5": node(
        "KSampler",
        model=["9", 0],
        positive=["2", 0],
        negative=["3", 0],
        latent_image=["8", 0],
        seed=1,
        steps=2,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
    "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
}


def editor_document() -> dict[str, Any]:
    """A small editor document with every kind of text."""
    image = {"name": "IMAGE", "type": "IMAGE"}
    inner = {
        "id": "inner",
        "name": "Inner",
        "inputs": [{"name": "image", "type": "IMAGE", "linkIds": [1]}],
        "outputs": [{**image, "linkIds": [2]}],
        "nodes": [
            {
                "id": 20,
                "type": "ImageBlur",
                "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
                "outputs": [image],
                "widgets_values": [1, 1.0],
            }
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 20, "target_slot": 0},
            {"id": 2, "origin_id": 20, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
    }
    return {
        "last_node_id": 30,
        "nodes": [
            {
                "id": 1,
                "type": "EmptyImage",
                "properties": {"Node name for S&R": "E"},
                "outputs": [image],
                "widgets_values": [64, 32, 1, 255],
            },
            {
                "id": 2,
                "type": "Reroute",
                "inputs": [{"name": "", "type": "*", "link": 1}],
                "outputs": [{"name": "", "type": "*"}],
            },
            {
                "id": 3,
                "type": "inner",
                "inputs": [{"name": "image", "type": "IMAGE", "link": 2}],
                "outputs": [image],
                "properties": {"proxyWidgets": [["20", "sigma"]]},
                "widgets_values": [3],
            },
            {
                "id": 4,
                "type": "SaveImage",
                "inputs": [{"name": "images", "type": "IMAGE", "link": 3}],
                "widgets_values": ["ui"],
            },
            {"id": 5, "type": "CLIPTextEncode", "widgets_values": ["{a|b}"]},
            {"id": 6, "type": "Note", "widgets_values": ["note"]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 4, 0, "IMAGE"]],
        "groups": [{"title": "Group", "bounding": [0, 0, 1, 1]}],
        "definitions": {"subgraphs": [inner]},
        "extra": {},
    }
