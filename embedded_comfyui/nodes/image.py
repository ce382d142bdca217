"""Nodes that compute images from images (ComfyUI nodes.py, comfy_extras/nodes_images.py and more)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from embedded_comfyui.nodes.base import Compute, NodeContext, NodeResult
from embedded_comfyui.nodes.resample import Array, scale

Inputs = Mapping[str, Any]


def _empty(inputs: Inputs, _context: NodeContext) -> NodeResult:
    color = inputs["color"]
    channels = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
    shape = (inputs["batch_size"], inputs["height"], inputs["width"], 3)
    return NodeResult((np.broadcast_to(np.array(channels, np.float32), shape),))


def _scale(inputs: Inputs, _context: NodeContext) -> NodeResult:
    """A width or height of 0 is computed from the other one; if both are 0 the image is unchanged."""
    images, width, height = inputs["image"], inputs["width"], inputs["height"]
    if width == 0 and height == 0:
        return NodeResult((images,))
    old_height, old_width = images.shape[1:3]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return NodeResult((scale(images, width, height, inputs["upscale_method"], inputs["crop"]),))


def _scale_by(inputs: Inputs, _context: NodeContext) -> NodeResult:
    images, factor = inputs["image"], inputs["scale_by"]
    width, height = round(images.shape[2] * factor), round(images.shape[1] * factor)
    return NodeResult((scale(images, width, height, inputs["upscale_method"], "disabled"),))


def _invert(inputs: Inputs, _context: NodeContext) -> NodeResult:
    return NodeResult((1 - inputs["image"],))


def _crop(inputs: Inputs, _context: NodeContext) -> NodeResult:
    images = inputs["image"]
    x, y = min(inputs["x"], images.shape[2] - 1), min(inputs["y"], images.shape[1] - 1)
    return NodeResult((images[:, y : y + inputs["height"], x : x + inputs["width"]],))


def _batch(inputs: Inputs, _context: NodeContext) -> NodeResult:
    first, second = inputs["image1"], inputs["image2"]
    if first.shape[1:] != second.shape[1:]:
        second = scale(second, first.shape[2], first.shape[1], "bilinear", "center")
    return NodeResult((np.concatenate((first, second)),))


def _pad(inputs: Inputs, _context: NodeContext) -> NodeResult:
    """Grey borders, and their mask, which fades into the image (feathering)."""
    images = inputs["image"]
    batch, height, width, channels = images.shape
    left, top = inputs["left"], inputs["top"]
    size = (height + top + inputs["bottom"], width + left + inputs["right"])
    padded = np.full((batch, *size, channels), 0.5, np.float32)
    padded[:, top : top + height, left : left + width] = images
    mask = np.ones((1, *size), np.float32)
    mask[0, top : top + height, left : left + width] = _feathered(height, width, inputs)
    return NodeResult((padded, mask))


def _feathered(height: int, width: int, inputs: Inputs) -> Array:
    """1 at a padded edge down to 0 at ``feathering`` pixels from it, as the square of the share."""
    feathering = inputs["feathering"]
    if not 0 < feathering * 2 < min(height, width):
        return np.zeros((height, width), np.float32)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    vertical = np.minimum(
        rows if inputs["top"] else height, height - rows if inputs["bottom"] else height
    )
    horizontal = np.minimum(
        columns if inputs["left"] else width, width - columns if inputs["right"] else width
    )
    distance = np.minimum(vertical, horizontal)
    share = np.maximum(feathering - distance, 0) / feathering
    return np.broadcast_to((share * share).astype(np.float32), (height, width))


def _blend(inputs: Inputs, _context: NodeContext) -> NodeResult:
    first, second, factor = inputs["image1"], inputs["image2"], inputs["blend_factor"]
    if first.shape != second.shape:
        second = scale(second, first.shape[2], first.shape[1], "bicubic", "center")
    mixed = first * (1 - factor) + _blended(first, second, inputs["blend_mode"]) * factor
    return NodeResult((np.clip(mixed, 0, 1).astype(np.float32),))


def _blended(a: Array, b: Array, mode: str) -> Array:
    """The blend modes of the W3C's compositing draft, on unclamped values."""
    if mode == "normal":
        return b
    if mode == "multiply":
        return a * b
    if mode == "screen":
        return 1 - (1 - a) * (1 - b)
    if mode == "overlay":
        return np.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))
    if mode == "soft_light":
        with np.errstate(invalid="ignore"):
            lighter = np.where(a <= 0.25, ((16 * a - 12) * a + 4) * a, np.sqrt(a))
        dark, light = a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (lighter - a)
        return np.where(b <= 0.5, dark, light)
    if mode == "difference":
        return a - b
    raise ValueError(f"Unsupported blend mode: {mode}")


def _blur(inputs: Inputs, context: NodeContext) -> NodeResult:
    """A Gaussian over mirrored edges. The kernel's own grid runs from -1 to 1, whatever the radius."""
    images, radius, sigma = inputs["image"], inputs["blur_radius"], inputs["sigma"]
    if radius == 0:
        return NodeResult((images,))
    if radius >= min(images.shape[1:3]):
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, but got: "
            f"padding ({radius}, {radius}) of {images.shape[2]}x{images.shape[1]} pixels"
        )
    grid = np.linspace(-1, 1, radius * 2 + 1)
    line = np.exp(-(grid * grid) / (2 * sigma * sigma))
    line = (line / line.sum()).astype(np.float32)
    edges = ((0, 0), (radius, radius), (radius, radius), (0, 0))
    padded = np.pad(images, edges, mode="reflect")
    for axis in (1, 2):
        context.check_interrupted()
        length = images.shape[axis]
        blurred = np.zeros_like(np.take(padded, range(length), axis))
        for offset, weight in enumerate(line):
            blurred += weight * np.take(padded, range(offset, offset + length), axis)
        padded = blurred
    return NodeResult((padded,))


COMPUTE: Mapping[str, Compute] = MappingProxyType(
    {
        "EmptyImage": _empty,
        "ImageScale": _scale,
        "ImageScaleBy": _scale_by,
        "ImageInvert": _invert,
        "ImageCrop": _crop,
        "ImageBatch": _batch,
        "ImagePadForOutpaint": _pad,
        "ImageBlend": _blend,
        "ImageBlur": _blur,
    }
)
