"""Resizing with the same results as torch's ``interpolate`` without align_corners, to float precision.

Every mode but nearest is a weighted sum along each axis, so a resize is two matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]
CUBIC_A = -0.75


def resize(images: Array, width: int, height: int, method: str) -> Array:
    """``[batch, height, width, channel]`` to a new size. Raises ValueError for a size of zero.

    As in torch, ``area`` may shrink a image to nothing; saving that is then the error.
    """
    if method == "lanczos":
        return _lanczos(images, width, height)
    smallest = 0 if method == "area" else 1
    if width < smallest or height < smallest or 0 in images.shape:
        old = f"{images.shape[2]}x{images.shape[1]}"
        raise ValueError(
            f"Input and output sizes should be greater than 0: {old} to {width}x{height}"
        )
    if method == "nearest-exact":
        rows, columns = _nearest(images.shape[1], height), _nearest(images.shape[2], width)
        picked: Array = images[:, rows][:, :, columns]
        return picked
    weights = WEIGHTS[method]
    down, across = weights(images.shape[1], height), weights(images.shape[2], width)
    tall = np.einsum("oh,bhwc->bowc", down, images, optimize=True)
    resized: Array = np.einsum("ow,bhwc->bhoc", across, tall, optimize=True).astype(np.float32)
    return resized


def scale(images: Array, width: int, height: int, method: str, crop: str) -> Array:
    """As ``common_upscale`` (comfy/utils.py): with ``center`` the middle part of the new aspect."""
    if crop == "center":
        images = _middle(images, width / height)
    return resize(images, width, height, method)


def _middle(images: Array, new_aspect: float) -> Array:
    old_height, old_width = images.shape[1:3]
    old_aspect = old_width / old_height
    x = y = 0
    if old_aspect > new_aspect:
        x = round((old_width - old_width * (new_aspect / old_aspect)) / 2)
    elif old_aspect < new_aspect:
        y = round((old_height - old_height * (old_aspect / new_aspect)) / 2)
    return images[:, y : old_height - y, x : old_width - x]


def _centres(old: int, new: int) -> Array:
    """The position of each new pixel's centre among the old ones, in single precision as in torch."""
    step = np.float32(old) / np.float32(new)
    at: Array = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * step
    return at


def _nearest(old: int, new: int) -> npt.NDArray[np.intp]:
    return np.minimum(np.floor(_centres(old, new)).astype(np.intp), old - 1)


def _bilinear(old: int, new: int) -> Array:
    at = np.maximum(_centres(old, new) - np.float32(0.5), np.float32(0))
    low = np.minimum(np.floor(at).astype(np.intp), old - 1)
    share = at - low.astype(np.float32)
    return _sum_of(old, new, [(low, 1 - share), (np.minimum(low + 1, old - 1), share)])


def _bicubic(old: int, new: int) -> Array:
    at = _centres(old, new) - np.float32(0.5)
    low = np.floor(at).astype(np.intp)
    share = at - low.astype(np.float32)
    taps = []
    for offset in (-1, 0, 1, 2):
        distance = np.abs(share - np.float32(offset))
        taps.append((np.clip(low + offset, 0, old - 1), _cubic(distance)))
    return _sum_of(old, new, taps)


def _cubic(x: Array) -> Array:
    """Keys' kernel (1981) with a = -0.75, as in torch."""
    a = CUBIC_A
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    kernel: Array = np.where(x <= 1, near, far).astype(np.float32)
    return kernel


def _area(old: int, new: int) -> Array:
    """Means over the old pixels that each new one overlaps (adaptive average pooling)."""
    weights = np.zeros((new, old), np.float32)
    for index in range(new):
        begin, end = index * old // new, -(-(index + 1) * old // new)
        weights[index, begin:end] = 1 / (end - begin)
    return weights


def _sum_of(old: int, new: int, taps: list[tuple[npt.NDArray[np.intp], Array]]) -> Array:
    weights = np.zeros((new, old), np.float32)
    for index, share in taps:
        np.add.at(weights, (np.arange(new), index), share)
    return weights


def _lanczos(images: Array, width: int, height: int) -> Array:
    """Through 8-bit images and Pillow, as ``lanczos`` in comfy/utils.py."""
    resized = [
        np.asarray(
            Image.fromarray(eight_bit(image)).resize((width, height), Image.Resampling.LANCZOS)
        )
        for image in images
    ]
    floats: Array = np.stack(resized).astype(np.float32) / np.float32(255)
    return floats


def eight_bit(image: Array) -> npt.NDArray[np.uint8]:
    """0..1 to 0..255, truncated rather than rounded, as ComfyUI saves images."""
    cut: npt.NDArray[np.uint8] = np.clip(np.float32(255) * image, 0, 255).astype(np.uint8)
    return cut


WEIGHTS: Mapping[str, Callable[[int, int], Array]] = MappingProxyType(
    {"bilinear": _bilinear, "bicubic": _bicubic, "area": _area}
)
