"""Open an image file with Pillow, and calculate the size of a variant of it."""

from __future__ import annotations

from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any

from ..mounts.open_files import OpenFile
from .formats import readable_types
from .variant_request import VariantRequest

if TYPE_CHECKING:
    from PIL.Image import Image

READ_BYTES = 2**20
"""Largest number of bytes per read."""
MAX_GAP, LARGE_PIXELS = 2, 16_000_000
"""An image is reduced by an integer factor to no less than ``MAX_GAP`` times the target size before
it is resized; images of more than ``LARGE_PIXELS`` right to the target size, which takes less memory."""
JPEG_END = b"\xff\xd9"
"""Marker EOI (ITU-T T.81, table B.1). With one behind its last byte, a JPEG that is cut off is decoded as
far as it goes and the rest is grey, as in browsers."""
ORIENTATION, FIRST_SIDEWAYS = 0x0112, 5
"""The EXIF tag, and the first value that swaps width and height (EXIF 2.3, 4.6.4)."""


def open_image(file: OpenFile) -> Image:
    """Open an image without decoding it, with the one decoder that fits its detected type."""
    from PIL import Image as PillowImage

    # render_cost.check_limits decides what is too large; Pillow would log a warning
    PillowImage.MAX_IMAGE_PIXELS = None
    decoder = readable_types()[file.kind]
    if decoder == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    end = JPEG_END if decoder == "JPEG" else b""
    return PillowImage.open(BufferedReader(_FileReader(file, end)), formats=(decoder,))


class _FileReader(RawIOBase):
    """A stream with its own position over a shared open file, so that threads can read it at once.

    ``end`` follows the content of the file.
    """

    def __init__(self, file: OpenFile, end: bytes) -> None:
        self._file = file
        self._end = end
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        start = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    @property
    def _size(self) -> int:
        return self._file.size + len(self._end)

    def _content(self, length: int) -> bytes:
        behind = self._position - self._file.size
        if behind >= 0:
            return self._end[behind : behind + length]
        return self._file.read(self._position, length)

    def readinto(self, buffer: Any) -> int:
        content = self._content(min(len(buffer), READ_BYTES))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def orientation(image: Image) -> int:
    """The EXIF orientation (1 to 8); 1 if it is missing or invalid, or Pillow applies it itself."""
    from PIL import Image as PillowImage

    if image.format in ("TIFF", "HEIF"):
        return 1
    try:
        # the method of the base class: that of PNG images would decode them
        value = int(PillowImage.Image.getexif(image).get(ORIENTATION, 1))
    except Exception:  # Pillow's EXIF reader raises almost anything
        return 1
    return value if 1 <= value <= 8 else 1


def target_size(image: Image, request: VariantRequest) -> tuple[int, int]:
    """Width and height of the variant in pixels, before its orientation is applied."""
    limits = request.width, request.height
    if orientation(image) >= FIRST_SIDEWAYS:
        limits = limits[::-1]
    width, height = image.size
    scale = min((limits[0] or width) / width, (limits[1] or height) / height, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def reduce_factor(image: Image, target: tuple[int, int]) -> int:
    """The integer by which an image can be reduced before it is resized, without a visible loss."""
    scale = min(image.width / target[0], image.height / target[1])
    gap = 1 if image.width * image.height > LARGE_PIXELS else MAX_GAP
    return max(1, int(scale / gap))


def use_draft_size(image: Image, request: VariantRequest) -> None:
    """Let a JPEG be decoded at a fraction of its size if that is large enough. Changes ``image.size``."""
    if image.format == "JPEG":
        width, height = target_size(image, request)
        image.draft(None, (width + 1, height + 1))


def has_transparent_color(image: Image) -> bool:
    """Whether one color or palette entry is transparent (PNG tRNS, GIF)."""
    return "transparency" in image.info


def has_transparency(image: Image) -> bool:
    return "A" in image.getbands() or has_transparent_color(image)


def is_directly_resizable(image: Image) -> bool:
    """Whether Pillow can resize the pixels without converting them."""
    return image.mode in ("L", "LA", "RGB", "RGBA") and not has_transparent_color(image)
