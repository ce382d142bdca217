"""Nodes that read an image from the server's folders (ComfyUI nodes.py)."""

from __future__ import annotations

import copy
import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from embedded_comfyui.nodes.base import Folders, NodeContext, NodeResult
from embedded_comfyui.nodes.resample import Array

Reader = Callable[[Path, Mapping[str, Any]], NodeResult]


@dataclass(frozen=True, slots=True)
class FromFile:
    """A node whose input ``image`` names a file."""

    schema: Mapping[str, Any]
    read: Reader

    def object_info(self, folders: Folders) -> dict[str, Any]:
        """With the names of the files in the input folder (not its subfolders) as choices."""
        files = sorted(path.name for path in folders.input.iterdir() if path.is_file())
        if self.read is _load_image:
            files = [n for n in files if (mimetypes.guess_type(n)[0] or "").startswith("image/")]
        entry = copy.deepcopy(dict(self.schema))
        entry["input"]["required"]["image"][0] = files
        return entry

    def validate(self, inputs: Mapping[str, Any], folders: Folders) -> str | None:
        if "image" not in inputs:
            return None
        name = inputs["image"]
        try:
            found = isinstance(name, str) and folders.annotated(name).is_file()
        except (ValueError, OSError):
            found = False
        return None if found else f"Invalid image file: {name}"

    def fingerprint(self, inputs: Mapping[str, Any], folders: Folders) -> str | None:
        try:
            return hashlib.sha256(folders.annotated(inputs["image"]).read_bytes()).hexdigest()
        except (OSError, ValueError, KeyError):
            return None

    def run(self, inputs: Mapping[str, Any], context: NodeContext) -> NodeResult:
        return self.read(context.folders.annotated(inputs["image"]), inputs)


def _load_image(path: Path, _inputs: Mapping[str, Any]) -> NodeResult:
    """The frames of equal size as RGB, and 1 - alpha as masks (64x64 zeros without alpha)."""
    images: list[Array] = []
    masks: list[Array] = []
    with Image.open(path) as file:
        one = file.format == "MPO"
        for page in ImageSequence.Iterator(file):
            frame = _upright(page)
            color = np.asarray(frame.convert("RGB"), np.float32) / np.float32(255)
            if images and color.shape != images[0].shape:
                continue
            images.append(color)
            masks.append(_mask(frame))
    if one:
        images, masks = images[:1], masks[:1]
    return NodeResult((np.stack(images), np.stack(masks)))


def _upright(page: Image.Image) -> Image.Image:
    frame = ImageOps.exif_transpose(page)
    return frame.point(lambda value: value * (1 / 255)) if frame.mode == "I" else frame


def _mask(frame: Image.Image) -> Array:
    if "A" in frame.getbands():
        alpha = frame.getchannel("A")
    elif frame.mode == "P" and "transparency" in frame.info:
        alpha = frame.convert("RGBA").getchannel("A")
    else:
        return np.zeros((64, 64), np.float32)
    covered: Array = np.float32(1) - np.asarray(alpha, np.float32) / np.float32(255)
    return covered


def _channel(path: Path, inputs: Mapping[str, Any]) -> NodeResult:
    """One channel of an image as a mask; alpha is inverted."""
    with Image.open(path) as file:
        frame = ImageOps.exif_transpose(file)
        if frame.mode != "RGBA":
            frame = _upright(frame).convert("RGBA")
        letter = inputs["channel"][0].upper()
        values = np.asarray(frame.getchannel(letter), np.float32) / np.float32(255)
    return NodeResult(((1 - values if letter == "A" else values)[None],))


READERS: Mapping[str, Reader] = MappingProxyType(
    {"LoadImage": _load_image, "LoadImageMask": _channel}
)
