"""File names that a caller chooses for results: always inside the output folder."""

from __future__ import annotations

import re

from comfyui_pipeline.errors import CallError
from comfyui_pipeline.media.file_names import safe_name, safe_subfolder
from input_server.light_dataclasses import dataclass

KNOWN_EXTENSIONS = (
    "png jpg jpeg jfif webp avif bmp tif tiff gif apng heic exr mp4 webm mov mkv avi m4v mp3 wav "
    "flac ogg opus m4a aac glb gltf obj stl ply txt json svg latent safetensors"
)
EXTENSIONS = frozenset(KNOWN_EXTENSIONS.split())
"""Extensions that are no part of a name: the output node adds its own."""
OUTSIDE = re.compile(r"\s*(?:[/\\~]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://)")
OWN_FOLDER = frozenset({"", ".", "output", "outputs"})
"""First parts of a path that mean the output folder itself."""
MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class SavedName:
    """What a call says about the files of its results; "" where it says nothing."""

    folder: str = ""
    name: str = ""
    extension: str = ""


def read_saved_name(name: str, folder: str, keys: tuple[str, str]) -> SavedName:
    """``name``: a file name or prefix, perhaps with folders; ``keys``: how the caller named the two.

    Raises CallError for a path that leads out of the output folder.
    """
    _check_inside(name, keys[0])
    _check_inside(folder, keys[1])
    parent, _, last = name.replace("\\", "/").strip().rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not (dot and stem and extension.lower() in EXTENSIONS):
        stem, extension = last, ""
    path = f"{_relative(folder)}/{_relative(parent)}".strip("/")
    return SavedName(
        folder=safe_subfolder(path),
        name=safe_name(stem) if stem.strip(" .") else "",
        extension=extension.lower(),
    )


def _relative(path: str) -> str:
    parts = path.replace("\\", "/").strip().split("/")
    while parts and parts[0].strip().lower() in OWN_FOLDER:
        parts = parts[1:]
    return "/".join(parts)


def _check_inside(path: str, key: str) -> None:
    parts = [part.strip() for part in path.replace("\\", "/").split("/")]
    if not OUTSIDE.match(path) and ".." not in parts:
        return
    raise CallError(
        f'"{key}" is {path[:MAX_SHOWN]!r}; results are stored in the output folder only.',
        'Give a name, or a path inside that folder, such as "hero" or "project/hero".',
    )
