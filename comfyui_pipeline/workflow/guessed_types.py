"""Node types guessed from a prompt alone, for when no server can be asked.

The names of linked inputs tell the types that flow: what feeds ``vae`` is a VAE. Good enough to say
what a workflow is for; never used to change or check one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui_pipeline.workflow.graph import is_link

TYPES = {
    "model": "MODEL",
    "clip": "CLIP",
    "vae": "VAE",
    "positive": "CONDITIONING",
    "negative": "CONDITIONING",
    "conditioning": "CONDITIONING",
    "latent_image": "LATENT",
    "latent": "LATENT",
    "samples": "LATENT",
    "images": "IMAGE",
    "image": "IMAGE",
    "pixels": "IMAGE",
    "start_image": "IMAGE",
    "end_image": "IMAGE",
    "source": "IMAGE",
    "destination": "IMAGE",
    "mask": "MASK",
    "audio": "AUDIO",
    "video": "VIDEO",
    "control_net": "CONTROL_NET",
    "upscale_model": "UPSCALE_MODEL",
    "guider": "GUIDER",
    "sampler": "SAMPLER",
    "sigmas": "SIGMAS",
    "noise": "NOISE",
}
"""Name of a linked input, without a number at its end -> the type that it takes."""
UPLOADS = {
    "image_upload": (".png", ".jpg", ".jpeg", ".webp", ".bmp"),
    "video_upload": (".mp4", ".webm", ".mov", ".mkv"),
    "audio_upload": (".wav", ".mp3", ".flac", ".ogg", ".m4a"),
}
"""Upload flag of an input -> the endings of the files that its present value may have."""
LONG = ("text", "prompt", "caption")


def guess(prompt: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Schemas in the server's form, one for each node type of the prompt."""
    outputs = _outputs(prompt)
    classes: dict[str, dict[str, Any]] = {}
    for node_id, node in prompt.items():
        given = classes.setdefault(
            node["class_type"],
            {"input": {"required": {}, "optional": {}}, "output": [], "output_node": True},
        )
        if node_id in outputs:
            given["output_node"] = False
        slots = outputs.get(node_id, {})
        kinds = given["output"]
        kinds += ["*"] * (max(slots, default=-1) + 1 - len(kinds))
        for slot, kind in slots.items():
            kinds[slot] = kind
        for name, value in node["inputs"].items():
            given["input"]["optional"][name] = _input(name, value)
    return classes


def _outputs(prompt: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if is_link(value) and 0 <= value[1] < 100:
                kind = _type(name)
                slots = found.setdefault(str(value[0]), {})
                slots[value[1]] = kind if kind != "*" else slots.get(value[1], "*")
    return found


def _type(name: str) -> str:
    return TYPES.get(name.rpartition(".")[2].rstrip("0123456789").rstrip("_"), "*")


def _input(name: str, value: Any) -> list[Any]:
    if is_link(value):
        return [_type(name), {}]
    if isinstance(value, bool):
        return ["BOOLEAN", {}]
    if isinstance(value, (int, float)):
        return ["INT" if isinstance(value, int) else "FLOAT", {}]
    for flag, endings in UPLOADS.items():
        if str(value).lower().endswith(endings) and not name.startswith("filename"):
            return [[value], {flag: True}]
    if name.endswith("_name"):
        return [[value], {}]
    return ["STRING", {"multiline": name.rstrip("0123456789_") in LONG}]
