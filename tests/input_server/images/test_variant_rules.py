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
from input_server.settings import Config, read
from tests.input_server.gallery_harness import KEY
from tests.input_server.images.test_image_memory import flat_png

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"
NAMES = ("a", "b.png")


def configured(**settings: str) -> Config:
    return read({"COMFYUI_ACCESS_KEY": "a-long-enough-key", **settings})


@pytest.mark.parametrize(
    ("asked", "wish"),
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
def test_what_is_asked_for(asked: dict[str, str], wish: VariantRequest) -> None:
    assert parse_variant_request(asked) == wish


def test_the_format_that_fits() -> None:
    kinds = ("image/jpeg", "image/webp", "image/avif", "image/png", "image/gif", "image/heic")
    assert [choose_format(kind, VariantRequest(10)) for kind in kinds] == [
        "jpeg",
        "webp",
        "avif",
        "png",
        "png",
        "jpeg",
    ]
    lighter = VariantRequest(10, lossy=True)
    assert [choose_format(kind, lighter) for kind in kinds] == [
        "jpeg",
        "webp",
        "avif",
        "webp",
        "webp",
        "jpeg",
    ]
    assert choose_format("image/png", VariantRequest(format="jpg")) == "jpeg"
    assert [
        lighter.quality_only,
        VariantRequest(lossy=True).quality_only,
        VariantRequest().quality_only,
    ] == [
        False,
        True,
        False,
    ]


def opened(folder: Path, name: str, content: bytes) -> OpenFile:
    (folder / name).write_bytes(content)
    return OpenFileCache(0).acquire(Mount("m", folder), (name,))


@pytest.mark.parametrize(("form", "small", "large"), [("WEBP", 72, 84), ("JPEG", 74, 86)])
def test_thumbnails_up_to_480_have_the_lower_quality(
    tmp_path: Path, form: str, small: int, large: int
) -> None:
    budget = MemoryBudget(2**28)
    buffer = io.BytesIO()
    Image.effect_noise((481, 300), 60).save(buffer, "PNG")
    file = opened(tmp_path, "a.png", buffer.getvalue())
    try:
        for width, quality in ((480, small), (481, large)):
            auto = render(file, form, VariantRequest(width), budget)
            assert auto == render(file, form, VariantRequest(width, quality=quality), budget)
    finally:
        os.close(file.descriptor)
    assert DEFAULT_QUALITY["AVIF"] == (50, 62)


@pytest.mark.parametrize(
    ("width", "height", "wish", "fits"),
    [
        (8000, 8000, VariantRequest(10), True),
        (8001, 8000, VariantRequest(10), False),
        (4096, 4096, VariantRequest(), True),
        (4097, 4096, VariantRequest(), False),
    ],
)
def test_most_pixels(
    tmp_path: Path, width: int, height: int, wish: VariantRequest, fits: bool
) -> None:
    file = opened(tmp_path, "a.png", flat_png(width, height, 1, 0))
    try:
        if fits:
            render_cost.estimate(file, "JPEG", wish)
        else:
            with pytest.raises(VariantError, match="too large"):
                render_cost.estimate(file, "JPEG", wish)
    finally:
        os.close(file.descriptor)


def test_a_file_of_more_than_64_mb_is_not_opened(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.png", flat_png(10, 10, 8, 0))
    os.truncate(tmp_path / "a.png", 64 * 2**20 + 1)
    try:
        assert render(replace(file, size=64 * 2**20), "PNG", VariantRequest(5), MemoryBudget(2**28))
        with pytest.raises(VariantError, match="too large"):
            render(
                replace(file, size=64 * 2**20 + 1), "PNG", VariantRequest(5), MemoryBudget(2**28)
            )
    finally:
        os.close(file.descriptor)


def test_which_texts_are_compressed(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.txt", b"x")
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


def test_copies_of_the_last_seconds_and_those_that_fit_stay(tmp_path: Path) -> None:
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
    assert len(list(copies.iterdir())) == 3, "it does not look each time"
    cache._evict(1)
    assert sorted(path.name for path in copies.iterdir()) == ["3.png"]
    (copies / "5.png").write_bytes(bytes(2 * 2**20))
    cache._evict(2**20)
    assert (copies / "5.png").exists(), "it has just been asked for"
