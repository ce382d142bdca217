"""A smaller or lighter copy of a picture, by Pillow, which is imported when the first one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, BytesIO, RawIOBase
from typing import TYPE_CHECKING, Any

from ..mounts.open_files import OpenFile
from .decode_cost import DECODING, STORED, WIDEST
from .headers import READ_AT_ONCE, buffers_whole, scans, unpacked_most
from .memory import MemoryBudget, OverBudget

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Mapping[str, tuple[str, str, str]] = {
    "webp": ("WEBP", "image/webp", ".webp"),
    "jpeg": ("JPEG", "image/jpeg", ".jpg"),
    "jpg": ("JPEG", "image/jpeg", ".jpg"),
    "png": ("PNG", "image/png", ".png"),
    "avif": ("AVIF", "image/avif", ".avif"),
}
"""What is asked for -> Pillow's name, type, ending."""
READERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}
HEIF_TYPES = ("image/heic", "image/heif")
"""Read where pillow-heif is installed."""
LONGEST_SIDE = 8192
MOST_PIXELS = 64_000_000
MOST_BYTES = 64 * 2**20
MOST_MADE_PIXELS = 16_777_216
ENCODING = {"WEBP": (32, 40), "AVIF": (40, 48), "JPEG": (8, 8), "PNG": (8, 8)}
"""Bytes that an encoder takes for each pixel at most, without and with transparency, measured with noise
(Pillow 13)."""
MOST_SCANS = 100
"""Of a progressive JPEG, each of which goes through all of its pixels again; programs write ten."""
REDUCING_GAP, LARGE_PIXELS = 2, 16_000_000
"""A picture is reduced to so many times the size of the copy, where it is large to its very size."""
STRIP_PIXELS = 2**20
SIDE_STEPS = (160, 320, 640, 1280, 2048)
QUALITY_STEPS = (50, 75, 90)
"""What an address that ends can ask for: it does not sign these, so whoever has one could otherwise
have thousands of copies rendered of one file. The gallery asks for 320 and 2048."""
SMALL_SIDE = 480
AUTO = {"WEBP": (72, 84), "JPEG": (74, 86), "AVIF": (50, 62)}
"""Quality of ``q=auto``: for thumbnails, and for pictures that are looked at."""
ORIENTATION, SIDEWAYS = 0x0112, 5
"""The EXIF tag, and the first of its values that swap width and height (EXIF 2.3, 4.6.4)."""
TOO_LARGE = "This picture is too large to be made smaller."
TOO_LARGE_COPY = "This would be too large; ask for a smaller w or h."


class VariantError(Exception):
    """What is asked for cannot be made of this file; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@cache
def readable_types() -> Mapping[str, str]:
    """Type -> Pillow's name of the format, of what can be read here."""
    heif = HEIF_TYPES if find_spec("pillow_heif") else ()
    return {**READERS, **dict.fromkeys(heif, "HEIF")}


@dataclass(frozen=True, slots=True)
class VariantRequest:
    """A copy that is asked for: at most so many pixels, in a format (None: one that fits), of a
    quality (None: auto). ``lighter``: a quality was asked for, so it need not be lossless.
    ``wrong``: why it cannot be understood.
    """

    width: int | None = None
    height: int | None = None
    form: str | None = None
    quality: int | None = None
    lighter: bool = False
    wrong: str = ""

    @property
    def quality_only(self) -> bool:
        """Whether the file itself would do as well, where no copy is as good and smaller."""
        return self.lighter and (self.width, self.height, self.form) == (None, None, None)

    @property
    def rounded(self) -> VariantRequest:
        """The same with sides and quality rounded to the nearest step, half-way to the larger one."""
        return replace(
            self,
            width=_nearest(self.width, SIDE_STEPS),
            height=_nearest(self.height, SIDE_STEPS),
            quality=_nearest(self.quality, QUALITY_STEPS),
        )


def _nearest(value: int | None, steps: Sequence[int]) -> int | None:
    if value is None:
        return None
    return min(steps, key=lambda step: (abs(step - value), -step))


def parse_variant_request(query: Mapping[str, str]) -> VariantRequest | None:
    """What a query asks for; None for the file as it is. ``quality`` is ``q`` by another name."""
    if not query.keys() & {"w", "h", "fmt", "q", "quality"}:
        return None
    quality = query.get("q", query.get("quality", "auto")).lower()
    form = query.get("fmt", "").lower() or None
    width, height = _side(query.get("w", "")), _side(query.get("h", ""))
    if form is not None and form not in FORMATS:
        return VariantRequest(wrong="fmt has to be webp, jpeg, png or avif.")
    if 0 in (width, height):
        return VariantRequest(wrong=f"w and h have to be from 1 to {LONGEST_SIDE}.")
    if quality != "auto" and not (
        quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100
    ):
        return VariantRequest(wrong="q has to be from 1 to 100, or auto.")
    lighter = bool(query.keys() & {"q", "quality"})
    return VariantRequest(width, height, form, None if quality == "auto" else int(quality), lighter)


