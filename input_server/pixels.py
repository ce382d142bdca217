"""A smaller or lighter copy of a picture, by Pillow, which is imported when the first one is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from .opened import OpenFile

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
LONGEST_SIDE = 8192
MOST_PIXELS = 64_000_000
MOST_BYTES = 64 * 2**20
MOST_MADE_PIXELS = 16_777_216
"""Of a copy: an encoder takes up to 50 bytes for each."""
SMALL_SIDE = 480
AUTO = {"WEBP": (72, 84), "JPEG": (74, 86), "AVIF": (50, 62)}
"""Quality of ``q=auto``: for thumbnails, and for pictures that are looked at."""
ORIENTATION, SIDEWAYS = 0x0112, 5
"""The EXIF tag, and the first of its values that swap width and height (EXIF 2.3, 4.6.4)."""


class Unmakeable(Exception):
    """What is asked for cannot be made of this file; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wish:
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
    def only_lighter(self) -> bool:
        """Whether the file itself would do as well, where no copy is as good and smaller."""
        return self.lighter and (self.width, self.height, self.form) == (None, None, None)


def wish_of(query: Mapping[str, str]) -> Wish | None:
    """What a query asks for; None for the file as it is. ``quality`` is ``q`` by another name."""
    if not query.keys() & {"w", "h", "fmt", "q", "quality"}:
        return None
    quality = query.get("q", query.get("quality", "auto")).lower()
    form = query.get("fmt", "").lower() or None
    width, height = _side(query.get("w", "")), _side(query.get("h", ""))
    if form is not None and form not in FORMATS:
        return Wish(wrong="fmt has to be webp, jpeg, png or avif.")
    if 0 in (width, height):
        return Wish(wrong=f"w and h have to be from 1 to {LONGEST_SIDE}.")
    if quality != "auto" and not (
        quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100
    ):
        return Wish(wrong="q has to be from 1 to 100, or auto.")
    lighter = bool(query.keys() & {"q", "quality"})
    return Wish(width, height, form, None if quality == "auto" else int(quality), lighter)


def _side(text: str) -> int | None:
    """Pixels, None for no limit, 0 for what is no length."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        return 0
    return int(text) if int(text) <= LONGEST_SIDE else 0


def fitting_form(kind: str, wish: Wish) -> str:
    """The picture's own format; of a lossless one that is to be lighter WebP, which looks better."""
    form = kind.partition("/")[2]
    if form in ("jpeg", "webp", "avif"):
        return form
    return "webp" if wish.lighter else "png"


def copy_of(file: OpenFile, form: str, wish: Wish) -> bytes:
    """The copy's bytes. ``form``: Pillow's name of the format. Raises Unmakeable."""
    from PIL import Image, ImageOps

    if file.size > MOST_BYTES:
        raise Unmakeable("This picture is too large to be made smaller.", 413)
    try:
        with Image.open(BytesIO(file.read(0, file.size)), formats=(READERS[file.kind],)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unmakeable("This picture is too large to be made smaller.", 413)
            if wish.only_lighter and getattr(image, "is_animated", False):
                raise Unmakeable("A moving picture would stand still.")
            _decode_less(image, wish)
            shown = ImageOps.exif_transpose(_in_eight_bits(image))
            shown.thumbnail(
                (wish.width or shown.width, wish.height or shown.height), Image.Resampling.LANCZOS
            )
            if shown.width * shown.height > MOST_MADE_PIXELS:
                raise Unmakeable("This would be too large; ask for a smaller w or h.", 413)
            return _encoded(shown, form, wish.quality)
    except Unmakeable:
        raise
    except Image.DecompressionBombError:
        raise Unmakeable("This picture is too large to be made smaller.", 413) from None
    except Exception:  # Pillow's readers raise almost anything for broken files
        raise Unmakeable("This picture is broken.", 422) from None


def _decode_less(image: Image, wish: Wish) -> None:
    """Let a JPEG be decoded at a fraction of its size, where that is still enough."""
    if image.format != "JPEG":
        return
    limits = (wish.width or image.width, wish.height or image.height)
    if image.getexif().get(ORIENTATION, 1) >= SIDEWAYS:
        limits = (wish.height or image.width, wish.width or image.height)
    share = min(limits[0] / image.width, limits[1] / image.height, 1.0)
    image.draft(None, (int(image.width * share) + 1, int(image.height * share) + 1))


def _in_eight_bits(image: Image) -> Image:
    """A picture of 16 bits with the upper ones; Pillow would take the lower ones and clip."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")


def _encoded(image: Image, form: str, quality: int | None) -> bytes:
    see_through = "A" in image.getbands() or "transparency" in image.info
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
