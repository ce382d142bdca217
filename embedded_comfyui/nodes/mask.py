"""Mask nodes (ComfyUI comfy_extras/nodes_mask.py)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from embedded_comfyui.nodes.base import Compute, NodeContext, NodeResult
from embedded_comfyui.nodes.resample import Array, resize

Inputs = Mapping[str, Any]
CHANNELS = ("red", "green", "blue", "alpha")


def _solid(inputs: Inputs, _context: NodeContext) -> NodeResult:
    shape = (1, inputs["height"], inputs["width"])
    return NodeResult((np.full(shape, inputs["value"], np.float32),))


def _invert(inputs: Inputs, _context: NodeContext) -> NodeResult:
    return NodeResult((1 - inputs["mask"],))


def _to_image(inputs: Inputs, _context: NodeContext) -> NodeResult:
    mask = inputs["mask"]
    flat = mask.reshape(-1, *mask.shape[-2:], 1)
    return NodeResult((np.broadcast_to(flat, (*flat.shape[:3], 3)),))


def _from_image(inputs: Inputs, _context: NodeContext) -> NodeResult:
    return NodeResult((inputs["image"][..., CHANNELS.index(inputs["channel"])],))


def _composite(inputs: Inputs, _context: NodeContext) -> NodeResult:
    """Draw ``source`` over ``destination`` at x, y, clipped to it and weighted by the mask."""
    below = np.array(inputs["destination"])
    batch, height, width, _ = below.shape
    source = inputs["source"]
    if inputs["resize_source"]:
        source = resize(source, width, height, "bilinear")
    source = _repeated(source, batch)
    rows, columns = source.shape[1:3]
    left = max(-columns, min(inputs["x"], width))
    top = max(-rows, min(inputs["y"], height))
    cover = _cover(inputs.get("mask"), source)
    visible = (slice(0, height - top + min(0, top)), slice(0, width - left + min(0, left)))
    cover = cover[:, visible[0], visible[1]]
    over = source[:, visible[0], visible[1]]
    place = (slice(None), slice(top, top + rows), slice(left, left + columns))
    below[place] = cover * over + (1 - cover) * below[place]
    return NodeResult((below,))


def _cover(mask: Array | None, source: Array) -> Array:
    """The opacity of each source pixel: ``[batch, height, width, 1]``."""
    if mask is None:
        return np.ones((*source.shape[:3], 1), np.float32)
    flat = mask.reshape(-1, *mask.shape[-2:], 1)
    return _repeated(resize(flat, source.shape[2], source.shape[1], "bilinear"), source.shape[0])


def _repeated(images: Array, batch: int) -> Array:
    """``batch`` images: repeated from the first one on, or truncated."""
    times = -(-batch // len(images))
    return np.tile(images, (times, 1, 1, 1))[:batch]


COMPUTE: Mapping[str, Compute] = MappingProxyType(
    {
        "SolidMask": _solid,
        "InvertMask": _invert,
        "MaskToImage": _to_image,
        "ImageToMask": _from_image,
        "ImageCompositeMasked": _composite,
    }
)
