"""PNG files that are too large to be decoded as a whole are reduced in bands of rows."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageChops

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import image_convert, large_png
from comfyui_pipeline.media.image_memory import ImageMemory
from tests.media.broken_files import png_of

SMALL = ImageMemory(8 * 2**20)
"""Less than a picture of three megapixels takes."""


def picture(mode: str, size: tuple[int, int] = (1200, 900)) -> Image.Image:
    """A smooth picture with structure in both directions; smooth ones use every filter of PNG."""
    red = Image.linear_gradient("L").resize(size)
    green = red.transpose(Image.Transpose.ROTATE_90).resize(size)
    blue = Image.radial_gradient("L").resize(size)
    alpha = ImageChops.invert(blue).point(lambda value: 40 + value // 2)
    image = Image.merge("RGBA", (red, green, blue, alpha))
    return image if mode == "RGBA" else image.convert(mode)


def encoded(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def furthest(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of a channel."""
    difference: Any = ImageChops.difference(one, other).getextrema()
    return max(
        high for _, high in (difference if isinstance(difference[0], tuple) else [difference])
    )


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("band", [1, 20_000, 10**9])
def test_bands_are_decoded_as_the_whole_is(
    monkeypatch: pytest.MonkeyPatch, mode: str, band: int
) -> None:
    monkeypatch.setattr(large_png, "BAND_BYTES", band)
    image = picture(mode)
    smaller = large_png.reduced_png(encoded(image), 100)
    assert smaller is not None
    plain = image.convert("RGBA") if mode == "P" else image
    assert opened(smaller).size == (200, 150)
    assert opened(smaller).mode == plain.mode
    assert furthest(opened(smaller), plain.reduce(6)) <= 1


def test_transparent_colors_stay_transparent() -> None:
    image = picture("L").point(lambda value: 7 if value < 128 else value)
    smaller = large_png.reduced_png(encoded(image, transparency=7), 100)
    assert smaller is not None
    alpha = opened(smaller).getchannel("A")
    assert alpha.getextrema() == (0, 255)


def test_an_image_beyond_the_memory_is_accepted_with_a_longest_side() -> None:
    content = encoded(picture("RGB", (2000, 1500)))
    done = image_convert.prepare_image(content, "it", max_side=256, memory=SMALL)
    assert opened(done.content).size == (256, 192)
    assert done.done == ("reduced to 256 pixels",)
    whole = image_convert.prepare_image(content, "it", max_side=256)
    assert furthest(opened(done.content), opened(whole.content)) <= 3


def test_the_exif_orientation_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture("RGB", (2000, 1500)), exif=exif)
    done = image_convert.prepare_image(content, "it", max_side=256, memory=SMALL)
    assert opened(done.content).size == (192, 256)


def test_without_a_longest_side_the_error_says_how_it_is_accepted() -> None:
    content = encoded(picture("RGB", (2000, 1500)))
    with pytest.raises(MediaError) as caught:
        image_convert.prepare_image(content, "it", memory=SMALL)
    assert 'pass "max_side"' in str(caught.value)


def interlaced() -> bytes:
    content = bytearray(png_of(2000, 1500, 8, 2))
    content[28] = 1
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        png_of(2000, 1500, 16, 0),
        interlaced(),
        png_of(2000, 1500, 8, 2)[:-60],
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\5IHDR12345" + bytes(4),
    ],
    ids=["16 bits", "interlaced", "cut off", "short header"],
)
def test_what_bands_cannot_read_is_refused_as_before(content: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        image_convert.prepare_image(content, "it", max_side=512, memory=SMALL)
    assert "max_side" not in str(caught.value)


def test_an_image_that_would_not_get_smaller_is_left() -> None:
    assert large_png.reduced_png(encoded(picture("RGB")), 400) is None
