"""Decode pictures: to see that they are whole, and to make of them what a loader can read.

Pillow is imported inside the functions that need it, because a call without pictures must not pay
for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from ..errors import MediaError
from . import kinds
from .kinds import MAX_PICTURE_BYTES, Kind

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
"""Largest input picture: width x height x frames."""

_TAKEN = "PNG, JPEG, WebP, GIF, BMP and TIFF"
_READERS = {
    "png": "PNG",
    "jpeg": "JPEG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "heic": "HEIF",
}
"""The one reader of Pillow's that may look at a format."""
_FOREIGN = frozenset({"avif", "heic"})
"""Formats that a server's own loader may not read."""
_WHOLE = frozenset({"png", "jpeg", "webp", "gif", "bmp"})
"""Formats that Pillow reads in all their variants, so that a failure means a broken file."""
_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4


@dataclass(frozen=True, slots=True)
class Readable:
    """A picture as a loader can read it; ``done``: what had to be done, in words."""

    content: bytes
    kind: Kind
    done: tuple[str, ...] = ()


def readable(
    content: bytes, what: str, *, max_side: int | None = None, animated: bool = False
) -> Readable:
    """Decode an input picture wholly, and convert it where a loader could not read it as it is.

    ``what`` names the picture in errors. ``max_side``: pixels that no side may exceed.
    ``animated``: several frames are welcome. Raises MediaError for an empty, truncated, oversized
    (``MAX_PICTURE_BYTES``, ``MAX_PIXELS``) or unknown file; the size in pixels is read from the
    header and judged before anything is decoded.
    """
    kind = _known(content, what)
    with _decoding(kind, what), _opened(BytesIO(content), kind) as image:
        measured = _measured(kind, image)
        _refuse_giant(measured, what)
        still = not animated and (measured.frames or 1) > 1
        steps = list(_steps(image, kind, max_side, still=still))
        if not steps:
            _decode(image, measured.frames or 1)
            return Readable(content, measured)
        made = _converted(image, max_side)
    return Readable(made, _seen(made), tuple(steps))


def examined(file: BinaryIO, what: str) -> Kind:
    """Recognise a file, measure it, and decode it when it is a picture of a usual format.

    Raises MediaError for a picture that is broken or cut off.
    """
    from .measures import measured

    kind = kinds.recognise(file)
    if kind.kind != "image":
        return measured(kind, file)
    if kind.format not in _WHOLE:
        return with_size(kind, file)
    from PIL import Image

    with (
        _decoding(kind, what),
        suppress(Image.DecompressionBombError),
        _opened(file, kind) as image,
    ):
        kind = _measured(kind, image)
        kind = replace(kind, seconds=_decode(image, kind.frames or 1))
    return kind


def with_size(kind: Kind, file: BinaryIO) -> Kind:
    """The kind with the picture's size from its header; unchanged when that cannot be read."""
    if kind.format not in _READERS:
        return kind
    try:
        with _opened(file, kind) as image:
            return _measured(kind, image)
    except Exception:  # whatever a broken header makes of Pillow: the size stays unknown
        return kind


def _seen(made: bytes) -> Kind:
    return with_size(kinds.of_bytes(made), BytesIO(made))


def size_of(content: bytes, what: str) -> tuple[int, int]:
    """Width and height in pixels. Raises MediaError for what is no picture."""
    kind = _known(content, what)
    with _decoding(kind, what), _opened(BytesIO(content), kind) as image:
        return image.size


def as_mask(picture: Readable, what: str) -> Readable:
    """A picture whose see-through parts are the mask; one that has none says it by its white parts."""
    size = (picture.kind.width or 1, picture.kind.height or 1)
    with _decoding(picture.kind, what), _opened(BytesIO(picture.content), picture.kind) as image:
        if _alpha(image) is not None:
            return picture
    layer = mask_layer(picture.content, size, what)
    done = (*picture.done, "turned into a mask of its white parts")
    return Readable(layer, _seen(layer), done)


def mask_layer(mask: bytes, size: tuple[int, int], what: str) -> bytes:
    """A PNG whose alpha is what a loader reads as a mask: 0 where the mask is to be.

    A mask picture with transparent parts means those; without, its white parts. It is stretched to
    ``size``, as ``/upload/mask`` takes no other (ComfyUI server.py).
    """
    from PIL import Image, ImageChops

    kind = _known(mask, what)
    with _decoding(kind, what), _opened(BytesIO(mask), kind) as image:
        alpha = _alpha(image)
        if alpha is None:
            alpha = ImageChops.invert(image.convert("L"))
        layer = Image.new("RGBA", size)
        layer.putalpha(alpha.resize(size, Image.Resampling.BILINEAR))
    return _png(layer)


