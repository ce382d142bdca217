"""The size that the gallery names is that of the picture as it is shown."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from input_server.images.embedded_texts import ImageBytes, read_embedded
from input_server.images.formats import readable_types
from tests.input_server.gallery_harness import KEY, GalleryHarness
from tests.input_server.images.tagged_files import box

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "avif": "AVIF", "tif": "TIFF"}
STILL = {**FORMATS, "gif": "GIF", "bmp": "BMP", "jfif": "JPEG", "apng": "PNG"}
ANIMATED = {"gif": "GIF", "webp": "WEBP", "apng": "PNG", "avif": "AVIF"}


def size_of(harness: GalleryHarness, suffix: str, form: str, **options: Any) -> tuple[int, int]:
    Image.new("RGB", (61, 30), (20, 90, 160)).save(harness.folder / f"a.{suffix}", form, **options)
    info = harness.json(f"info?path=a.{suffix}")
    return info["width"], info["height"]


@pytest.mark.parametrize("suffix", STILL)
def test_the_size_of_every_format_is_told(harness: GalleryHarness, suffix: str) -> None:
    assert size_of(harness, suffix, STILL[suffix]) == (61, 30)


@pytest.mark.parametrize("suffix", ANIMATED)
def test_the_size_of_animations_is_told(harness: GalleryHarness, suffix: str) -> None:
    other = Image.new("RGB", (61, 30), (200, 9, 9))
    found = size_of(harness, suffix, ANIMATED[suffix], save_all=True, append_images=[other])
    assert found == (61, 30)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("value", range(10))
def test_the_size_follows_the_orientation_as_the_thumbnail_does(
    harness: GalleryHarness, suffix: str, value: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    found = size_of(harness, suffix, FORMATS[suffix], exif=exif)
    assert found == ((30, 61) if 5 <= value <= 8 else (61, 30))
    reply = harness.server.answer(
        harness.request(f"/comfyui_server/pw={KEY}/files/m/a.{suffix}?w=90&fmt=png")
    )
    assert reply.file is not None
    assert Image.open(io.BytesIO(reply.file.read(0, reply.file.size))).size == found
    harness.server.files.release(reply.file)


@pytest.mark.skipif("image/heic" not in readable_types(), reason="needs pillow-heif")
def test_the_size_of_a_heic_is_that_of_its_visible_part(harness: GalleryHarness) -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    assert size_of(harness, "heic", "HEIF") == (61, 30)


def test_the_size_of_the_primary_item_counts() -> None:
    """As in photographs of phones: tiles of 512 pixels, and the picture that they make, turned."""
    sizes = [struct.pack(">4xII", *size) for size in ((512, 512), (4032, 3024))]
    properties = box(b"ipco", b"".join(box(b"ispe", one) for one in sizes) + box(b"irot", b"\1"))
    items = [(1, [1]), (2, [1]), (49, [2, 3])]
    listed = b"".join(
        struct.pack(">HB", number, len(uses)) + bytes(0x80 | use for use in uses)
        for number, uses in items
    )
    associations = box(b"ipma", bytes(4) + struct.pack(">I", len(items)) + listed)
    primary = box(b"pitm", struct.pack(">IH", 0, 49))
    content = box(b"ftyp", b"heic" + bytes(8)) + box(
        b"meta", bytes(4) + primary + box(b"iprp", properties + associations)
    )
    found = read_embedded(ImageBytes(content, "image/heic"))
    assert (found.width, found.height) == (3024, 4032)


def test_a_bitmap_of_negative_height_and_an_old_one() -> None:
    top_down = b"BM" + bytes(12) + struct.pack("<Iii", 40, 61, -30) + bytes(30)
    old = b"BM" + bytes(12) + struct.pack("<IHH", 12, 61, 30) + bytes(30)
    for content in (top_down, old):
        found = read_embedded(ImageBytes(content, "image/bmp"))
        assert (found.width, found.height) == (61, 30)


@pytest.mark.parametrize(("order", "mark"), [("<", b"II*\0"), (">", b"MM\0*")])
def test_a_tiff_of_either_byte_order(order: str, mark: bytes) -> None:
    entries = struct.pack(f"{order}HHIHHHHIHH", 256, 3, 1, 61, 0, 257, 3, 1, 30, 0)
    content = mark + struct.pack(f"{order}I5xH", 13, 2) + entries
    found = read_embedded(ImageBytes(content, "image/tiff"))
    assert (found.width, found.height) == (61, 30)


@pytest.mark.parametrize("suffix", STILL)
def test_a_broken_header_has_no_size(harness: GalleryHarness, suffix: str) -> None:
    size_of(harness, suffix, STILL[suffix])
    path = harness.folder / f"a.{suffix}"
    content = path.read_bytes()
    for end in range(0, min(len(content), 400), 7):
        path.write_bytes(content[:end])
        assert harness.ask(f"/comfyui_server/pw={KEY}/gallery/m/info?path=a.{suffix}").status == 200
