"""Hints for errors that a node raised: a table of patterns, each with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

FAILURE_HINTS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            r"out ?of ?memory|OutOfMemoryError|Allocation on device|not enough memory|MPS backend",
            "The GPU ran out of memory: lower {sizes}, choose a smaller model, or free the memory of "
            'loaded models with {{"command": "free"}}, then call again.',
        ),
        (
            r"No space left|disk (is )?full|ENOSPC",
            "The disk of the ComfyUI machine is full: free some space there, then call again.",
        ),
        (
            r"No such file|FileNotFound|does not exist|cannot find the (file|path)",
            "A file is missing on the ComfyUI machine: see which one the message names; put a missing "
            "model into ComfyUI's models folder.",
        ),
        (
            r"HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader|invalid load key|UnpicklingError|"
            r"SafetensorError|PytorchStreamReader",
            "A model file is corrupt or incomplete: download it again.",
        ),
        (
            r"mat1 and mat2|size mismatch|Error\(s\) in loading state_dict|shape .{0,80} is invalid|"
            r"must match the size|expected .{0,80} channels",
            "The models are incompatible (checkpoint, LoRA, ControlNet, VAE or text encoder of "
            "different model families), or image sizes differ: choose ones that match.",
        ),
        (
            r"UnidentifiedImage|cannot identify image|truncated|broken data stream",
            "ComfyUI could not decode an image: send it again as PNG or JPEG.",
        ),
        (
            r"Permission ?denied|PermissionError|read-only",
            "ComfyUI has no permission for that file on its machine: check the folder's permissions.",
        ),
        (
            r"CUDA error|cudnn|cublas|device-side assert|illegal memory access|HIP error",
            "The GPU driver failed: restart ComfyUI, then call again.",
        ),
        (
            r"Unauthorized|401|api[_ ]?key|insufficient|credits|Payment Required|402",
            "The partner service requires an account with credits: set COMFYUI_API_KEY, or add "
            "credits to that account.",
        ),
        (
            r"Connection|timed? ?out|Max retries|resolve host|getaddrinfo",
            "The node could not reach a network service from the ComfyUI machine: check its network.",
        ),
    )
)
"""Pattern in the error of a node -> hint for the caller; the first match wins."""

DEFAULT_HINT = "Change the inputs of that node, or check ComfyUI's console."
SIZES = ("width", "height", "batch_size", "length")
MAX_SEARCHED = 20_000
"""Characters of an error message that are searched."""


def hint_for(message: str, prompt: Mapping[str, Mapping[str, object]]) -> str:
    """The hint for a node's error; for lack of memory it names the current sizes in ``prompt``."""
    message = message[:MAX_SEARCHED]
    for pattern, hint in FAILURE_HINTS:
        if pattern.search(message):
            return hint.format(sizes=_sizes(prompt))
    return DEFAULT_HINT


def _sizes(prompt: Mapping[str, Mapping[str, object]]) -> str:
    """``width (now 2048), height (now 2048)``: the largest number under each name."""
    sizes = []
    for name in SIZES:
        numbers = []
        for node in prompt.values():
            inputs = node.get("inputs")
            value = inputs.get(name) if isinstance(inputs, dict) else None
            if isinstance(value, int) and not isinstance(value, bool):
                numbers.append(value)
        if numbers and (max(numbers) > 1 or name in ("width", "height")):
            sizes.append(f"{name} (now {max(numbers)})")
    return ", ".join(sizes) or "the size or the number of images"
