"""Masks in the one form that loader nodes read right whichever channel they take.

What a loader repaints is white in red, green and blue, and transparent in alpha, which ComfyUI
inverts (nodes.py, ``LoadImage`` and ``LoadImageMask``). So both are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from input_server.images import decode_cost
from input_server.light_dataclasses import replace

from ..errors import MediaError
from . import image_decode
from .file_limits import MAX_IMAGE_BYTES
from .file_types import Kind
from .image_convert import PreparedImage, kind_of_png, prepare_image, save_png
from .image_memory import ImageMemory

if TYPE_CHECKING:
    from PIL.Image import Image

FAINT = 8
"""A mask whose highest level of 255 is not above this repaints nothing; JPEG has such noise."""
_NEAR = 16
"""Levels from black or white that still count as black or white."""
_BYTES_PER_PIXEL = 8
"""Memory of the copies made here."""


class EmptyMask(MediaError):
    """Nothing would be repainted."""


def as_mask(
    content: bytes,
    shown: str,
    *,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    holes: bool = False,
    memory: ImageMemory | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> PreparedImage:
    """Return a mask as a PNG for every channel; what is white or opaque in ``content`` is repainted.

    ``size``: pixels to which it is stretched, as ``/upload/mask`` accepts no other (ComfyUI
    server.py). ``holes``: transparent parts are repainted instead of opaque ones, as in images that
    were made for ComfyUI. ``content`` stays as it is if it has that form already. Raises EmptyMask,
    and what ``prepare_image`` raises.
    """
    memory = memory or ImageMemory()
    image = prepare_image(content, shown, max_side=max_side, memory=memory, max_bytes=max_bytes)
    own_size = (image.kind.width or 1, image.kind.height or 1)
    target = size or own_size
    image_decode.refuse_above(memory, decode_cost.needed_bytes(*target), target, shown)
    with _first_frame(image.content, image.kind, shown, memory) as frame:
        area, parts = _repainted(frame, holes=holes)
        if not any(area.histogram()[FAINT + 1 :]):
            raise EmptyMask(
                f"The mask {shown} is empty: none of its {parts} can be seen, so nothing would be repainted.",
                "Give a mask in which the area to repaint is white, or opaque on transparent ground.",
            )
        done = [f"converted to a mask of its {parts}"]
        if target != own_size:
            area = _stretched(area, target)
            done.append(f"scaled to the image's {target[0]} x {target[1]} pixels")
        layer = _for_every_channel(area)
        if frame.mode == "RGBA" and frame.size == layer.size and _same(frame, layer):
            return image
    png = save_png(layer)
    return PreparedImage(png, kind_of_png(png), (*image.done, *done))


def _repainted(frame: Image, *, holes: bool) -> tuple[Image, str]:
    """The area to repaint as levels, and which parts of the image it is, in words."""
    from PIL import ImageChops

    alpha = _transparency(frame)
    if alpha is None:
        return _brightness(frame), "white areas"
    if holes:
        return ImageChops.invert(alpha), "transparent areas"
    light = _brightness(frame.convert("RGBA"))
    if _black_and_white(light, alpha):
        return ImageChops.multiply(light, alpha), "white areas"
    return alpha, "opaque areas"


def _brightness(image: Image) -> Image:
    """The highest of red, green and blue: an area painted red on black is meant as much as white."""
    from PIL import ImageChops

    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    red, green, blue = image.convert("RGB").split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _black_and_white(light: Image, alpha: Image) -> bool:
    """Whether the visible pixels are black ones and white ones, apart from soft edges."""
    visible = light.histogram(alpha.point([0] * 128 + [255] * 128))
    black, white = sum(visible[: _NEAR + 1]), sum(visible[-_NEAR - 1 :])
    return min(black, white) > 0 and black + white >= 0.9 * sum(visible)


def _stretched(area: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return area.resize(size, Resampling.BILINEAR)


def _for_every_channel(area: Image) -> Image:
    from PIL import Image, ImageChops

    return Image.merge("RGBA", (area, area, area, ImageChops.invert(area)))


def _same(first: Image, second: Image) -> bool:
    from PIL import ImageChops

    return ImageChops.difference(first, second).getbbox(alpha_only=False) is None


@contextmanager
def _first_frame(content: bytes, kind: Kind, shown: str, memory: ImageMemory) -> Iterator[Image]:
    with (
        image_decode.decoding_errors(kind, shown),
        image_decode.open_image(BytesIO(content), kind, memory, shown) as (image, measured),
    ):
        needed = image_decode.reserve(image, replace(measured, frames=1), memory, shown)
        with memory.use(needed + _BYTES_PER_PIXEL * image.width * image.height):
            yield image


def _transparency(image: Image) -> Image | None:
    """The alpha channel of an image with transparent parts; None for an opaque one."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema() != (255, 255) else None
