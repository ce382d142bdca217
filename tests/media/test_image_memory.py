"""The memory for decoding is calculated before decoding and never exceeded."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import (
    image_convert,
    image_repair,
    image_structure,
    previews,
    result_check,
    result_files,
)
from comfyui_pipeline.media.image_memory import DEFAULT_MB, ImageMemory
from input_server.images import decode_cost
from tests.media import broken_files as broken
from tests.media.broken_files import saved

MB = 2**20
SMALL = ImageMemory(1 * MB)
PROJECT = Path(__file__).resolve().parents[2]
PEAK = """
import sys
from pathlib import Path
from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import image_convert, previews, result_files
from comfyui_pipeline.media.image_memory import ImageMemory
file, memory = Path(sys.argv[1]), ImageMemory()
try:
    stored = result_files.store([file.read_bytes()], file.parent / "out", "", file.name, memory=memory)
    print(stored.kind.note, previews.build_previews([stored.path], full=False, memory=memory).failed)
    image_convert.prepare_image(file.read_bytes(), "it", memory=memory)
except MediaError as error:
    print(error)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
"""


WEBP_HEAD = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2 + bytes(80)
HEAVY: dict[str, Callable[[], bytes]] = {
    "deep.png": lambda: broken.png_of(8000, 8000, 16, 0),
    "large.png": lambda: broken.png_of(13000, 13000, 8, 2),
    "moving.gif": broken.giant_gif,
    "large.webp": lambda: WEBP_HEAD,
    "fine.png": lambda: broken.png_of(7000, 7000, 8, 2),
}


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux reports the peak memory of a process"
)
@pytest.mark.parametrize("name", HEAVY)
def test_no_image_takes_more_than_500_megabytes(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(HEAVY[name]())
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(file)], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *message, peak = done.stdout.splitlines()
    assert int(peak) < 500
    assert ("COMFYUI_IMAGE_MEMORY_MB" in " ".join(message)) is (name != "fine.png")


def test_the_memory_needed_counts_bytes_and_frames() -> None:
    assert decode_cost.decoded_bytes(100, 10, "L") == 1000
    assert decode_cost.decoded_bytes(100, 10, "I;16") == 2000
    assert decode_cost.decoded_bytes(100, 10, "RGB") == 4000
    assert decode_cost.decoded_bytes(100, 10, "P", frames=3) == 12_000
    assert decode_cost.peak_bytes(100, 10, "RGB") == 8000
    assert decode_cost.peak_bytes(100, 10, "I;16") == 11_000
    assert decode_cost.peak_bytes(100, 10, "RGB", "WEBP") == 18_000
    assert decode_cost.needed_bytes(100, 10, "RGB", 1) == 8000
    assert decode_cost.needed_bytes(100, 10, "RGB", 10) == 40_000
    assert decode_cost.needed_bytes(-5, 10) == 0


def test_fifty_megapixels_rgb_fit_the_default_and_more_do_not() -> None:
    memory = ImageMemory()
    assert memory.limit == DEFAULT_MB * MB == 384 * MB
    assert memory.fits(decode_cost.needed_bytes(8000, 6250, "RGB"))
    assert not memory.fits(decode_cost.needed_bytes(8000, 6400, "RGB"))


def test_an_input_above_the_limit_is_refused_naming_the_setting() -> None:
    with pytest.raises(MediaError) as caught:
        image_convert.prepare_image(saved("PNG", (500, 400)), "the cat", memory=SMALL)
    assert "the cat (500 x 400 pixels) is too large to decode" in str(caught.value)
    assert "COMFYUI_IMAGE_MEMORY_MB is 1" in str(caught.value)
    image_convert.prepare_image(saved("PNG", (300, 400)), "the cat", memory=SMALL)


def test_a_jpeg_above_the_limit_fits_when_reduced_and_others_do_not() -> None:
    with pytest.raises(MediaError, match="max_side"):
        image_convert.prepare_image(saved("JPEG", (800, 400)), "it", memory=SMALL)
    converted = image_convert.prepare_image(
        saved("JPEG", (800, 400)), "it", memory=SMALL, max_side=100
    )
    assert (converted.kind.width, converted.kind.height) == (100, 50)
    with pytest.raises(MediaError, match="too large"):
        image_convert.prepare_image(saved("BMP", (800, 400)), "it", memory=SMALL, max_side=100)


def test_all_frames_of_an_animation_count_unless_only_the_first_is_used() -> None:
    frames = [Image.new("L", (200, 100), level) for level in range(40)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    content = buffer.getvalue()
    with pytest.raises(MediaError, match="too large"):
        image_convert.prepare_image(content, "it", animated=True, memory=SMALL)
    assert image_convert.prepare_image(content, "it", memory=SMALL).kind.format == "png"


FORMS = ["PNG", "JPEG", "GIF", "BMP", "WEBP"]


@pytest.mark.parametrize("form", FORMS)
def test_a_result_above_the_limit_is_stored_without_decoding(tmp_path: Path, form: str) -> None:
    content = saved(form, (800, 600))
    name = f"x.{form.lower()}"
    stored = result_files.store([content], tmp_path, "", name, memory=SMALL, checked=True)
    assert stored.path.read_bytes() == content
    assert "COMFYUI_IMAGE_MEMORY_MB is 1" in stored.kind.note
    assert (stored.kind.width, stored.kind.height) == (800, 600)
    assert not previews.build_previews([stored.path], full=False, memory=SMALL).uris


def test_a_large_jpeg_has_a_preview_as_it_is_decoded_at_a_fraction(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(saved("JPEG", (3200, 1600)))
    shown = previews.build_previews([tmp_path / "x.jpg"], full=False, memory=ImageMemory(8 * MB))
    assert len(shown.uris) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9])
def test_a_cut_off_result_above_the_limit_is_refused(form: str, share: float) -> None:
    content = saved(form, (800, 600))
    with pytest.raises(MediaError, match="broken or cut-off"):
        result_check.inspect_result(io.BytesIO(content[: int(len(content) * share)]), "it", SMALL)


def test_a_damaged_chunk_is_found_without_decoding() -> None:
    content = bytearray(saved("PNG", (800, 600)))
    content[len(content) // 2] ^= 1
    assert not image_structure.is_complete("png", io.BytesIO(bytes(content)))
    for mode in ("L", "LA", "RGB", "RGBA", "P", "1", "I;16"):
        content = saved("PNG", (33, 17), "L") if mode == "I;16" else saved("PNG", (33, 17), mode)
        assert image_structure.is_complete("png", io.BytesIO(content))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(
        ["png", "jpeg", "gif", "bmp", "webp", "tiff", "psd", "exr", "avif", "heic"]
    ),
    content=st.binary(max_size=400),
    magic=st.sampled_from(
        [
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xda",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"MM\0+",
            b"8BPS",
            b"",
        ]
    ),
)
def test_structure_checks_never_raise(form: str, content: bytes, magic: bytes) -> None:
    file = io.BytesIO(magic + content)
    image_structure.is_complete(form, file)
    image_structure.has_image_data(form, file)
    image_structure.gif(file, 100)
    image_structure.webp_size(file)
    image_repair.without_long_texts(magic + content)


def test_threads_that_decode_share_the_memory() -> None:
    memory = ImageMemory(100)
    inside, leave, entered = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with memory.use(60):
            inside.set()
            leave.wait(30)

    def second() -> None:
        with memory.use(60):
            entered.set()

    threads = [threading.Thread(target=work, daemon=True) for work in (first, second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    with memory.use(40):
        assert not entered.is_set()
    leave.set()
    assert entered.wait(30)
    with memory.use(10_000):
        pass  # more than there is counts as all of it


def test_a_png_with_long_texts_is_decoded() -> None:
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * (2 * MB), zip=True)
    content = saved("PNG", pnginfo=texts)
    assert image_convert.prepare_image(content, "it").kind.width == 64
    assert result_check.inspect_result(io.BytesIO(content), "it").width == 64


@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_last_bytes_is_accepted_with_a_note(missing: int) -> None:
    buffer = io.BytesIO()  # a random image is at times complete without its last byte
    Image.linear_gradient("L").resize((640, 480)).save(buffer, "JPEG")
    content = buffer.getvalue()[:-missing]
    assert "last bytes are missing" in result_check.inspect_result(io.BytesIO(content), "it").note
    assert image_convert.prepare_image(content, "it").kind.width == 640


def test_heic_is_stored_without_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content: Any = saved("AVIF").replace(b"ftypavif", b"ftypheic", 1)
    stored = result_files.store([content], tmp_path, "", "a.heic", checked=True)
    assert stored.kind.format == "heic"
    assert (
        "pillow-heif" in previews.build_previews([stored.path], full=False).failed[str(stored.path)]
    )
