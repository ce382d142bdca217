"""Masks: transparent parts count, or white areas."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import image_convert, image_masks
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.download import DownloadPolicy
from tests.media.input_folder import Server, open_image, place, place_masked, png, save_image


def test_white_areas_are_masked_and_alpha_takes_precedence() -> None:
    halves = Image.new("L", (4, 2), 0)
    halves.paste(255, (2, 0, 4, 2))
    buffer = io.BytesIO()
    halves.save(buffer, "PNG")
    layer = Image.open(io.BytesIO(image_masks.mask_layer(buffer.getvalue(), (4, 2), "it")))
    alpha = layer.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((3, 0))) == (255, 0)
    clear = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    clear.putpixel((0, 0), (0, 0, 0, 0))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    layer = Image.open(io.BytesIO(image_masks.mask_layer(buffer.getvalue(), (2, 1), "it")))
    alpha = layer.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((1, 0))) == (0, 255)


def black_and_white() -> bytes:
    """The left half is white."""
    image = Image.new("L", (8, 4))
    image.paste(255, (0, 0, 4, 4))
    return save_image(image, "PNG")


def test_white_areas_of_a_mask_become_transparent(places: AllowedFolders, tmp_path: Path) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(black_and_white())
    server = Server()
    placed = place("m.png", server, places, DownloadPolicy(), accepts="mask")
    alpha = open_image(server.files[placed.value]).getchannel("A")
    assert (alpha.getpixel((1, 1)), alpha.getpixel((6, 1))) == (0, 255)
    assert "white areas" in placed.notes[0]
    server.files["done.png"] = png(color=(1, 2, 3, 0))
    assert (
        image_masks.as_mask(image_convert.prepare_image(server.files["done.png"], "it"), "it").done
        == ()
    )


def test_a_mask_is_stretched_to_the_image(places: AllowedFolders, tmp_path: Path) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(black_and_white())
    server = Server()
    server.files["cat.png"] = png((80, 40))
    value = place_masked("m.png", "cat.png", server, places, DownloadPolicy()).value
    layer = open_image(server.files[value])
    assert (layer.size, layer.getpixel((10, 10))[3], layer.getpixel((70, 10))[3]) == (
        (80, 40),
        0,
        255,
    )
    before = dict(server.files)
    assert place_masked("m.png", "cat.png", server, places, DownloadPolicy()).value == value
    assert server.files == before
    with pytest.raises(MediaError, match="not on the ComfyUI server"):
        place_masked("m.png", "dog.png", server, places, DownloadPolicy())
