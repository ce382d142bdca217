"""Input images are decoded completely and converted to what a loader node reads."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, PngImagePlugin

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import image_convert, result_check
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.download import DownloadPolicy
from tests.media.input_folder import Server, open_image, place, png, save_image

BROKEN = {
    "empty": (b"", "empty"),
    "web page": (b"<!doctype html><html></html>", "web page"),
    "text": (b"just words", "not an image"),
    "a header only": (png((200, 200))[:60], "cut-off"),
    "pdf": (b"%PDF-1.7 xx", "not an image"),
    "video": (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", "a video (mp4), not an image"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_an_unusable_image_is_refused_with_a_reason(content: bytes, message: str) -> None:
    with pytest.raises(MediaError) as caught:
        image_convert.prepare_image(content, "the cat")
    assert "the cat" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_what_is_left_of_an_input_is_used_as_comfyui_does_and_a_result_is_refused(
    form: str,
) -> None:
    content = save_image(Image.effect_noise((64, 64), 80), form)
    for share in (0.5, 0.6, 0.9):
        cut = content[: int(len(content) * share)]
        used = image_convert.prepare_image(cut, "it")
        assert used.done[0] == image_convert.DAMAGED
        assert open_image(used.content).size == (64, 64)
        open_image(used.content).load()
        if form != "TIFF":
            with pytest.raises(MediaError):
                result_check.inspect_result(io.BytesIO(cut), "it")


@pytest.mark.parametrize(("form", "share"), [("WEBP", 0.9), ("JPEG", 0.1), ("PNG", 0.01)])
def test_an_input_of_which_nothing_can_be_seen_is_refused(form: str, share: float) -> None:
    content = save_image(Image.effect_noise((64, 64), 80), form)
    with pytest.raises(MediaError, match="it is a broken or cut-off"):
        image_convert.prepare_image(content[: int(len(content) * share)], "it")


def with_wrong_checksum(chunk: bytes) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("a", "words")
    content = save_image(Image.effect_noise((64, 64), 80), "PNG", pnginfo=texts)
    at = content.index(chunk)
    end = at + 4 + int.from_bytes(content[at - 4 : at], "big")
    return content[:end] + b"\1\2\3\4" + content[end + 4 :]


@pytest.mark.parametrize("chunk", [b"IHDR", b"tEXt", b"IDAT"])
def test_a_wrong_checksum_does_not_matter(chunk: bytes) -> None:
    used = open_image(image_convert.prepare_image(with_wrong_checksum(chunk), "it").content)
    whole = Image.effect_noise((64, 64), 80)
    assert (used.size, used.mode) == (whole.size, whole.mode)
    used.load()


def test_a_broken_profile_does_not_matter() -> None:
    cmyk = save_image(Image.new("CMYK", (4, 4)), "JPEG", icc_profile=b"junk" * 50)
    assert open_image(image_convert.prepare_image(cmyk, "it").content).mode == "RGB"
    content = save_image(Image.new("RGB", (4, 4)), "PNG", icc_profile=b"junk" * 50)
    assert image_convert.prepare_image(content, "it").content is content
    at = content.index(b"iCCP")
    length = int.from_bytes(content[at - 4 : at], "big")
    data = b"iCCP" + content[at + 4 : at + 17] + bytes(length - 13)
    broken = content[:at] + data + struct.pack(">I", zlib.crc32(data)) + content[at + 8 + length :]
    used = image_convert.prepare_image(broken, "it")
    assert used.done == ("used although its color profile is broken",)
    assert b"iCCP" not in used.content


def test_a_giant_image_is_refused_before_decoding() -> None:
    with pytest.raises(MediaError, match="too large to decode"):
        image_convert.prepare_image(save_image(Image.new("1", (9000, 9000)), "PNG"), "the giant")


def test_a_usual_image_is_not_changed() -> None:
    for content in (png(), png(color=(1, 2, 3, 4)), save_image(Image.new("L", (5, 4)), "JPEG")):
        assert image_convert.prepare_image(content, "it").content is content


def test_an_exif_orientation_is_applied_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image_convert.prepare_image(
        save_image(Image.new("RGB", (20, 10)), "JPEG", exif=exif), "it"
    )
    assert open_image(turned.content).size == (10, 20)
    assert (turned.kind.width, turned.kind.height) == (10, 20)
    assert turned.done == ("rotated as its EXIF orientation says",)
    assert not image_convert.prepare_image(turned.content, "it").done


def test_cmyk_16_bit_and_float_images_are_converted() -> None:
    cmyk = image_convert.prepare_image(
        save_image(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"), "it"
    )
    assert open_image(cmyk.content).mode == "RGB"
    assert "converted from CMYK to RGB" in cmyk.done
    deep = Image.new("I;16", (4, 4), 32896)
    grey = image_convert.prepare_image(save_image(deep, "PNG"), "it")
    assert open_image(grey.content).getpixel((1, 1)) == 128


@pytest.mark.parametrize(
    ("mode", "values", "shown"),
    [
        ("F", (0, 0.5, 1), (0, 127, 255)),
        ("F", (-1, 0, 1), (0, 127, 255)),
        ("F", (0, 1, 2), (0, 127, 255)),
        ("F", (0, 127.5, 255), (0, 127, 255)),
        ("F", (0, 32767, 65535), (0, 127, 255)),
        ("F", (0, float("nan"), 1), (0, 0, 255)),
        ("I", (0, 32768, 65535), (0, 128, 255)),
        ("I", (0, 1 << 30, (1 << 31) - 1), (0, 128, 255)),
        ("I", (-100_000, 0, 100_000), (0, 128, 255)),
    ],
)
def test_float_and_32_bit_images_keep_their_range(
    mode: str, values: tuple[float, ...], shown: tuple[int, ...]
) -> None:
    image = Image.new(mode, (3, 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    used = open_image(image_convert.prepare_image(save_image(image, "TIFF"), "it").content)
    found = [used.getpixel((x, 0)) for x in range(3)]
    assert [abs(a - b) <= 1 for a, b in zip(found, shown, strict=True)] == [True] * 3, found  # type: ignore[operator]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_is_used_unless_the_input_takes_an_animation(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (10, 120, 240)]
    content = save_image(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    still = image_convert.prepare_image(content, "it")
    assert getattr(open_image(still.content), "n_frames", 1) == 1
    assert "first frame" in still.done[0]
    moving = image_convert.prepare_image(content, "it", animated=True)
    assert (moving.content, moving.kind.frames) == (content, 3)
    kind = result_check.inspect_result(io.BytesIO(content), "it")
    assert (kind.frames, kind.seconds) == (3, 0.3)


def test_an_image_is_reduced_to_max_side_with_a_note(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(png((90, 30)))
    server = Server()
    placed = place(
        str(file), server, AllowedFolders(None, (tmp_path,)), DownloadPolicy(), max_side=45
    )
    assert open_image(server.files[placed.value]).size == (45, 15)
    assert "reduced to 45 pixels" in placed.notes[0]


def test_avif_is_converted(tmp_path: Path) -> None:
    content = save_image(Image.new("RGB", (20, 10), (9, 200, 9)), "AVIF")
    converted = image_convert.prepare_image(content, "it")
    assert (converted.kind.format, open_image(converted.content).size) == ("png", (20, 10))
    assert "converted to PNG" in converted.done[0]


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def test_heic_is_refused_with_a_hint_without_pillow_heif(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match="install pillow-heif"):
        image_convert.prepare_image(HEIC, "it")


def test_heic_is_decoded_with_pillow_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    reader = ModuleType("pillow_heif")
    reader.register_heif_opener = lambda: asked.append(True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", reader)
    with pytest.raises(MediaError, match="broken or cut-off HEIC"):
        image_convert.prepare_image(HEIC, "it")
    assert asked


# -- masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "shown"), [((90, 30), (60, 20)), ((30, 90), (20, 60))])
def test_no_side_is_longer_than_max_side(size: tuple[int, int], shown: tuple[int, int]) -> None:
    converted = image_convert.prepare_image(png(size), "it", max_side=60)
    assert (converted.kind.width, converted.kind.height) == shown
    assert converted.done == ("reduced to 60 pixels",)
    same = image_convert.prepare_image(png((60, 60)), "it", max_side=60)
    assert (same.content, same.done) == (png((60, 60)), ())


CORNERS = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}
"""EXIF orientation -> the displayed corners of an image stored as red, green, blue, white:
top left, top right, bottom left, bottom right (EXIF 2.3, 4.6.4)."""
LETTERS = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}


@pytest.mark.parametrize(("orientation", "corners"), CORNERS.items())
def test_each_exif_orientation_is_applied(orientation: int, corners: str) -> None:
    image = Image.new("RGB", (2, 2))
    image.putdata([LETTERS[letter] for letter in "rgbw"])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    converted = Image.open(io.BytesIO(image_convert.prepare_image(buffer.getvalue(), "it").content))
    places = [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [converted.convert("RGB").getpixel(at) for at in places] == [LETTERS[c] for c in corners]
    assert converted.getexif().get(0x0112, 1) == 1 or orientation == 1
