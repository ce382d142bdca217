"""Convert input images to what a loader node reads, and stored images to what a preview shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from input_server.images import bit_depth
from input_server.light_dataclasses import dataclass, replace

from ..errors import MediaError
from . import file_types, image_decode, image_repair
from .file_limits import IMAGE_SETTING, MAX_IMAGE_BYTES
from .file_types import Kind
from .image_memory import ImageMemory
from .image_repair import repaired

if TYPE_CHECKING:
    from PIL.Image import Image

_ACCEPTED = "PNG, JPEG, WebP, GIF, BMP and TIFF"
_CONVERTED_FORMATS = frozenset({"avif", "heic"})
"""Formats that ComfyUI's loader may not read."""
DAMAGED = "used as far as it can be read, as it is damaged or cut off"
_ORIENTATION = 0x0112
"""EXIF tag (EXIF 2.3, 4.6.4)."""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that a loader node reads. ``done``: the conversions, in words."""

    content: bytes
    kind: Kind
    done: tuple[str, ...] = ()


def prepare_image(
    content: bytes,
    shown: str,
    *,
    max_side: int | None = None,
    animated: bool = False,
    memory: ImageMemory | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> PreparedImage:
    """Decode an input image completely, and convert it where a loader node could not read it.

    ``shown`` names the image in errors. ``max_side``: pixels of the longest side. ``animated``: all
    frames are kept. Raises MediaError for an empty, cut-off or unknown file, and for one that is too
    large for ``max_bytes`` or for ``memory``; its size is checked before it is decoded.
    """
    memory = memory or ImageMemory()
    kind = checked_kind(content, shown, max_bytes)
    with image_decode.decoding_errors(kind, shown):
        content, notes = repaired(content, kind, memory)
        try:
            prepared = _prepared(content, kind, shown, max_side, animated=animated, memory=memory)
        except image_decode.ImageTooLarge as error:
            smaller = _in_bands(content, kind, max_side, memory, error)
            prepared = _prepared(smaller, kind, shown, max_side, animated=False, memory=memory)
        except (MediaError, MemoryError):
            raise
        except Exception:  # Pillow raises almost anything; ComfyUI reads what is there
            with image_decode.damage_tolerated():
                prepared = _what_is_left(content, kind, shown, max_side, memory)
    used = tuple(f"used although {note}" for note in notes)
    return replace(prepared, done=(*used, *prepared.done))


def _in_bands(
    content: bytes,
    kind: Kind,
    max_side: int | None,
    memory: ImageMemory,
    error: image_decode.ImageTooLarge,
) -> bytes:
    """A smaller PNG of one that does not fit into the memory. Raises ``error`` where there is none."""
    from . import large_png

    if kind.format != "png" or not large_png.is_reducible(content):
        raise error
    if max_side is None:
        error.hint += image_decode.SMALLER.format(format="PNG")
        raise error
    with memory.use(large_png.WORKING_BYTES):
        smaller = large_png.reduced_png(content, max_side)
    if smaller is None:
        raise error
    return smaller


def _prepared(
    content: bytes,
    kind: Kind,
    shown: str,
    max_side: int | None,
    *,
    animated: bool,
    memory: ImageMemory,
) -> PreparedImage:
    with image_decode.open_image(BytesIO(content), kind, memory, shown) as (image, measured):
        first_only = not animated and (measured.frames or 1) > 1
        decoded = replace(measured, frames=1) if first_only else measured
        with memory.use(image_decode.reserve(image, decoded, memory, shown, max_side)):
            steps = tuple(_steps(image, measured, max_side, first_only=first_only))
            if not steps:
                image_decode.decode_frames(image, measured.frames or 1)
                return PreparedImage(content, measured)
            converted = _converted(image, max_side)
    return PreparedImage(converted, kind_of_png(converted), steps)


def _what_is_left(
    content: bytes, kind: Kind, shown: str, max_side: int | None, memory: ImageMemory
) -> PreparedImage:
    """The readable part of the first frame of a damaged image, as a PNG.

    Raises MediaError where nothing of it can be seen.
    """
    content = image_repair.valid_chunks(content) if kind.format == "png" else content
    with image_decode.open_image(BytesIO(content), kind, memory, shown) as (image, measured):
        first = replace(measured, frames=1)
        with memory.use(image_decode.reserve(image, first, memory, shown, max_side)):
            steps = tuple(_steps(image, first, max_side, first_only=False))
            converted = _converted(image, max_side)
    result = kind_of_png(converted)
    with image_decode.open_image(BytesIO(converted), result, memory, shown) as (image, measured):
        image_decode.reserve(image, measured, memory, shown)
        if not any(low != high for low, high in _ranges(image)):
            raise image_decode.broken_image(kind, shown)
    return PreparedImage(converted, result, (DAMAGED, *steps))


def _ranges(image: Image) -> list[tuple[float, float]]:
    """The lowest and the highest value of each channel."""
    return [channel.getextrema() for channel in image.split()]  # type: ignore[misc]


def first_frame(file: BinaryIO, shown: str, side: int, memory: ImageMemory) -> Image:
    """Return the first frame of a stored image, upright, RGB or RGBA, at most ``side`` pixels long.

    Raises ImageTooLarge, MediaError for a format without a decoder, and whatever Pillow raises.
    """
    kind = file_types.detect(file)
    if kind.mime not in image_decode.DECODERS:
        raise MediaError(f"there is no decoder for {kind.format.upper()}")
    if kind.format == "heic" and not image_decode.register_heic():
        raise MediaError("HEIC needs pillow-heif in the tool's .venv")
    with image_decode.open_image(file, kind, memory, shown) as (image, measured):
        first = replace(measured, frames=1)
        with memory.use(image_decode.reserve(image, first, memory, shown, side)):
            orientation = exif_orientation(image)
            if image.mode not in ("RGB", "RGBA"):
                image = _with_alpha_or_rgb(_eight_bit(image))
            frame = apply_orientation(shrink(image, side), orientation)
            frame.load()
            return frame.copy() if frame is image else frame


def image_size(
    content: bytes,
    shown: str,
    memory: ImageMemory | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> tuple[int, int]:
    """Return width and height in pixels. Raises MediaError for what is not an image."""
    kind = checked_kind(content, shown, max_bytes)
    with (
        image_decode.decoding_errors(kind, shown),
        image_decode.open_image(BytesIO(content), kind, memory or ImageMemory(), shown) as (
            image,
            _,
        ),
    ):
        return image.size


def checked_kind(content: bytes, shown: str, max_bytes: int = MAX_IMAGE_BYTES) -> Kind:
    """Return the kind of an input image. Raises MediaError for what is empty, too large or no image."""
    if not content:
        raise MediaError(f"{shown} is empty.", f"Give an image: {_ACCEPTED} are accepted.")
    if len(content) > max_bytes:
        raise MediaError(
            f"{shown} has {len(content) / 2**20:.0f} MB.",
            f"Images of at most {max_bytes // 2**20} MB are accepted ({IMAGE_SETTING} in config.env).",
        )
    kind = file_types.detect_bytes(content)
    if kind.format == "heic" and not image_decode.register_heic():
        raise MediaError(
            f"{shown} is a HEIC image, which this installation cannot read.",
            "Save it as JPEG or PNG, or install pillow-heif into the tool's .venv.",
        )
    if kind.mime not in image_decode.DECODERS or kind.format == "psd":
        what = file_types.describe_kind(kind)
        problem = "which is not accepted" if kind.kind == "image" else "not an image"
        raise MediaError(f"{shown} is {what}, {problem}.", f"{_ACCEPTED} are accepted.")
    return kind


def kind_of_png(content: bytes) -> Kind:
    """The kind of an image that was written here, with its size."""
    return image_decode.measured_size(file_types.detect_bytes(content), BytesIO(content))


def save_png(image: Image) -> bytes:
    """Return the image as a PNG. The profile is dropped, as it may not fit the converted pixels."""
    buffer = BytesIO()
    image.info.pop("icc_profile", None)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def shrink(image: Image, max_side: int | None) -> Image:
    """Reduce an image in place, so that no side is longer than ``max_side`` pixels."""
    from PIL.Image import Resampling

    if max_side is not None:
        image.thumbnail((max_side, max_side), Resampling.LANCZOS)
    return image


def exif_orientation(image: Image) -> int | None:
    """Return the EXIF orientation, 2 to 8; None for an upright image and for broken EXIF."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, SyntaxError and others for broken EXIF
        return None
    return value if isinstance(value, int) and 2 <= value <= 8 else None


