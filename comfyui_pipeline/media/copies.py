"""Copies of result images in another format, or without the prompt and workflow inside them."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from input_server.light_dataclasses import dataclass

from ..errors import MediaError
from . import result_files
from .file_types import Kind
from .image_memory import ImageMemory

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {
    "png": ("PNG", ".png"),
    "jpeg": ("JPEG", ".jpg"),
    "webp": ("WEBP", ".webp"),
    "avif": ("AVIF", ".avif"),
    "bmp": ("BMP", ".bmp"),
    "tiff": ("TIFF", ".tif"),
    "gif": ("GIF", ".gif"),
}
"""Format -> Pillow's name of it, and the extension."""
DEFAULT_QUALITY = 90
MAX_SIDE = 2**24
"""No limit of its own: the memory for decoding limits the size."""
SAME_FORMAT: Mapping[str, str] = {"jpg": "jpeg", "jfif": "jpeg", "jpe": "jpeg", "tif": "tiff"}
LOSSY = frozenset({"jpeg", "webp", "avif"})
"""Formats that have a quality."""
COPY_NOTE = "Each image is a copy"
"""The beginning of notes on copies of images."""


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """``format``: one of ``FORMATS``, "" for that of the original; ``quality``: 1 to 100."""

    format: str = ""
    quality: int | None = None
    strip_metadata: bool = False

    def applies_to(self, kind: Kind) -> bool:
        """Whether an image of this kind is to be copied: a still one that is not as requested."""
        if kind.kind != "image" or (kind.frames or 1) > 1:
            return False
        other = self.format in FORMATS and self.format != kind.format
        return other or self.strip_metadata


def normalize_format(text: str) -> str:
    """``.JPG``, ``image/jpeg`` -> ``jpeg``."""
    word = text.strip().lower().rpartition("/")[2].lstrip(".")
    return SAME_FORMAT.get(word, word)


def make_copy(
    path: Path, relative: str, request: CopyRequest, root: Path, memory: ImageMemory
) -> result_files.StoredFile:
    """Store a copy of the image below ``root``, in the folder and under the name of ``relative``.

    Raises MediaError for an image that cannot be decoded or encoded.
    """
    from .image_convert import first_frame

    name = PurePosixPath(relative)
    try:
        with path.open("rb") as file:
            image = first_frame(file, name.name, MAX_SIDE, memory)
        with image:
            form = request.format if request.format in FORMATS else _form_of(name)
            content = _encoded(image, form, request.quality)
    except MediaError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise MediaError(f"it could not be converted ({type(error).__name__})") from error
    stem = f"{name.stem}_copy" if FORMATS[form][1] == name.suffix.lower() else name.stem
    folder = "" if str(name.parent) == "." else str(name.parent)
    return result_files.store([content], root, folder, stem + FORMATS[form][1], memory=memory)


def _form_of(name: PurePosixPath) -> str:
    """The format of a file name; PNG where there is no copy in its own."""
    suffix = name.suffix.lower()
    return {ext: form for form, (_, ext) in FORMATS.items()}.get(
        suffix, "jpeg" if suffix == ".jpeg" else "png"
    )


def _encoded(image: Image, form: str, quality: int | None) -> bytes:
    """The image in a format, with nothing but its pixels. Raises what Pillow raises."""
    from PIL import Image as pillow

    if form not in FORMATS:
        raise MediaError(f"there is no encoder for {form}")
    if form in ("jpeg", "bmp") and image.mode == "RGBA":
        white = pillow.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    options: dict[str, Any] = {}
    if form in ("jpeg", "webp", "avif"):
        options["quality"] = quality or DEFAULT_QUALITY
    image.info = {}
    buffer = BytesIO()
    image.save(buffer, FORMATS[form][0], **options)
    return buffer.getvalue()
