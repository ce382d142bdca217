"""From a failing node's own words to what its reader can do."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_pipeline.engine import history, responses
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
    with pytest.raises(JobFailed) as told:
        history.check_end(PROMPT, responses.history({"i": entry}, "i") or responses.HistoryEntry())
    assert "node 5 (Sampler) failed" in str(told.value)
    return told.value.hint


@pytest.mark.parametrize(
    ("kind", "message", "advice"),
    [
        (
            "torch.OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 9 GiB",
            "lower width (now 2048), height (now 1536), batch_size (now 4)",
        ),
        ("torch.cuda.OutOfMemoryError", "Allocation on device", "memory did not suffice"),
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
            "belong",
        ),
        ("RuntimeError", "Error(s) in loading state_dict for ControlNet: size mismatch", "belong"),
        ("PIL.UnidentifiedImageError", "cannot identify image file", "give it again"),
        ("PermissionError", "[Errno 13] Permission denied: '/out'", "folder's rights"),
        ("RuntimeError", "CUDA error: device-side assert triggered", "restart ComfyUI"),
        ("Exception", "Unauthorized: Please login first to use this node.", "COMFYUI_API_KEY"),
        ("aiohttp.ClientError", "Connection reset by peer", "network"),
        ("ValueError", "something else", "Change that node's inputs"),
    ],
)
def test_a_failure_is_told_with_what_to_do(kind: str, message: str, advice: str) -> None:
    assert advice in failed(kind, message)
