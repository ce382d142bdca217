"""Images that Pillow rejects although browsers and ComfyUI read them: made readable without loss."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from io import BytesIO

from input_server.images import containers

from . import image_decode, image_structure
from .file_types import Kind
from .image_memory import ImageMemory

NEARLY_COMPLETE = 0.95
"""Share of a JPEG's rows that must be present for one without its end, as in browsers."""
MAX_PNG_TEXT = 2**20
"""Bytes of one text that Pillow reads (PngImagePlugin.MAX_TEXT_CHUNK); ComfyUI writes longer ones."""
_MAX_PNG_TEXTS = 32 * MAX_PNG_TEXT
"""Bytes of all texts."""
_MAX_PACKED_TEXT = 1000
"""Bytes of a compressed text that is kept without unpacking it to learn its length."""
_PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PNG_PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_MAX_PROFILE = 4 * 2**20
"""Bytes of an unpacked profile that are checked."""
_END_OF_IMAGE = b"\xff\xd9"  # ITU-T T.81, table B.1
_JPEG_TAIL = 2**16
"""Bytes at the end in which the end marker is looked for: some cameras append data."""


def repaired(
    content: bytes, kind: Kind, memory: ImageMemory, *, broken: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """Return content that Pillow reads, and what was changed in words.

    A JPEG gets its missing end marker when nearly all of it is there; long texts of a PNG are
    dropped. ``broken``: Pillow has failed to read the content.
    """
    if kind.format == "png":
        content = without_long_texts(content)
        usable = without_broken_profile(content)
        return usable, () if usable is content else ("its color profile is broken",)
    if kind.format != "jpeg" or not (broken or _END_OF_IMAGE not in content[-_JPEG_TAIL:]):
        return content, ()
    share = _share_of_rows(content, kind, memory)
    if share is None or share < NEARLY_COMPLETE:
        return content, ()
    return content + _END_OF_IMAGE, ("its last bytes are missing, which is hardly visible",)


def without_long_texts(content: bytes) -> bytes:
    """The same PNG without its texts if one of them is too long for Pillow; else ``content`` itself."""
    parts, at, dropped, too_long = [content[:8]], 8, 0, False
    with suppress(struct.error):  # the file is cut off
        for chunk in containers.png_chunks(containers.bytes_reader(content)):
            end = chunk.start + chunk.length + 4
            if end > len(content):
                break
            if chunk.name in _PNG_TEXTS:
                packed = chunk.name != b"tEXt" and chunk.length > _MAX_PACKED_TEXT
                too_long = too_long or packed or chunk.length > MAX_PNG_TEXT
                dropped += chunk.length
            else:
                parts.append(content[at:end])
            at = end
    if not (too_long or dropped > _MAX_PNG_TEXTS):
        return content
    return b"".join([*parts, content[at:]])


def without_broken_profile(content: bytes) -> bytes:
    """The same PNG without a profile that cannot be unpacked, which FFmpeg and so ComfyUI refuses."""
    with suppress(struct.error):  # the file is cut off
        for chunk in containers.png_chunks(containers.bytes_reader(content)):
            end = chunk.start + chunk.length
            if chunk.name == b"IDAT":
                break
            if chunk.name == b"iCCP" and not _unpacks(content[chunk.start : end]):
                return content[: chunk.start - 8] + content[end + 4 :]
    return content


def _unpacks(profile: bytes) -> bool:
    """Whether the content of an iCCP chunk is a name and a complete stream (PNG 3rd edition, 11.3.2.3)."""
    _, _, packed = profile.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(packed[1:], _MAX_PROFILE)
    except zlib.error:
        return False
    return inflate.eof or bool(inflate.unconsumed_tail)


def valid_chunks(content: bytes) -> bytes:
    """The chunks of a PNG that hold its picture, as far as they are there, with right checksums."""
    parts = [content[:8]]
    with suppress(struct.error):  # the file is cut off
        for chunk in containers.png_chunks(containers.bytes_reader(content)):
            if chunk.name in _PNG_PICTURE:
                data = content[chunk.start : chunk.start + chunk.length]
                parts.append(containers.png_chunk(chunk.name, data))
    return b"".join(parts)


def _share_of_rows(content: bytes, kind: Kind, memory: ImageMemory) -> float | None:
    """How much of a cut-off JPEG is there: without its last byte only the rows behind that differ.

    None when it cannot be decoded, or not within the memory.
    """
    from PIL import ImageChops

    if not image_structure.jpeg_has_scan(BytesIO(content)):
        return None
    try:
        with (
            image_decode.open_image(BytesIO(content + _END_OF_IMAGE), kind, memory, "") as (
                image,
                measured,
            ),
            image_decode.open_image(BytesIO(content[:-1] + _END_OF_IMAGE), kind, memory, "") as (
                shorter,
                _,
            ),
        ):
            needed = 2 * image_decode.reserve(image, measured, memory, "")
            image_decode.refuse_above(memory, needed, image.size, "")
            with memory.use(needed):
                box = ImageChops.difference(image, shorter).getbbox()
                width, height = image.size
    except Exception:  # MediaError, or whatever Pillow raises
        return None
    if box is None:
        return 1.0
    return (box[1] + box[0] / width * (height - box[1])) / height
