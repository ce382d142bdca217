"""Hints for the errors of nodes."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.engine import job_end, responses
from comfyui_pipeline.errors import JobFailed

PROMPT: dict[str, Any] = {
    "4": {"class_type": "Latent", "inputs": {"width": 2048, "height": 1536, "batch_size": 4}},
    "5": {"class_type": "Sampler", "inputs": {"width": ["4", 0], "steps": 30}},
}


def failed(kind: str, message: str) -> str:
    error = {"node_id": "5", "node_type": "Sampler", "exception_type": kind}
    entry = {
        "status": {
            "status_str": "error",
            "messages": [["execution_error", {**error, "exception_message": message}]],
        }
    }
    with pytest.raises(JobFailed) as caught:
        job_end.check_end(PROMPT, responses.history({"i": entry}, "i") or responses.HistoryEntry())
    assert "node 5 (Sampler) failed" in str(caught.value)
    return caught.value.hint


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        (
            "torch.OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 9 GiB",
            "lower width (now 2048), height (now 1536), batch_size (now 4)",
        ),
        ("torch.cuda.OutOfMemoryError", "Allocation on device", "GPU ran out of memory"),
        ("OSError", "[Errno 28] No space left on device", "disk of the ComfyUI machine is full"),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'x'", "A file is missing"),
        (
            "SafetensorError",
            "Error while deserializing header: HeaderTooLarge",
            "download it again",
        ),
        (
            "RuntimeError",
            "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)",
            "models are incompatible",
        ),
        (
            "RuntimeError",
            "Error(s) in loading state_dict for ControlNet: size mismatch",
            "models are incompatible",
        ),
        ("PIL.UnidentifiedImageError", "cannot identify image file", "send it again"),
        ("PermissionError", "[Errno 13] Permission denied: '/out'", "folder's permissions"),
        ("RuntimeError", "CUDA error: device-side assert triggered", "restart ComfyUI"),
        ("Exception", "Unauthorized: Please login first to use this node.", "COMFYUI_API_KEY"),
        ("aiohttp.ClientError", "Connection reset by peer", "network"),
        ("ValueError", "something else", "Change the inputs of that node"),
    ],
)
def test_the_error_of_a_node_has_a_hint(kind: str, message: str, hint: str) -> None:
    assert hint in failed(kind, message)