def apply_orientation(image: Image, orientation: int | None) -> Image:
    """Return the image turned upright (EXIF 2.3, 4.6.4)."""
    from PIL.Image import Transpose

    if orientation is None:
        return image
    return image.transpose(
        {
            2: Transpose.FLIP_LEFT_RIGHT,
            3: Transpose.ROTATE_180,
            4: Transpose.FLIP_TOP_BOTTOM,
            5: Transpose.TRANSPOSE,
            6: Transpose.ROTATE_270,
            7: Transpose.TRANSVERSE,
            8: Transpose.ROTATE_90,
        }[orientation]
    )


def _steps(image: Image, kind: Kind, max_side: int | None, *, first_only: bool) -> Iterator[str]:
    """The conversions that an image needs before a loader node can read it."""
    if kind.format in _CONVERTED_FORMATS:
        yield "converted to PNG, which ComfyUI can read"
    if first_only:
        yield "reduced to its first frame, as the input takes a still image"
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        yield f"converted from {image.mode} to RGB"
    if bit_depth.is_deep(image):
        yield "converted from 16 bits or more per channel to 8"
    if exif_orientation(image) is not None:
        yield "rotated as its EXIF orientation says"
    if max_side is not None and max(kind.width or 0, kind.height or 0) > max_side:
        yield f"reduced to {max_side} pixels"


def _converted(image: Image, max_side: int | None) -> bytes:
    orientation = exif_orientation(image)
    converted = _eight_bit(image)
    if converted.mode not in ("L", "LA", "RGB", "RGBA"):
        converted = _with_alpha_or_rgb(converted)
    converted = apply_orientation(shrink(converted, max_side), orientation)
    if converted is not image:
        image.close()  # frees its pixels before the file is encoded
    return save_png(converted)


def _with_alpha_or_rgb(image: Image) -> Image:
    transparent = "A" in image.getbands() or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _eight_bit(image: Image) -> Image:
    """Integers of more than 8 bits and floats scaled to ``L``; CMYK converted by its own profile."""
    if bit_depth.is_deep(image):
        return bit_depth.to_eight_bits(image)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        from PIL import ImageCms

        with suppress(ImageCms.PyCMSError, OSError):  # the profile is broken
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    return image
