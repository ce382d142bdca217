"""Thumbnails of images that browsers show although they are unusual: long strips, cut-off JPEGs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from input_server.gallery.routes import BROWSER_VIEW, THUMBNAIL
from tests.input_server.gallery_harness import KEY, GalleryHarness

FILES = f"/comfyui_server/pw={KEY}/files/m/"


def variant(harness: GalleryHarness, name: str, query: str) -> Image.Image:
    return Image.open(io.BytesIO(content(harness, f"{name}?{query}")))


def content(harness: GalleryHarness, path: str) -> bytes:
    response = harness.server.answer(harness.request(FILES + path))
    assert response.status == 200, response.body
    assert response.file is not None
    found = response.file.read(0, response.file.size)
    harness.server.files.release(response.file)
    return found


@pytest.mark.parametrize("size", [(300, 17_000), (17_000, 300), (700, 20_000), (1, 60_000)])
@pytest.mark.parametrize("query", [THUMBNAIL, BROWSER_VIEW])
def test_the_variants_of_the_gallery_are_bounded_both_ways(
    harness: GalleryHarness, size: tuple[int, int], query: str
) -> None:
    Image.new("L", size, 90).save(harness.folder / "a.png")
    found = variant(harness, "a.png", query)
    sides = {"w": found.width, "h": found.height}
    for name, limit in (part.split("=") for part in query.split("&")[:2]):
        assert sides[name] <= int(limit)
    assert found.convert("L").getpixel((0, 0)) in range(85, 96)


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("w=320&fmt=webp&q=auto", (289, 16_383)),
        ("fmt=webp", (289, 16_383)),
        ("h=99999&fmt=webp", None),
        ("w=200&fmt=webp", (200, 11_333)),
        ("fmt=jpeg", (300, 17_000)),
        ("w=299&fmt=png", (299, 16_943)),
    ],
)
def test_a_strip_becomes_as_long_as_the_format_allows(
    harness: GalleryHarness, query: str, size: tuple[int, int] | None
) -> None:
    Image.new("L", (300, 17_000), 90).save(harness.folder / "a.png")
    if size is None:
        assert harness.ask(f"{FILES}a.png?{query}").status == 400
    else:
        assert variant(harness, "a.png", query).size == size


def test_a_quality_alone_does_not_shrink_a_strip(harness: GalleryHarness) -> None:
    path = harness.folder / "a.png"
    Image.new("L", (300, 17_000), 90).save(path)
    assert content(harness, "a.png?q=80") == path.read_bytes()


def jpeg(path: Path, options: dict[str, bool]) -> bytes:
    image = Image.linear_gradient("L").resize((320, 480)).convert("RGB")
    image.save(path, "JPEG", quality=90, **options)
    return path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("missing", [1, 2, 3, 10, 40, 1000])
def test_a_jpeg_that_lacks_its_end_is_shown_as_far_as_it_goes(
    harness: GalleryHarness, missing: int, options: dict[str, bool]
) -> None:
    path = harness.folder / "a.jpg"
    path.write_bytes(jpeg(path, options)[:-missing])
    found = variant(harness, "a.jpg", THUMBNAIL)
    assert found.size == (320, 480)
    levels = [found.convert("L").getpixel((160, row)) for row in (20, 120)]
    assert levels == [pytest.approx(10, abs=12), pytest.approx(64, abs=12)]


@pytest.mark.parametrize("length", [0, 2, 20, 200, 400])
def test_a_jpeg_without_picture_data_stays_an_error(harness: GalleryHarness, length: int) -> None:
    path = harness.folder / "a.jpg"
    path.write_bytes(jpeg(path, {})[:length])
    assert harness.ask(f"{FILES}a.jpg?w=32").status in (400, 422)
