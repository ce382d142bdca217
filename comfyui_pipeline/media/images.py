"""Decode pictures: to see that they are complete, and to make of them what a loader can read.

What decoding costs is known before it begins (``input_server.images.decode_cost``). Pillow is imported inside
the functions that need it, because a call without pictures must not pay for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from input_server.images import decode_cost
from input_server.light_dataclasses import dataclass, replace

from ..bounded.numbers import finite
from ..errors import MediaError
from . import file_types, image_structure
from .content_check import mismatch
from .file_types import MAX_IMAGE_BYTES, Kind
from .image_memory import SETTING, ImageMemory

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_FRAMES = 100_000
"""Frames of one file that are counted."""
NEARLY_ALL = 0.95
"""Share of a JPEG's rows that have to be there for one whose end is missing: as browsers show it."""

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
    "psd": "PSD",
}
"""The one reader of Pillow's that may look at a format."""
_FOREIGN = frozenset({"avif", "heic"})
"""Formats that a server's own loader may not read."""
_WHOLE = frozenset({"png", "jpeg", "webp", "gif", "bmp"})
"""Formats that Pillow reads in all their variants, so that a failure means a broken file."""
_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A picture as a loader can read it; ``done``: what had to be done, in words."""

    content: bytes
    kind: Kind
    done: tuple[str, ...] = ()


def prepare_image(
    content: bytes,
    what: str,
    *,
    max_side: int | None = None,
    animated: bool = False,
    memory: ImageMemory | None = None,
) -> PreparedImage:
    """Decode an input picture completely, and convert it where a loader could not read it as it is.

    ``what`` names the picture in errors. ``max_side``: pixels that no side may exceed.
    ``animated``: several frames are welcome. Raises MediaError for an empty, truncated, oversized
    (``MAX_IMAGE_BYTES``, or more than ``memory`` has) or unknown file; what it takes is read from
    the head and judged before anything is decoded.
    """
    memory = memory or ImageMemory()
    kind = _known(content, what)
    with _decoding(kind, what):
        content, notes = _mended(content, kind, memory)
        with _opened(BytesIO(content), kind, memory, what) as (image, measured):
            still = not animated and (measured.frames or 1) > 1
            decoded = replace(measured, frames=1) if still else measured
            needed = _within(image, decoded, memory, what, max_side)
            with memory.use(needed):
                steps = list(_steps(image, measured, max_side, still=still))  # may decode it
                if not steps:
                    _decode(image, measured.frames or 1)
                    return PreparedImage(content, measured, notes)
                made = _converted(image, max_side)
    return PreparedImage(made, _seen(made), (*notes, *steps))


def inspect_result(file: BinaryIO, what: str, memory: ImageMemory | None = None) -> Kind:
    """Recognise a result, measure it, and decode it when it is a picture of a usual format.

    Where decoding would take more than ``memory`` has, its structure is checked instead. Raises
    MediaError for a picture that is broken or cut off. Any other trouble only leaves the measures
    unknown.
    """
    kind = file_types.recognise(file)
    try:
        return _measured_result(file, kind, what, memory or ImageMemory())
    except MediaError:
        raise
    except Exception as error:  # a reader may raise anything; the file itself is not in doubt
        return replace(kind, note=f"its measures are unknown ({type(error).__name__})")


def check_received(file: BinaryIO, name: str) -> None:
    """Raise MediaError, with what arrived, for a file that is not what its name says: a login page
    called ``a.png``, no bytes at all, a header without an image.
    """
    kind = file_types.recognise(file)
    received = mismatch(name, kind, file.seek(0, 2))
    if (
        not received
        and kind.kind == "image"
        and not image_structure.has_image_data(kind.format, file)
    ):
        received = f"a {kind.format.upper()} header without image data"
    file.seek(0)
    if received:
        raise MediaError(
            f"{name} was not stored, as what arrived is {received}.",
            "Look at this run in ComfyUI; where a login or a proxy stands before it, set COMFYUI_AUTH.",
        )


def _measured_result(file: BinaryIO, kind: Kind, what: str, memory: ImageMemory) -> Kind:
    from .media_info import measured

    if kind.kind != "image":
        return measured(kind, file)
    if kind.format not in _WHOLE:
        return with_size(kind, file, memory)
    try:
        with _decoding(kind, what):
            return _decoded_result(file, kind, what, memory)
    except ImageTooLarge as error:
        if not image_structure.is_complete(kind.format, file):
            raise _broken(kind, what) from error
        return replace(with_size(kind, file, memory), note=f"not decoded, as {error.why}")


def _decoded_result(file: BinaryIO, kind: Kind, what: str, memory: ImageMemory) -> Kind:
    try:
        return _all_frames(file, kind, what, memory)
    except MediaError:
        raise
    except Exception:
        if kind.format not in ("jpeg", "png"):
            raise
        file.seek(0)
        content, notes = _mended(file.read(), kind, memory, broken=True)
        seen = _all_frames(BytesIO(content), kind, what, memory)
        return replace(seen, note=notes[0]) if notes else seen


def _all_frames(file: BinaryIO, kind: Kind, what: str, memory: ImageMemory) -> Kind:
    with _opened(file, kind, memory, what) as (image, seen):
        needed = _within(image, seen, memory, what, None)
        with memory.use(needed):
            return replace(seen, seconds=_decode(image, seen.frames or 1))


def with_size(kind: Kind, file: BinaryIO, memory: ImageMemory | None = None) -> Kind:
    """The kind with the picture's size from its header; unchanged when that cannot be read."""
    if kind.format not in _READERS:
        return kind
    try:
        with _opened(file, kind, memory or ImageMemory(), "") as (_, seen):
            return seen
    except ImageTooLarge as error:
        return replace(kind, width=error.width, height=error.height)
    except Exception:  # whatever a broken header makes of Pillow: the size stays unknown
        return kind


