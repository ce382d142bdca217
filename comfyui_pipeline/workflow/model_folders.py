"""The server's model folders, and the inputs that choose from them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MODEL_FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "ckpt_name": "checkpoints",
        "lora_name": "loras",
        "vae_name": "vae",
        "control_net_name": "controlnet",
        "unet_name": "diffusion_models",
        "clip_name": "text_encoders",
        "clip_name1": "text_encoders",
        "clip_name2": "text_encoders",
        "clip_name3": "text_encoders",
        "style_model_name": "style_models",
        "gligen_name": "gligen",
        "hypernetwork_name": "hypernetworks",
    }
)
"""Name of an input -> the server's model folder from which it chooses."""
