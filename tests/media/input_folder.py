"""A fake of a server's input folder, and images to put into it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from comfyui_pipeline.media import upload
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.sources import parse_source


def png(size: tuple[int, int] = (9, 7), color: tuple[int, ...] = (1, 2, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def save_image(image: Image.Image, form: str, **options: Any) -> bytes:
    """The image in a format of Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def open_image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


class Server:
    """In memory, or on disk."""

    def __init__(self, folder: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.folder = folder
        self.uploads = 0

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        self.uploads += 1
        self.files[f"{subfolder}/{name}"] = content
        return f"{subfolder}/{name}"

    def upload_mask(self, layer: bytes, name: str, subfolder: str, original: str) -> str:
        self.files[f"{subfolder}/{name}"] = layer
        return f"{subfolder}/{name}"

    def input_size(self, value: str) -> int | None:
        content = self.read_input(value)
        return None if content is None else len(content)

    def read_input(self, value: str) -> bytes | None:
        if self.folder is not None and (self.folder / value).is_file():
            return (self.folder / value).read_bytes()
        return self.files.get(value)


def place(
    value: str,
    server: Any,
    folders: AllowedFolders,
    policy: DownloadPolicy,
    **options: Any,
) -> upload.PlacedFile:
    """Place what a caller's string names."""
    return upload.place(parse_source(value, folders), server, policy, **options)


def place_masked(
    mask: str, image: str, server: Any, folders: AllowedFolders, policy: DownloadPolicy
) -> upload.PlacedFile:
    """Place a copy of an image with a mask that a caller's string names."""
    return upload.place_masked(parse_source(mask, folders), image, server, policy)