def _alpha(image: Image) -> Image | None:
    """The alpha of a picture that is see-through anywhere, else None."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema() != (255, 255) else None


def _known(content: bytes, what: str) -> Kind:
    if not content:
        raise MediaError(f"{what} is empty.", f"Give a picture: {_TAKEN} are taken.")
    if len(content) > MAX_PICTURE_BYTES:
        raise MediaError(
            f"{what} has {len(content) / 2**20:.0f} MB.",
            f"Pictures of at most {MAX_PICTURE_BYTES // 2**20} MB are taken.",
        )
    kind = kinds.of_bytes(content)
    if kind.format == "heic" and not _reads_heic():
        raise MediaError(
            f"{what} is a picture in HEIC format, which is not taken here.",
            "Save it as JPEG or PNG, or install pillow-heif into the tool's .venv.",
        )
    if kind.format not in _READERS:
        raise MediaError(f"{what} {_not_a_picture(kind)}.", f"{_TAKEN} are taken.")
    return kind


def _reads_heic() -> bool:
    """Whether pillow-heif is installed; it is not among what this tool requires."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        return True
    return False


def _steps(image: Image, kind: Kind, max_side: int | None, *, still: bool) -> Iterator[str]:
    """What has to be done to a picture before a loader can read it."""
    if kind.format in _FOREIGN:
        yield "converted to PNG, which ComfyUI can read"
    if still:
        yield "reduced to its first frame, as one picture is wanted"
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        yield f"converted from {image.mode} to RGB"
    if image.mode.startswith(("I", "F")):
        yield "converted from 16 bit or more to 8"
    if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
        yield "turned upright as its EXIF says"
    if max_side is not None and max(image.size) > max_side:
        yield f"shrunk to {max_side} pixels"


def _converted(image: Image, max_side: int | None) -> bytes:
    from PIL import Image as Pictures
    from PIL import ImageOps

    shown = _eight_bit(ImageOps.exif_transpose(image))
    if shown.mode not in ("L", "LA", "RGB", "RGBA"):
        see_through = "A" in shown.getbands() or "transparency" in shown.info
        shown = shown.convert("RGBA" if see_through else "RGB")
    if max_side is not None:
        shown.thumbnail((max_side, max_side), Pictures.Resampling.LANCZOS)
    return _png(shown)


def _eight_bit(image: Image) -> Image:
    """CMYK through its own profile where it has one; deep greys scaled rather than clipped."""
    if image.mode.startswith("I"):
        deep = image.convert("I")
        top = max(65535, int(_highest(deep)))
        return deep.point(lambda value: value * (255 / top)).convert("L")
    if image.mode == "F":
        top_light = 1.0 if _highest(image) <= 1.0 else 255.0
        return image.point(lambda value: value * (255 / top_light)).convert("L")
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        from PIL import ImageCms

        with suppress(ImageCms.PyCMSError):
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            made = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
            if made is not None:
                return made
    return image


def _highest(image: Image) -> float:
    _, high = image.getextrema()
    return float(high) if isinstance(high, (int, float)) else 0.0


def _png(image: Image) -> bytes:
    buffer = BytesIO()
    image.info.pop("icc_profile", None)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _not_a_picture(kind: Kind) -> str:
    if kind.format == "html":
        return "is a web page, not a picture"
    if kind.kind == "image":
        return f"is a picture in {kind.format.upper()} format, which is not taken"
    if kind.format == "unknown":
        return "is not a picture in a known format"
    return f"is {kinds.a(kind)}, not a picture"


@contextmanager
def _opened(file: BinaryIO, kind: Kind) -> Iterator[Image]:
    """The picture, its header read, by this format's reader alone."""
    from PIL import Image

    file.seek(0)
    with Image.open(file, formats=(_READERS[kind.format],)) as image:
        yield image


def _measured(kind: Kind, image: Image) -> Kind:
    # A JPEG may carry a second picture for stereo or brightness; what is shown is one frame.
    frames = 1 if kind.format == "jpeg" else int(getattr(image, "n_frames", 1))
    return replace(kind, width=image.width, height=image.height, frames=frames)


def _decode(image: Image, frames: int) -> float | None:
    """Decode every frame; gives how many seconds they last, None for a still picture."""
    spent = 0.0
    for frame in range(frames):
        if frame:
            image.seek(frame)
        image.load()
        spent += image.info.get("duration") or 0.0
    return round(spent / 1000, 3) if frames > 1 and spent else None


@contextmanager
def _decoding(kind: Kind, what: str) -> Iterator[None]:
    """Turn what Pillow raises into errors for a reader."""
    from PIL import Image

    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise _giant(what) from error
    except MemoryError as error:
        raise MediaError(f"{what} does not fit into memory.", "Give a smaller picture.") from error
    except Exception as error:  # Pillow's readers raise almost anything for broken files
        raise MediaError(
            f"{what} is a broken or cut-off {kind.format.upper()} picture.",
            "Save or transfer it again.",
        ) from error


def _refuse_giant(kind: Kind, what: str) -> None:
    width, height, frames = kind.width or 0, kind.height or 0, kind.frames or 1
    if width * height * frames > MAX_PIXELS:
        size = f"{width} x {height}" + (f" x {frames} frames" if frames > 1 else "")
        raise _giant(f"{what} ({size} pixels)")


def _giant(what: str) -> MediaError:
    return MediaError(
        f"{what} is too large to decode.",
        f"Pictures of at most {MAX_PIXELS // 1_000_000} megapixels in all frames are taken.",
    )
