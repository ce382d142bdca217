"""Frames and history entries for the fake server of tests/faulty.py."""

from __future__ import annotations

import time
from typing import Any

from comfyui_pipeline.engine.comfyui import ComfyUI
from comfyui_pipeline.engine.protocol import Job, JobResult
from tests.waiting import TIMEOUT

PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8}, "_meta": {"title": "Canvas"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}
SAVED = {"filename": "a.png", "subfolder": "", "type": "output"}
END = {"type": "executing", "data": {"node": None, "prompt_id": "ID"}}
SUCCESS = {"type": "execution_success", "data": {"prompt_id": "ID"}}
EXECUTED = {
    "type": "executed",
    "data": {"node": "9", "output": {"images": [SAVED]}, "prompt_id": "ID"},
}
ERROR = {
    "node_id": "1",
    "node_type": "EmptyImage",
    "prompt_id": "ID",
    "exception_type": "torch.OutOfMemoryError",
    "exception_message": "no memory left\n",
    "traceback": ["File /a/secret/path"],
    "current_inputs": {"api_key": ["s3cret"]},
}


def history(*messages: str, status: str = "success", outputs: Any = None) -> dict[str, Any]:
    events = [[name, ERROR if name == "execution_error" else {}] for name in messages]
    shown = {"9": {"images": [SAVED]}} if outputs is None else outputs
    return {"ID": {"outputs": shown, "status": {"status_str": status, "messages": events}}}


GOOD = history("execution_start", "execution_success")
NODE = {"type": "executing", "data": {"node": "9", "prompt_id": "ID"}}


def run_job(engine: ComfyUI) -> JobResult:
    with engine.queue(Job(PROMPT, "my-id")) as queued:
        return queued.wait(time.monotonic() + TIMEOUT, lambda progress: None)