def _side(text: str) -> int | None:
    """Pixels, None for no limit, 0 for what is no length."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        return 0
    return int(text) if int(text) <= LONGEST_SIDE else 0


def choose_format(kind: str, wish: VariantRequest) -> str:
    """The format that is asked for, or the picture's own; of a lossless one that is to be lighter
    WebP, which looks better.
    """
    if wish.form:
        return "jpeg" if wish.form == "jpg" else wish.form
    own = kind.partition("/")[2]
    if own in ("jpeg", "webp", "avif"):
        return own
    if kind in HEIF_TYPES:
        return "jpeg"
    return "webp" if wish.lighter else "png"


def render(file: OpenFile, form: str, wish: VariantRequest, memory: MemoryBudget) -> bytes:
    """The copy's bytes. ``form``: Pillow's name of the format. Waits for its share of ``memory``.
    Raises Unmakeable.
    """
    from PIL import Image

    if file.size > MOST_BYTES:
        raise VariantError(TOO_LARGE, 413)
    try:
        with memory.reserve(header_bytes(file)):
            reading, writing = _checked_costs(file, form, wish)
        if writing > memory.total:
            raise VariantError(TOO_LARGE_COPY, 413)
        with memory.reserve(max(reading, writing)):
            return _encoded(_rendered(file, wish), form, wish.quality)
    except VariantError:
        raise
    except (
        OverBudget,
        MemoryError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        raise VariantError(TOO_LARGE, 413) from None
    except Exception:  # Pillow's readers raise almost anything for broken files
        raise VariantError("This picture is broken.", 422) from None


def _opened(file: OpenFile) -> Image:
    from PIL import Image

    form = readable_types()[file.kind]
    if form == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return Image.open(BufferedReader(_Reader(file)), formats=(form,))


class _Reader(RawIOBase):
    """An open file to be read from a place of its own, so that several may read it at once."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        start = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._file.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(self._at, min(len(buffer), READ_AT_ONCE))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _checked_costs(file: OpenFile, form: str, wish: VariantRequest) -> tuple[int, int]:
    with _opened(file) as image:
        _check(image, file, wish)
        return costs(image, file, form, wish)


def _check(image: Image, file: OpenFile, wish: VariantRequest) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise VariantError(TOO_LARGE, 413)
    if wish.quality_only and getattr(image, "is_animated", False):
        raise VariantError("A moving picture would stand still.")
    width, height = _final_size(image, wish)
    if width * height > MOST_MADE_PIXELS:
        raise VariantError(TOO_LARGE_COPY, 413)
    if image.format == "JPEG" and image.info.get("progressive") and scans(file) > MOST_SCANS:
        raise VariantError("This picture has too many scans.", 422)


def header_bytes(file: OpenFile) -> int:
    """Memory that opening a picture may take: parts of its file, and the texts that a PNG unpacks."""
    return file.size + (unpacked_most(file) if file.kind == "image/png" else 0)