def first_frame(file: BinaryIO, what: str, side: int, memory: ImageMemory) -> Image:
    """The first frame of a stored picture, upright, in RGB or RGBA, no side above ``side`` pixels.

    Raises TooLarge, MediaError for a format without a reader, and whatever a decoder raises.
    """
    kind = file_types.recognise(file)
    if kind.format not in _READERS:
        raise MediaError(f"nothing here reads {kind.format.upper()}")
    if kind.format == "heic" and not _reads_heic():
        raise MediaError("HEIC needs pillow-heif in the tool's .venv")
    with _opened(file, kind, memory, what) as (image, seen):
        needed = _within(image, replace(seen, frames=1), memory, what, side)
        with memory.use(needed):
            turn = exif_orientation(image)
            if image.mode not in ("RGB", "RGBA"):
                deep = _eight_bit(image)
                see_through = "A" in deep.getbands() or "transparency" in deep.info
                image = deep.convert("RGBA" if see_through else "RGB")
            shown = apply_orientation(shrink(image, side), turn)
            shown.load()
            return shown.copy() if shown is image else shown


def _seen(made: bytes) -> Kind:
    return with_size(file_types.of_bytes(made), BytesIO(made))


def size_of(content: bytes, what: str, memory: ImageMemory | None = None) -> tuple[int, int]:
    """Width and height in pixels. Raises MediaError for what is no picture."""
    kind = _known(content, what)
    with (
        _decoding(kind, what),
        _opened(BytesIO(content), kind, memory or ImageMemory(), what) as (
            image,
            _,
        ),
    ):
        return image.size


def as_mask(picture: PreparedImage, what: str, memory: ImageMemory | None = None) -> PreparedImage:
    """A picture whose see-through parts are the mask; one that has none says it by its white parts."""
    memory = memory or ImageMemory()
    size = (picture.kind.width or 1, picture.kind.height or 1)
    with _loaded(picture.content, picture.kind, what, memory) as image:
        if _alpha(image) is not None:
            return picture
    layer = mask_layer(picture.content, size, what, memory)
    done = (*picture.done, "turned into a mask of its white parts")
    return PreparedImage(layer, _seen(layer), done)


def mask_layer(
    mask: bytes, size: tuple[int, int], what: str, memory: ImageMemory | None = None
) -> bytes:
    """A PNG whose alpha is what a loader reads as a mask: 0 where the mask is to be.

    A mask picture with transparent parts means those; without, its white parts. It is stretched to
    ``size``, as ``/upload/mask`` takes no other (ComfyUI server.py).
    """
    from PIL import Image, ImageChops

    memory = memory or ImageMemory()
    _refuse(decode_cost.needed_bytes(*size), size, memory, what)
    with _loaded(mask, _known(mask, what), what, memory) as image:
        alpha = _alpha(image)
        if alpha is None:
            alpha = ImageChops.invert(image.convert("L"))
        layer = Image.new("RGBA", size)
        layer.putalpha(alpha.resize(size, Image.Resampling.BILINEAR))
    return _png(layer)


