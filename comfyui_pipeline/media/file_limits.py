"""How large input files may be."""

from __future__ import annotations

MAX_IMAGE_BYTES = 50 * 2**20
"""Largest input image by default; also the largest file inside a call, of any kind."""
MAX_FILE_BYTES = 200 * 2**20
"""Largest input of any other kind by default: video, sound, 3D."""
IMAGE_SETTING = "COMFYUI_MAX_IMAGE_MB"
FILE_SETTING = "COMFYUI_MAX_FILE_MB"
IMAGES = frozenset({"image", "animation", "mask"})
"""Kinds of inputs for which the limit of images counts."""


def setting_of(accepts: str) -> str:
    """The setting with the limit of files for an input that takes this kind."""
    return IMAGE_SETTING if accepts in IMAGES else FILE_SETTING