def costs(image: Image, file: OpenFile, form: str, wish: VariantRequest) -> tuple[int, int]:
    """Bytes of memory that it takes at most to read a picture at the size of a copy, and to write that.

    Of a moving picture the first frame is decoded. A JPEG is decoded at a fraction of its size, but a
    progressive one keeps all of its coefficients meanwhile. Changes the size that a JPEG will have.
    """
    whole = image.width * image.height
    final = _final_size(image, wish)
    beside = 0 if image.format == "GIF" else DECODING.get(image.format or "", 0)
    if image.format == "JPEG":  # two bytes for each component
        beside = max(beside, 2 * len(image.getbands())) if buffers_whole(file) else 0
    _decode_less(image, wish)
    decoded = image.width * image.height
    factor = _factor(image, final)
    reduced = decoded // factor**2
    copied = final[0] * final[1]
    copies = (not _is_plain(image, factor)) + _is_see_through(image)  # one is made for its edges
    held = header_bytes(file) + decoded * STORED.get(image.mode, WIDEST)
    resizing = (copies * reduced + final[0] * image.height // factor + copied) * WIDEST
    encoder = ENCODING[form][_is_see_through(image)]
    writing = header_bytes(file) + copied * (2 * WIDEST + encoder)
    if copied == whole:  # then the decoder is not gone yet
        writing += whole * beside
    return held + max(whole * beside, resizing), writing


def _orientation(image: Image) -> int:
    """The EXIF orientation, where Pillow has not turned the picture already. Broken EXIF is none."""
    from PIL import Image as Pictures

    if image.format in ("TIFF", "HEIF"):
        return 1
    try:
        # not a PNG's own method, which would decode it
        return int(Pictures.Image.getexif(image).get(ORIENTATION, 1))
    except Exception:  # Pillow's EXIF reader raises almost anything
        return 1


def _final_size(image: Image, wish: VariantRequest) -> tuple[int, int]:
    """Width and height of a copy, before it is turned."""
    limits = wish.width, wish.height
    if _orientation(image) >= SIDEWAYS:
        limits = limits[::-1]
    width, height = image.size
    share = min((limits[0] or width) / width, (limits[1] or height) / height, 1.0)
    return max(1, round(width * share)), max(1, round(height * share))


def _factor(image: Image, final: tuple[int, int]) -> int:
    """By how much a picture may be reduced before it is resized, without being seen."""
    share = min(image.width / final[0], image.height / final[1])
    gap = 1 if image.width * image.height > LARGE_PIXELS else REDUCING_GAP
    return max(1, int(share / gap))


def _decode_less(image: Image, wish: VariantRequest) -> None:
    """Let a JPEG be decoded at a fraction of its size, where that is still enough."""
    if image.format == "JPEG":
        width, height = _final_size(image, wish)
        image.draft(None, (width + 1, height + 1))


def _rendered(file: OpenFile, wish: VariantRequest) -> Image:
    """A picture as it is shown and as small as it is wished for; what else it holds is freed."""
    from PIL import Image as Pictures

    with _opened(file) as image:
        final = _final_size(image, wish)
        turn = _orientation(image)
        _decode_less(image, wish)
        image.load()
        factor = _factor(image, final)
        shown = _reduced(image, factor)
        if shown.size != final:
            box = (0.0, 0.0, image.width / factor, image.height / factor)
            shown = shown.resize(final, Pictures.Resampling.LANCZOS, box=box)
        turned = shown.transpose(Pictures.Transpose(TURNS[turn])) if turn in TURNS else shown
        turned.info = {"icc_profile": image.info.get("icc_profile")}
        return turned


TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation -> Pillow's Transpose."""


def _reduced(image: Image, factor: int) -> Image:
    """In eight bits and reduced, strip by strip, so that no second copy of a large one is held."""
    from PIL import Image as Pictures

    if _is_plain(image, factor):
        return image
    size = -(-image.width // factor), -(-image.height // factor)
    found = Pictures.new(_in_eight_bits(image.crop((0, 0, 1, 1))).mode, size)
    rows = factor * max(1, STRIP_PIXELS // (factor * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = _in_eight_bits(strip)
        found.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return found


def _is_plain(image: Image, factor: int) -> bool:
    """Whether a picture can be resized as it is."""
    direct = image.mode in ("L", "LA", "RGB", "RGBA") and not _has_clear_colour(image)
    return direct and factor == 1


def _has_clear_colour(image: Image) -> bool:
    return "transparency" in image.info


def _is_see_through(image: Image) -> bool:
    return "A" in image.getbands() or _has_clear_colour(image)


def _in_eight_bits(image: Image) -> Image:
    """A strip in a mode that can be resized. Of 16 bits the upper ones count; Pillow would take the
    lower ones and clip.
    """
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    if _has_clear_colour(image) or image.mode == "PA":
        return image.convert("RGBA")
    if image.mode in ("1", "P"):
        return image.convert("L" if image.mode == "1" else "RGB")
    return image


def _encoded(image: Image, form: str, quality: int | None) -> bytes:
    see_through = "A" in image.getbands()
    options: dict[str, Any] = {}
    if form == "JPEG":
        shown = _on_white(image) if see_through else image.convert("RGB")
        options = {"optimize": True, "progressive": True}
    else:
        shown = image
        if image.mode not in ("RGB", "RGBA", "L"):
            shown = image.convert("RGBA" if see_through else "RGB")
    if form in AUTO:
        small, large = AUTO[form]
        options["quality"] = quality or (small if max(shown.size) <= SMALL_SIDE else large)
    if form == "PNG":
        options["optimize"] = True
        if quality is not None and quality < 100:
            shown = shown.quantize(max(8, quality * 256 // 100))
    options["icc_profile"] = _profile(image, shown)
    buffer = BytesIO()
    shown.info.pop("exif", None)
    shown.save(buffer, form, **options)
    return buffer.getvalue()


def _profile(image: Image, shown: Image) -> bytes | None:
    """The colour profile, where it still fits (ICC.1:2022, 7.2: the colour space is at byte 16)."""
    profile = image.info.get("icc_profile") or b""
    fitting = b"GRAY" if shown.mode == "L" else b"RGB "
    return profile if profile[16:20] == fitting else None


def _on_white(image: Image) -> Image:
    from PIL import Image as Pictures

    layer = image.convert("RGBA")
    ground = Pictures.new("RGBA", layer.size, (255, 255, 255, 255))
    return Pictures.alpha_composite(ground, layer).convert("RGB")
