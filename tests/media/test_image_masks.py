"""Masks: what is white or opaque is repainted, whichever channel a loader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import image_masks
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.download import DownloadPolicy
from tests.media.input_folder import Server, open_image, place, place_masked, png, save_image

SIZE = (8, 4)
LEFT = (0, 0, 4, 4)


def painted(mode: str, ground: Any, paint: Any) -> Image.Image:
    """The left half is to be repainted."""
    image = Image.new(mode, SIZE, ground)
    image.paste(paint, LEFT)
    return image


def with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(painted("L", 0, 255))
    return image


def deep() -> Image.Image:
    """Of sixteen bits."""
    rows = bytes(([96, 234] * 4 + [0, 0] * 4) * SIZE[1])  # 60000 and 0, little endian
    return Image.frombytes("I;16", SIZE, rows)


def clear_color() -> bytes:
    """A palette of which one colour is transparent."""
    return save_image(painted("P", 0, 1), "PNG", transparency=0)


MASKS = {
    "grey": save_image(painted("L", 0, 255), "PNG"),
    "one bit": save_image(painted("1", 0, 1), "PNG"),
    "16 bits": save_image(deep(), "PNG"),
    "rgb": save_image(painted("RGB", "black", "white"), "PNG"),
    "red on black": save_image(painted("RGB", "black", "red"), "PNG"),
    "jpeg": save_image(painted("RGB", "black", "white").resize((64, 32)), "JPEG"),
    "palette": save_image(painted("RGB", "black", "white").convert("P"), "PNG"),
    "opaque alpha": save_image(painted("RGBA", "black", "white"), "PNG"),
    "white strokes": save_image(with_alpha(Image.new("RGB", SIZE, "white")), "PNG"),
    "black strokes": save_image(with_alpha(Image.new("RGB", SIZE, "black")), "PNG"),
    "red strokes": save_image(with_alpha(Image.new("RGB", SIZE, "red")), "PNG"),
    "grey strokes": save_image(with_alpha(Image.new("L", SIZE, 90)), "PNG"),
    "transparent palette": clear_color(),
    "black and white on clear ground": save_image(
        painted("RGBA", "black", "white").crop((0, 0, 12, 4)), "PNG"
    ),
    "webp": save_image(with_alpha(Image.new("RGB", SIZE, "blue")), "WEBP", lossless=True),
}


def repainted(content: bytes, channel: str) -> list[int]:
    """What ComfyUI's LoadImageMask makes of a file in the left and in the right half, of 255."""
    image = open_image(content).convert("RGBA")
    levels = image.getchannel(channel)
    y = image.height // 2
    found = [int(levels.getpixel((x, y))) for x in (image.width // 8, image.width * 7 // 8)]  # type: ignore[arg-type]
    return [255 - level for level in found] if channel == "A" else found


@pytest.mark.parametrize("channel", ["A", "R", "G", "B"])
@pytest.mark.parametrize("name", MASKS)
def test_white_or_opaque_is_repainted_whatever_the_channel(
    name: str, channel: str, places: AllowedFolders, tmp_path: Path
) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(MASKS[name])
    server = Server()
    placed = place("m.png", server, places, DownloadPolicy(), accepts="mask")
    left, right = repainted(server.files[placed.value], channel)
    assert (left > 220, right < 20) == (True, True)
    assert "converted to a mask" in placed.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        save_image(Image.new("L", SIZE), "PNG"),
        save_image(Image.new("RGB", SIZE, (3, 2, 4)), "JPEG"),
        png(SIZE, (255, 255, 255, 0)),
    ],
)
def test_an_empty_mask_is_an_error(content: bytes, places: AllowedFolders, tmp_path: Path) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(content)
    server = Server()
    server.files["cat.png"] = png(SIZE)
    server.files["on_server.png"] = save_image(Image.new("L", SIZE), "PNG")
    before = dict(server.files)
    for name in ("m.png", "on_server.png"):
        with pytest.raises(MediaError, match=f"{name} is empty"):
            place(name, server, places, DownloadPolicy(), accepts="mask")
        with pytest.raises(MediaError, match=f"{name} is empty"):
            place_masked(name, "cat.png", server, places, DownloadPolicy())
    assert server.files == before


def test_a_mask_on_the_server_is_converted_unless_it_was_made_for_it(
    places: AllowedFolders,
) -> None:
    server = Server()
    server.files["bw.png"] = MASKS["rgb"]
    placed = place("bw.png", server, places, DownloadPolicy(), accepts="mask")
    assert placed.value != "bw.png"
    assert repainted(server.files[placed.value], "A") == [255, 0]
    server.files["ours.png"] = server.files[placed.value]
    assert place("ours.png", server, places, DownloadPolicy(), accepts="mask").value == "ours.png"
    hole = Image.new("RGB", SIZE, (200, 120, 40))
    hole.putalpha(painted("L", 255, 0))
    server.files["clipspace.png"] = save_image(hole, "PNG")  # as ComfyUI's mask editor saves it
    placed = place("clipspace.png", server, places, DownloadPolicy(), accepts="mask")
    assert repainted(server.files[placed.value], "A") == [255, 0]
    assert "transparent areas" in placed.notes[0]


def test_a_mask_is_stretched_to_the_image(places: AllowedFolders, tmp_path: Path) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(MASKS["grey"])
    server = Server()
    server.files["cat.png"] = png((80, 40))
    placed = place_masked("m.png", "cat.png", server, places, DownloadPolicy())
    layer = open_image(server.files[placed.value])
    assert layer.size == (80, 40)
    assert [layer.getpixel((x, 10))[3] for x in (10, 70)] == [0, 255]  # type: ignore[index]
    assert "white areas, scaled to the image's 80 x 40 pixels" in placed.notes[0]
    before = dict(server.files)
    assert place_masked("m.png", "cat.png", server, places, DownloadPolicy()).value == placed.value
    assert server.files == before
    with pytest.raises(MediaError, match="not on the ComfyUI server"):
        place_masked("m.png", "dog.png", server, places, DownloadPolicy())


def test_an_image_that_is_its_own_mask_is_repainted_in_its_holes() -> None:
    hole = Image.new("RGB", SIZE, (200, 120, 40))
    hole.putalpha(painted("L", 255, 0))
    content = save_image(hole, "PNG")
    assert repainted(image_masks.as_mask(content, "it", holes=True).content, "A") == [255, 0]
    assert repainted(image_masks.as_mask(content, "it").content, "A") == [0, 255]
