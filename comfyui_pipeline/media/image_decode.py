"""Open and decode images within the memory of the call.

The memory that decoding takes is calculated from the header before anything is decoded
(``input_server.images.decode_cost``). Pillow is imported in the functions that need it, because a
call without images must not pay for that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from input_server.images import decode_cost
from input_server.images.formats import PILLOW_TYPES
from input_server.light_dataclasses import replace

from ..bounded.numbers import finite
from ..errors import MediaError
from . import image_structure
from .file_types import Kind
from .image_memory import SETTING, ImageMemory

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FRAMES = 100_000
"""Frames of one file that are counted."""
DECODERS: Mapping[str, str] = MappingProxyType(
    {**PILLOW_TYPES, "image/heic": "HEIF", "image/vnd.adobe.photoshop": "PSD"}
)
"""MIME type -> Pillow's name of the only format that may decode it."""

SMALLER = ' A {format} can be decoded smaller: pass "max_side" (pixels of its longest side).'


class ImageTooLarge(MediaError):
    """Decoding needs more memory than the call has.

    ``width`` and ``height`` in pixels; ``why``: the reason as the second half of a sentence.
    """

    def __init__(self, shown: str, size: tuple[int, int], needed: int, memory: ImageMemory) -> None:
        self.width, self.height = size
        self.why = memory.refusal(needed)
        super().__init__(
            f"{shown} ({self.width} x {self.height} pixels) is too large to decode: {self.why}.",
            f"Give a smaller image, or raise {SETTING} in config.env.",
        )


@contextmanager
def open_image(
    file: BinaryIO, kind: Kind, memory: ImageMemory, shown: str
) -> Iterator[tuple[Image, Kind]]:
    """Open an image with the decoder of its format; gives it with its kind, now with size and frames.

    ``shown`` names the image in errors. Raises ImageTooLarge for a WebP, whose decoder allocates its
    canvas when it opens the file, and whatever Pillow raises.
    """
    if kind.format == "heic":
        register_heic()
    if kind.format == "webp" and (size := image_structure.webp_size(file)) is not None:
        refuse_above(memory, decode_cost.peak_bytes(*size, "RGBA", "WEBP"), size, shown)
    gif = image_structure.gif(file, MAX_FRAMES) if kind.format == "gif" else None
    file.seek(0)
    with _opened(file, kind) as image:
        if gif is not None:
            yield image, replace(kind, width=gif.width, height=gif.height, frames=gif.frames)
        else:
            yield image, _measured(kind, image)


def _opened(file: BinaryIO, kind: Kind) -> Image:
    """The image with the decoder of its format.

    The usual result is a PNG: ``Image.open`` would import the decoders of four other formats, which
    takes 11 ms.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limit is our own, in bytes
    if kind.format == "png":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(file)
    return Image.open(file, formats=(DECODERS[kind.mime],))


def measured_size(kind: Kind, file: BinaryIO, memory: ImageMemory | None = None) -> Kind:
    """Return the kind with the size from the image's header; unchanged when it cannot be read."""
    if kind.mime not in DECODERS:
        return kind
    try:
        with open_image(file, kind, memory or ImageMemory(), "") as (_, measured):
            return measured
    except ImageTooLarge as error:
        return replace(kind, width=error.width, height=error.height)
    except Exception:  # Pillow may raise anything for a broken header
        return kind


def reserve(
    image: Image, measured: Kind, memory: ImageMemory, shown: str, max_side: int | None = None
) -> int:
    """Return the bytes that decoding takes. Raises ImageTooLarge when the call has less.

    A JPEG that will be reduced to ``max_side`` is decoded at a fraction of its size where it would
    not fit otherwise.
    """
    size, frames = (measured.width or 0, measured.height or 0), measured.frames or 1
    decoder = decoder_name(image)
    needed = decode_cost.needed_bytes(*size, image.mode, frames, decoder)
    if not memory.fits(needed) and max_side is not None and image.format == "JPEG":
        share = min(1.0, max_side / max(1, *size))
        image.draft(None, (int(size[0] * share) + 1, int(size[1] * share) + 1))
        coefficients = size[0] * size[1] * (decode_cost.DECODING["JPEG"] if decoder else 0)
        needed = decode_cost.needed_bytes(*image.size, image.mode) + coefficients
    try:
        refuse_above(memory, needed, size, shown)
    except ImageTooLarge as error:
        if image.format == "JPEG" and max_side is None:
            error.hint += SMALLER.format(format="JPEG")
        raise
    return needed


def refuse_above(memory: ImageMemory, needed: int, size: tuple[int, int], shown: str) -> None:
    """Raise ImageTooLarge when ``needed`` bytes are more than the call has."""
    if not memory.fits(needed):
        raise ImageTooLarge(shown, size, needed, memory)


def decoder_name(image: Image) -> str:
    """The decoder's name for ``decode_cost``; "" for a JPEG that is decoded row by row."""
    layers: Any = getattr(image, "layer", ())
    full = all(tuple(layer[1:3]) == (1, 1) for layer in layers)
    if image.format == "JPEG" and not (image.info.get("progressive") and full):
        return ""
    return image.format or ""


def decode_frames(image: Image, frames: int) -> float | None:
    """Decode every frame and return how many seconds they last; None for a still image."""
    milliseconds = 0.0
    for frame in range(frames):
        if frame:
            image.seek(frame)
        image.load()
        milliseconds += max(0.0, finite(image.info.get("duration")) or 0.0)
    return round(milliseconds / 1000, 3) if frames > 1 and milliseconds else None


_TOLERANT = threading.Lock()
"""Pillow's switch belongs to the process. A strict decoder that runs at the same time may miss that its
file is cut off."""


@contextmanager
def damage_tolerated() -> Iterator[None]:
    """Let Pillow decode what is there of a damaged image, as ComfyUI does (node_helpers.py)."""
    from PIL import ImageFile

    with _TOLERANT:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


@contextmanager
def decoding_errors(kind: Kind, shown: str) -> Iterator[None]:
    """Turn what Pillow raises into MediaError."""
    try:
        yield
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError(
            f"{shown} does not fit into the memory of this machine.", "Give a smaller image."
        ) from error
    except Exception as error:  # Pillow raises almost anything for broken files
        raise broken_image(kind, shown) from error


def broken_image(kind: Kind, shown: str) -> MediaError:
    return MediaError(
        f"{shown} is a broken or cut-off {kind.format.upper()} image.", "Save or transfer it again."
    )


def register_heic() -> bool:
    """Let Pillow read HEIC; False when pillow-heif, which is optional, is not installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        return True
    return False


def _measured(kind: Kind, image: Image) -> Kind:
    # a JPEG may contain a second image for stereo or HDR, which is not a frame
    frames = 1 if kind.format == "jpeg" else int(getattr(image, "n_frames", 1))
    return replace(kind, width=image.width, height=image.height, frames=frames)