@contextmanager
def _loaded(content: bytes, kind: Kind, what: str, memory: ImageMemory) -> Iterator[Image]:
    """The first frame of a picture, within the memory there is."""
    with (
        _decoding(kind, what),
        _opened(BytesIO(content), kind, memory, what) as (image, seen),
        memory.use(_within(image, replace(seen, frames=1), memory, what, None)),
    ):
        yield image


def _alpha(image: Image) -> Image | None:
    """The alpha of a picture that is see-through anywhere, else None."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema() != (255, 255) else None


def _known(content: bytes, what: str) -> Kind:
    if not content:
        raise MediaError(f"{what} is empty.", f"Give a picture: {_TAKEN} are taken.")
    if len(content) > MAX_IMAGE_BYTES:
        raise MediaError(
            f"{what} has {len(content) / 2**20:.0f} MB.",
            f"Pictures of at most {MAX_IMAGE_BYTES // 2**20} MB are taken.",
        )
    kind = file_types.of_bytes(content)
    if kind.format == "heic" and not _reads_heic():
        raise MediaError(
            f"{what} is a picture in HEIC format, which is not taken here.",
            "Save it as JPEG or PNG, or install pillow-heif into the tool's .venv.",
        )
    if kind.format not in _READERS or kind.format == "psd":
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
    if exif_orientation(image) is not None:
        yield "turned upright as its EXIF says"
    if max_side is not None and max(kind.width or 0, kind.height or 0) > max_side:
        yield f"shrunk to {max_side} pixels"


def _converted(image: Image, max_side: int | None) -> bytes:
    turn = exif_orientation(image)
    shown = _eight_bit(image)
    if shown.mode not in ("L", "LA", "RGB", "RGBA"):
        see_through = "A" in shown.getbands() or "transparency" in shown.info
        shown = shown.convert("RGBA" if see_through else "RGB")
    shown = apply_orientation(shrink(shown, max_side), turn)
    if shown is not image:
        image.close()  # its pixels are not needed while the new file grows
    return _png(shown)


def shrink(image: Image, max_side: int | None) -> Image:
    """The picture in place, no side longer than ``max_side``."""
    from PIL import Image as Pictures

    if max_side is not None:
        image.thumbnail((max_side, max_side), Pictures.Resampling.LANCZOS)
    return image


def exif_orientation(image: Image) -> int | None:
    """How its EXIF wants a picture to be turned; None for not at all, and for EXIF that is broken."""
    try:
        wanted = image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, SyntaxError and others for broken EXIF
        return None
    return wanted if isinstance(wanted, int) and 2 <= wanted <= 8 else None


def apply_orientation(image: Image, turn: int | None) -> Image:
    """The picture, turned as an EXIF orientation says (EXIF 2.3, 4.6.4)."""
    from PIL.Image import Transpose

    if turn is None:
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
        }[turn]
    )


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
    return f"is {file_types.a(kind)}, not a picture"


class ImageTooLarge(MediaError):
    """Decoding takes more memory than there is. ``why``: half a sentence; sizes in pixels."""

    def __init__(self, what: str, size: tuple[int, int], needed: int, memory: ImageMemory) -> None:
        self.width, self.height = size
        self.why = memory.refusal(needed)
        super().__init__(
            f"{what} ({self.width} x {self.height} pixels) is too large to decode: {self.why}.",
            f"Give a smaller picture, or raise {SETTING} in config.env.",
        )


def _refuse(needed: int, size: tuple[int, int], memory: ImageMemory, what: str) -> None:
    if not memory.fits(needed):
        raise ImageTooLarge(what, size, needed, memory)


@contextmanager
def _opened(
    file: BinaryIO, kind: Kind, memory: ImageMemory, what: str
) -> Iterator[tuple[Image, Kind]]:
    """The picture, its header read, by this format's reader alone; and its measures.

    Raises TooLarge for a WebP, whose reader sets its canvas aside at once.
    """
    from PIL import Image

    if kind.format == "heic":
        _reads_heic()
    if kind.format == "webp" and (size := image_structure.webp_size(file)) is not None:
        _refuse(decode_cost.peak_bytes(*size, "RGBA", "WEBP"), size, memory, what)
    gif = image_structure.gif(file, MOST_FRAMES) if kind.format == "gif" else None
    file.seek(0)
    # what a picture costs is judged here, by bytes; Pillow would judge pixels
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(file, formats=(_READERS[kind.format],)) as image:
        if gif is not None:
            yield image, replace(kind, width=gif.width, height=gif.height, frames=gif.frames)
        else:
            yield image, _measured(kind, image)


def _measured(kind: Kind, image: Image) -> Kind:
    # A JPEG may carry a second picture for stereo or brightness; what is shown is one frame.
    frames = 1 if kind.format == "jpeg" else int(getattr(image, "n_frames", 1))
    return replace(kind, width=image.width, height=image.height, frames=frames)


def _within(image: Image, seen: Kind, memory: ImageMemory, what: str, max_side: int | None) -> int:
    """Bytes that decoding takes. A JPEG that is to be shrunk may be decoded at a fraction of its size
    when that is what makes it fit. Raises TooLarge.
    """
    size, frames, form = (seen.width or 0, seen.height or 0), seen.frames or 1, decoder_name(image)
    needed = decode_cost.needed_bytes(*size, image.mode, frames, form)
    if not memory.fits(needed) and max_side is not None and image.format == "JPEG":
        share = min(1.0, max_side / max(1, *size))
        image.draft(None, (int(size[0] * share) + 1, int(size[1] * share) + 1))
        beside = decode_cost.DECODING["JPEG"] if form else 0
        needed = decode_cost.needed_bytes(*image.size, image.mode) + size[0] * size[1] * beside
    try:
        _refuse(needed, size, memory, what)
    except ImageTooLarge as error:
        if image.format == "JPEG" and max_side is None:
            error.hint += ' A JPEG fits with "max_side", the pixels of its longest side.'
        raise
    return needed


def decoder_name(image: Image) -> str:
    """The format for ``budget``; "" for a JPEG that is decoded row by row."""
    layers: Any = getattr(image, "layer", ())
    full = all(tuple(layer[1:3]) == (1, 1) for layer in layers)
    if image.format == "JPEG" and not (image.info.get("progressive") and full):
        return ""
    return image.format or ""


def _decode(image: Image, frames: int) -> float | None:
    """Decode every frame; gives how many seconds they last, None for a still picture."""
    spent = 0.0
    for frame in range(frames):
        if frame:
            image.seek(frame)
        image.load()
        spent += max(0.0, finite(image.info.get("duration")) or 0.0)
    return round(spent / 1000, 3) if frames > 1 and spent else None


def _mended(
    content: bytes, kind: Kind, memory: ImageMemory, *, broken: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """The content in a form that Pillow reads, where browsers and ComfyUI read it as it is: a JPEG
    whose last bytes are missing, a PNG with texts longer than Pillow takes. ``broken``: it is known
    that it cannot be read. What was done is said in words.
    """
    if kind.format == "png":
        return image_structure.png_without_texts(content), ()
    if kind.format != "jpeg" or not (broken or b"\xff\xd9" not in content[-_END_OF_JPEG:]):
        return content, ()
    share = _share_of_rows(content, kind, memory)
    if share is None or share < NEARLY_ALL:
        return content, ()
    return content + b"\xff\xd9", ("its last bytes are missing, which hardly shows",)


_END_OF_JPEG = 2**16


def _share_of_rows(content: bytes, kind: Kind, memory: ImageMemory) -> float | None:
    """How much of a JPEG that breaks off is there: one byte less changes what lies behind the break.

    None when it cannot be decoded at all, or costs too much to be looked at.
    """
    from PIL import ImageChops

    if not image_structure.jpeg_has_scan(BytesIO(content)):
        return None
    try:
        with (
            _opened(BytesIO(content + b"\xff\xd9"), kind, memory, "") as (image, seen),
            _opened(BytesIO(content[:-1] + b"\xff\xd9"), kind, memory, "") as (less, _),
        ):
            needed = 2 * _within(image, seen, memory, "", None)
            _refuse(needed, image.size, memory, "")
            with memory.use(needed):
                box = ImageChops.difference(image, less).getbbox()
                width, height = image.size
    except Exception:  # MediaError, or whatever Pillow raises
        return None
    if box is None:
        return 1.0
    return (box[1] + box[0] / width * (height - box[1])) / height


@contextmanager
def _decoding(kind: Kind, what: str) -> Iterator[None]:
    """Turn what Pillow raises into errors for a reader."""
    try:
        yield
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError(f"{what} does not fit into memory.", "Give a smaller picture.") from error
    except Exception as error:  # Pillow's readers raise almost anything for broken files
        raise _broken(kind, what) from error


def _broken(kind: Kind, what: str) -> MediaError:
    return MediaError(
        f"{what} is a broken or cut-off {kind.format.upper()} picture.",
        "Save or transfer it again.",
    )
