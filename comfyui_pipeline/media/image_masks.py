"""Masks for loader nodes, which take the transparent parts of an image as its mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from input_server.images import decode_cost
from input_server.light_dataclasses import replace

from . import image_decode
from .file_types import Kind
from .image_convert import PreparedImage, checked_kind, kind_of_png, save_png
from .image_memory import ImageMemory

if TYPE_CHECKING:
    from PIL.Image import Image


def as_mask(image: PreparedImage, shown: str, memory: ImageMemory | None = None) -> PreparedImage:
    """Return the image if it has transparent parts, else one that is transparent where it is white."""
    memory = memory or ImageMemory()
    size = (image.kind.width or 1, image.kind.height or 1)
    with _first_frame(image.content, image.kind, shown, memory) as frame:
        if _transparency(frame) is not None:
            return image
    layer = mask_layer(image.content, size, shown, memory)
    done = (*image.done, "converted to a mask of its white areas")
    return PreparedImage(layer, kind_of_png(layer), done)


def mask_layer(
    mask: bytes, size: tuple[int, int], shown: str, memory: ImageMemory | None = None
) -> bytes:
    """Return a PNG whose alpha is 0 in the masked area: the transparent parts of ``mask``, or its
    white areas if it has none.

    It is stretched to ``size``, as ``/upload/mask`` accepts no other (ComfyUI server.py).
    """
    from PIL import Image, ImageChops

    memory = memory or ImageMemory()
    image_decode.refuse_above(memory, decode_cost.needed_bytes(*size), size, shown)
    with _first_frame(mask, checked_kind(mask, shown), shown, memory) as frame:
        alpha = _transparency(frame)
        if alpha is None:
            alpha = ImageChops.invert(frame.convert("L"))
        layer = Image.new("RGBA", size)
        layer.putalpha(alpha.resize(size, Image.Resampling.BILINEAR))
    return save_png(layer)


@contextmanager
def _first_frame(content: bytes, kind: Kind, shown: str, memory: ImageMemory) -> Iterator[Image]:
    with (
        image_decode.decoding_errors(kind, shown),
        image_decode.open_image(BytesIO(content), kind, memory, shown) as (image, measured),
        memory.use(image_decode.reserve(image, replace(measured, frames=1), memory, shown)),
    ):
        yield image


def _transparency(image: Image) -> Image | None:
    """The alpha channel of an image with transparent parts; None for an opaque one."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema() != (255, 255) else None
