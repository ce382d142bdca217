"""Nodes that save or preview (ComfyUI nodes.py, folder_paths.py, comfy_extras/nodes_preview_any.py)."""

from __future__ import annotations

import json
import os
import random
import re
import string
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from embedded_comfyui.nodes.base import Compute, NodeContext, NodeResult
from embedded_comfyui.nodes.resample import Array, eight_bit

Inputs = Mapping[str, Any]


def _save(inputs: Inputs, context: NodeContext) -> NodeResult:
    folder, prefix = context.folders.output, inputs["filename_prefix"]
    return _write(inputs["images"], folder, prefix, "output", 4, context)


def _preview(inputs: Inputs, context: NodeContext) -> NodeResult:
    letters = "".join(random.choices(string.ascii_lowercase, k=5))
    prefix = f"ComfyUI_temp_{letters}"
    return _write(inputs["images"], context.folders.temp, prefix, "temp", 1, context)


def _write(
    images: Array, folder: Path, prefix: str, kind: str, compression: int, context: NodeContext
) -> NodeResult:
    prefix = os.path.normpath(_filled(prefix, images.shape[2], images.shape[1]))
    subfolder, name = os.path.split(prefix)
    inside = folder / subfolder
    if not inside.resolve().is_relative_to(folder.resolve()):
        raise ValueError("Saving image outside the output folder is not allowed.")
    inside.mkdir(parents=True, exist_ok=True)
    first = _next_number(inside, name)
    saved = []
    for index, frame in enumerate(images):
        context.check_interrupted()
        file = f"{name.replace('%batch_num%', str(index))}_{first + index:05}_.png"
        image = Image.fromarray(eight_bit(frame))
        image.save(inside / file, pnginfo=_text_chunks(context), compress_level=compression)
        saved.append({"filename": file, "subfolder": subfolder, "type": kind})
    return NodeResult(ui={"images": saved})


def _filled(prefix: str, width: int, height: int) -> str:
    """Replace ``%width%``, ``%year%`` and the like (folder_paths.py)."""
    now = time.localtime()
    values = {
        "width": str(width),
        "height": str(height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    return re.sub("%([a-z]+)%", lambda found: values.get(found[1], found[0]), prefix)


def _next_number(folder: Path, name: str) -> int:
    """One more than the highest number of ``name_00001_….png`` in the folder."""
    start = os.path.normcase(f"{name}_")
    numbers = [0]
    for entry in folder.iterdir():
        if os.path.normcase(entry.name).startswith(start):
            digits = entry.name[len(start) :].split("_")[0]
            numbers.append(int(digits) if digits.isdecimal() else 0)
    return max(numbers) + 1


def _text_chunks(context: NodeContext) -> PngInfo:
    chunks = PngInfo()
    chunks.add_text("prompt", json.dumps(context.prompt))
    for key, value in (context.extra_pnginfo or {}).items():
        chunks.add_text(key, json.dumps(value))
    return chunks


def _show(inputs: Inputs, _context: NodeContext) -> NodeResult:
    source = inputs.get("source")
    if isinstance(source, str):
        text = source
    elif source is None or isinstance(source, (bool, int, float)):
        text = str(source)
    else:
        try:
            text = json.dumps(source)
        except (TypeError, ValueError):
            text = str(source)
    return NodeResult(ui={"text": [text]})


COMPUTE: Mapping[str, Compute] = MappingProxyType(
    {"SaveImage": _save, "PreviewImage": _preview, "PreviewAny": _show}
)
