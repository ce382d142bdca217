"""Pictures are decoded before they travel on, and made into what a loader can read."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import image_convert, image_masks, result_check
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.download import DownloadPolicy
from tests.media.shelf import Server, place, place_masked, png

BROKEN = {
    "empty": (b"", "empty"),
    "web page": (b"<!doctype html><html></html>", "web page"),
    "text": (b"just words", "not an image"),
    "cut off": (png((200, 200))[:-40], "cut-off"),
    "pdf": (b"%PDF-1.7 xx", "not an image"),
    "film": (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", "a video (mp4), not an image"),
}


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(("content", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_picture_is_refused_by_name(content: bytes, told: str) -> None:
    with pytest.raises(MediaError) as caught:
        image_convert.prepare_image(content, "the cat")
    assert "the cat" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_cut_off_anywhere_is_refused(form: str) -> None:
    whole = saved(Image.effect_noise((64, 64), 80), form)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(MediaError):
            image_convert.prepare_image(whole[: int(len(whole) * share)], "it")
        with pytest.raises(MediaError):
            result_check.inspect_result(io.BytesIO(whole[: int(len(whole) * share)]), "it")


def test_a_giant_picture_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MediaError, match="too large to decode"):
        image_convert.prepare_image(saved(Image.new("1", (9000, 9000)), "PNG"), "the giant")


def test_a_usual_picture_stays_as_it_is_byte_for_byte() -> None:
    for content in (png(), png(color=(1, 2, 3, 4)), saved(Image.new("L", (5, 4)), "JPEG")):
        assert image_convert.prepare_image(content, "it").content is content


def test_exif_turns_a_picture_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image_convert.prepare_image(saved(Image.new("RGB", (20, 10)), "JPEG", exif=exif), "it")
    assert opened(turned.content).size == (10, 20)
    assert (turned.kind.width, turned.kind.height) == (10, 20)
    assert turned.done == ("rotated as its EXIF orientation says",)
    assert not image_convert.prepare_image(turned.content, "it").done


def test_cmyk_and_deep_greys_become_what_a_loader_reads() -> None:
    cmyk = image_convert.prepare_image(
        saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"), "it"
    )
    assert opened(cmyk.content).mode == "RGB"
    assert "converted from CMYK to RGB" in cmyk.done
    deep = Image.new("I;16", (4, 4), 32896)
    grey = image_convert.prepare_image(saved(deep, "PNG"), "it")
    assert opened(grey.content).getpixel((1, 1)) == 128
    light = image_convert.prepare_image(saved(Image.new("F", (4, 4), 0.5), "TIFF"), "it")
    assert abs(opened(light.content).getpixel((1, 1)) - 127) <= 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animated_picture_the_first_frame_is_taken_unless_all_are_wanted(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (10, 120, 240)]
    content = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    still = image_convert.prepare_image(content, "it")
    assert getattr(opened(still.content), "n_frames", 1) == 1
    assert "first frame" in still.done[0]
    moving = image_convert.prepare_image(content, "it", animated=True)
    assert (moving.content, moving.kind.frames) == (content, 3)
    kind = result_check.inspect_result(io.BytesIO(content), "it")
    assert (kind.frames, kind.seconds) == (3, 0.3)


def test_a_picture_is_shrunk_when_asked_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(png((90, 30)))
    server = Server()
    placed = place(
        str(file), server, AllowedFolders(None, (tmp_path,)), DownloadPolicy(), max_side=45
    )
    assert opened(server.files[placed.value]).size == (45, 15)
    assert "reduced to 45 pixels" in placed.notes[0]


def test_avif_is_converted(tmp_path: Path) -> None:
    content = saved(Image.new("RGB", (20, 10), (9, 200, 9)), "AVIF")
    made = image_convert.prepare_image(content, "it")
    assert (made.kind.format, opened(made.content).size) == ("png", (20, 10))
    assert "converted to PNG" in made.done[0]


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def test_heic_is_refused_with_what_to_do_where_its_reader_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match="install pillow-heif"):
        image_convert.prepare_image(HEIC, "it")


def test_heic_goes_to_its_reader_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    reader = ModuleType("pillow_heif")
    reader.register_heif_opener = lambda: asked.append(True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", reader)
    with pytest.raises(MediaError, match="broken or cut-off HEIC"):
        image_convert.prepare_image(HEIC, "it")
    assert asked


# -- masks -----------------------------------------------------------------------------------------


def black_and_white() -> bytes:
    """The left half is white."""
    image = Image.new("L", (8, 4))
    image.paste(255, (0, 0, 4, 4))
    return saved(image, "PNG")


def test_the_white_parts_of_a_mask_become_see_through(
    places: AllowedFolders, tmp_path: Path
) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(black_and_white())
    server = Server()
    placed = place("m.png", server, places, DownloadPolicy(), accepts="mask")
    alpha = opened(server.files[placed.value]).getchannel("A")
    assert (alpha.getpixel((1, 1)), alpha.getpixel((6, 1))) == (0, 255)
    assert "white areas" in placed.notes[0]
    server.files["done.png"] = png(color=(1, 2, 3, 0))
    assert (
        image_masks.as_mask(image_convert.prepare_image(server.files["done.png"], "it"), "it").done
        == ()
    )


def test_a_mask_is_laid_over_a_picture_of_any_size(places: AllowedFolders, tmp_path: Path) -> None:
    (tmp_path / "attachments" / "m.png").write_bytes(black_and_white())
    server = Server()
    server.files["cat.png"] = png((80, 40))
    value = place_masked("m.png", "cat.png", server, places, DownloadPolicy()).value
    layer = opened(server.files[value])
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
