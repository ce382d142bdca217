"""Which variants are rendered, in which format, quality and size, and when they are deleted."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from input_server.images import (
    render_cost,
    variants,
)
from input_server.images.memory import MemoryBudget
from input_server.images.render import render
from input_server.images.variant_request import (
    DEFAULT_QUALITY,
    VariantError,
    VariantRequest,
    choose_format,
    parse_variant_request,
)
from input_server.images.variants import VariantCache
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFile, OpenFileCache
from tests.input_server.images.test_image_memory import flat_png


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"w": "8192"}, VariantRequest(8192)),
        ({"w": "8193"}, VariantRequest(error="w and h must be from 1 to 8192.")),
        ({"h": "1"}, VariantRequest(height=1)),
        ({"q": "1"}, VariantRequest(quality=1, lossy=True)),
        ({"q": "100"}, VariantRequest(quality=100, lossy=True)),
        ({"q": "101"}, VariantRequest(error="q must be from 1 to 100, or auto.")),
        ({"q": "AUTO"}, VariantRequest(lossy=True)),
        ({"quality": "5", "q": "6"}, VariantRequest(quality=6, lossy=True)),
        ({"fmt": "WEBP"}, VariantRequest(format="webp")),
        ({"w": ""}, VariantRequest()),
    ],
)
def test_parsed_variant_requests(query: dict[str, str], expected: VariantRequest) -> None:
    assert parse_variant_request(query) == expected


def test_the_output_format_depends_on_the_source() -> None:
    kinds = ("image/jpeg", "image/webp", "image/avif", "image/png", "image/gif", "image/heic")
    assert [choose_format(kind, VariantRequest(10)) for kind in kinds] == [
        "jpeg",
        "webp",
        "avif",
        "png",
        "png",
        "jpeg",
    ]
    smaller = VariantRequest(10, lossy=True)
    assert [choose_format(kind, smaller) for kind in kinds] == [
        "jpeg",
        "webp",
        "avif",
        "webp",
        "webp",
        "jpeg",
    ]
    assert choose_format("image/png", VariantRequest(format="jpg")) == "jpeg"
    assert [
        smaller.quality_only,
        VariantRequest(lossy=True).quality_only,
        VariantRequest().quality_only,
    ] == [
        False,
        True,
        False,
    ]


def open_file(folder: Path, name: str, content: bytes) -> OpenFile:
    (folder / name).write_bytes(content)
    return OpenFileCache(0).acquire(Mount("m", folder), (name,))


@pytest.mark.parametrize(("form", "small", "large"), [("WEBP", 72, 84), ("JPEG", 74, 86)])
def test_thumbnails_up_to_480_have_the_lower_quality(
    tmp_path: Path, form: str, small: int, large: int
) -> None:
    budget = MemoryBudget(2**28)
    buffer = io.BytesIO()
    Image.effect_noise((481, 300), 60).save(buffer, "PNG")
    file = open_file(tmp_path, "a.png", buffer.getvalue())
    try:
        for width, quality in ((480, small), (481, large)):
            auto = render(file, form, VariantRequest(width), budget)
            assert auto == render(file, form, VariantRequest(width, quality=quality), budget)
    finally:
        os.close(file.descriptor)
    assert DEFAULT_QUALITY["AVIF"] == (50, 62)


@pytest.mark.parametrize(
    ("width", "height", "variant", "accepted"),
    [
        (8000, 8000, VariantRequest(10), True),
        (8001, 8000, VariantRequest(10), False),
        (4096, 4096, VariantRequest(), True),
        (4097, 4096, VariantRequest(), False),
    ],
)
def test_the_number_of_pixels_is_limited(
    tmp_path: Path, width: int, height: int, variant: VariantRequest, accepted: bool
) -> None:
    file = open_file(tmp_path, "a.png", flat_png(width, height, 1, 0))
    try:
        if accepted:
            render_cost.estimate(file, "JPEG", variant)
        else:
            with pytest.raises(VariantError, match="too large"):
                render_cost.estimate(file, "JPEG", variant)
    finally:
        os.close(file.descriptor)


def test_a_file_above_64_mb_is_not_rendered(tmp_path: Path) -> None:
    file = open_file(tmp_path, "a.png", flat_png(10, 10, 8, 0))
    os.truncate(tmp_path / "a.png", 64 * 2**20 + 1)
    try:
        assert render(replace(file, size=64 * 2**20), "PNG", VariantRequest(5), MemoryBudget(2**28))
        with pytest.raises(VariantError, match="too large"):
            render(
                replace(file, size=64 * 2**20 + 1), "PNG", VariantRequest(5), MemoryBudget(2**28)
            )
    finally:
        os.close(file.descriptor)


def test_texts_are_compressed_by_size_and_type(tmp_path: Path) -> None:
    file = open_file(tmp_path, "a.txt", b"x")
    os.close(file.descriptor)
    copies = VariantCache(tmp_path / "copies", 1)
    sizes = [1023, 1024, 16 * 2**20, 16 * 2**20 + 1]
    assert [copies.is_compressible(replace(file, size=size)) for size in sizes] == [
        False,
        True,
        True,
        False,
    ]
    assert not copies.is_compressible(replace(file, size=2000, kind="image/png"))
    assert (variants.MIN_TEXT_BYTES, variants.MAX_TEXT_BYTES) == (1024, 16 * 2**20)


def test_recent_variants_and_those_within_the_limit_are_not_evicted(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    now = time.time()
    for number, age in enumerate((100, 90, 80, 1)):
        (copies / f"{number}.png").write_bytes(bytes(400_000))
        os.utime(copies / f"{number}.png", (now - age, now - age))
    cache = VariantCache(copies, 1)
    cache._evict(2**20)
    assert sorted(path.name for path in copies.iterdir()) == ["2.png", "3.png"]
    cache._evict(2**20 // 20 - 1)
    (copies / "4.png").write_bytes(bytes(2**20))
    os.utime(copies / "4.png", (now - 70, now - 70))
    assert len(list(copies.iterdir())) == 3, "the folder is not scanned each time"
    cache._evict(1)
    assert sorted(path.name for path in copies.iterdir()) == ["3.png"]
    (copies / "5.png").write_bytes(bytes(2 * 2**20))
    cache._evict(2**20)
    assert (copies / "5.png").exists(), "it was requested just now"
