"""Memory of rendering: estimated from the header, limited by a budget per worker."""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from input_server.images import formats, render_cost
from input_server.images.memory import DEFAULT_IMAGE_MB, MemoryBudget
from input_server.images.render import render
from input_server.images.render_cost import ENCODING
from input_server.images.variant_request import VariantError, VariantRequest
from input_server.images.variants import VariantCache
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFile, OpenFileCache
from tests.input_server.running import KEY, Running, processes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BUDGET = MemoryBudget(DEFAULT_IMAGE_MB * 2**20)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def flat_png(width: int, height: int, depth: int, color: int) -> bytes:
    """A PNG of one color, which takes few bytes at any size (PNG 3rd edition, 11.2.1)."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = bytes(1 + (width * samples * depth + 7) // 8)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3)) if color == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + palette
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )


def texts_png(count: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    for number in range(count):
        info.add_text(f"k{number}", "x" * 1_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def saved(size: tuple[int, int], form: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


HOSTILE = {
    "deep.png": lambda: flat_png(8000, 8000, 16, 0),
    "colours.png": lambda: flat_png(8000, 8000, 16, 2),
    "clear.png": lambda: flat_png(7000, 7000, 8, 6),
    "grey.png": lambda: flat_png(13000, 13000, 8, 0),
    "texts.png": lambda: texts_png(60),
    "progressive.jpg": lambda: saved((6600, 6600), "JPEG", progressive=True, subsampling=0),
    "baseline.jpg": lambda: saved((6600, 6600), "JPEG"),
    "large.webp": lambda: saved((4400, 4400), "WEBP"),
    "large.avif": lambda: saved((3000, 3000), "AVIF"),
    "large.gif": lambda: saved((5000, 5000), "GIF", "P"),
    "large.tif": lambda: saved((4000, 4000), "TIFF", compression="tiff_lzw"),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("memory") / "m"
    folder.mkdir()
    for name, content in HOSTILE.items():
        (folder / name).write_bytes(content())
    Image.new("RGB", (400, 300), (9, 200, 9)).save(folder / "usual.png")
    with Running(folder) as server:
        yield server


def peak(pid: int) -> int:
    """Peak memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@LINUX
def test_a_worker_stays_below_300_mb_whatever_it_renders(running: Running) -> None:
    queries = ("w=320&fmt=webp&q=auto", "w=900&fmt=png", "q=70")
    asked = [f"{name}?{query}" for query in queries for name in HOSTILE]
    random.Random(13).shuffle(asked)
    with ThreadPoolExecutor(12) as pool:
        answers = dict(zip(asked, pool.map(running.get, asked), strict=True))
    assert {answer.status_code for answer in answers.values()} == {200, 413}
    for name in HOSTILE:
        smaller = answers[f"{name}?q=70"]
        assert smaller.status_code == 200, "falls back to the original"
    assert max(map(peak, processes(running.process.pid))) < 300 * 2**20
    assert running.get("usual.png?w=100").status_code == 200


@pytest.mark.parametrize("name", ["deep.png", "progressive.jpg", "baseline.jpg", "large.gif"])
def test_images_within_the_budget_have_thumbnails(running: Running, name: str) -> None:
    expected = 413 if name == "progressive.jpg" else 200
    assert running.get(f"{name}?w=320&fmt=webp").status_code == expected


def test_above_the_limit_only_the_original_is_returned(
    running: Running,
) -> None:
    refused = running.get("large.webp?w=320")
    assert (refused.status_code, refused.text) == (413, render_cost.TOO_LARGE)
    original = (running.folder / "large.webp").read_bytes()
    assert running.get("large.webp?q=50").content == original
    assert running.get("large.webp").content == original


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    with Running(tmp_path / "m", INPUT_SERVER_IMAGE_MB="12") as server:
        (server.folder / "a.png").write_bytes(flat_png(2000, 1000, 8, 0))
        (server.folder / "b.png").write_bytes(flat_png(2000, 2000, 8, 2))
        assert server.get("a.png?w=100").status_code == 200
        assert server.get("b.png?w=100").status_code == 413
        assert server.get("b.png?quality=10").status_code == 200
        assert "too large" in server.get("a.png?w=2000&fmt=webp").text


# -- the estimate ----------------------------------------------------------------------------------


def file_of(folder: Path, name: str, content: bytes) -> OpenFile:
    (folder / name).write_bytes(content)
    return OpenFileCache(0).acquire(Mount("m", folder), (name,))


def cost(folder: Path, content: bytes, name: str = "a.png", **request: object) -> tuple[int, int]:
    file = file_of(folder, name, content)
    try:
        output = str(request.pop("output", "WEBP"))
        return render_cost.estimate(file, output, VariantRequest(**request))  # type: ignore[arg-type]
    finally:
        os.close(file.descriptor)


@pytest.mark.parametrize(
    ("depth", "color", "bytes_of_a_pixel"),
    [(8, 0, 1), (16, 0, 2), (8, 2, 4), (16, 2, 4), (1, 0, 1)],
)
def test_a_decoded_pixel_costs_what_its_mode_takes(
    tmp_path: Path, depth: int, color: int, bytes_of_a_pixel: int
) -> None:
    content = flat_png(1000, 2000, depth, color)
    reading, writing = cost(tmp_path, content, width=1)
    assert 0 <= reading - len(content) - 2_000_000 * bytes_of_a_pixel < 100_000
    assert writing == len(content) + 2 * (8 + ENCODING["WEBP"][0])


def test_texts_of_a_png_count_with_their_decompressed_size(tmp_path: Path) -> None:
    bare, full = (cost(tmp_path, texts_png(count), width=10)[0] for count in (0, 20))
    assert 20 * 10**6 < full - bare < 21 * 2**20
    most = cost(tmp_path, texts_png(64) + b"x", width=10)[0]
    assert most - bare <= 65 * 2**20


def test_a_baseline_jpeg_costs_its_draft_size(tmp_path: Path) -> None:
    baseline = cost(tmp_path, saved((4000, 4000), "JPEG"), "a.jpg", width=500)
    progressive = cost(tmp_path, saved((4000, 4000), "JPEG", progressive=True), "b.jpg", width=500)
    assert baseline[0] < 8 * 2**20
    assert progressive[0] > 16_000_000 * 6


def test_a_jpeg_with_separate_component_scans_counts_as_progressive(
    tmp_path: Path,
) -> None:
    content = saved((2000, 2000), "JPEG")
    at = content.index(b"\xff\xda")
    split = content[: at + 4] + b"\1" + content[at + 5 :]
    assert cost(tmp_path, split, "a.jpg", width=100)[0] > 4_000_000 * 6


@pytest.mark.parametrize(("count", "status"), [(0, 0), (99, 422), (80, 0)])
def test_many_scans_are_refused(tmp_path: Path, count: int, status: int) -> None:
    content = saved((64, 64), "JPEG", progressive=True)
    assert content.count(b"\xff\xda") == 10
    marks = b"\xff\xda" * count
    comment = b"\xff\xfe" + struct.pack(">H", len(marks) + 2) + marks
    file = file_of(tmp_path, "a.jpg", content[:2] + comment + content[2:])
    found = 0
    try:
        render(file, "WEBP", VariantRequest(10), BUDGET)
    except VariantError as problem:
        found = problem.status
    finally:
        os.close(file.descriptor)
    assert found == status


def webp_head(width: int, height: int) -> bytes:
    """The extended header of a WebP, without any image data (RFC 9649, 2.7)."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", lambda: flat_png(13_000, 13_000, 1, 0)),
        ("a.png", lambda: flat_png(30_000, 30_000, 1, 0)),
        ("a.webp", lambda: webp_head(16_383, 16_383)),
    ],
)
def test_an_image_of_too_many_pixels_is_refused_without_a_warning_of_pillow(
    tmp_path: Path, name: str, content: Callable[[], bytes]
) -> None:
    file = file_of(tmp_path, name, content())
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(VariantError) as refused:
                render(file, "WEBP", VariantRequest(10), BUDGET)
    finally:
        os.close(file.descriptor)
    assert (refused.value.status, caught) == (413, [])


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"]),
    form=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"]),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    orientation=st.integers(0, 9),
    request=st.builds(
        VariantRequest,
        width=st.none() | st.integers(1, 100),
        height=st.none() | st.integers(1, 100),
        quality=st.none() | st.integers(1, 100),
    ),
    target=st.sampled_from(["WEBP", "JPEG", "PNG", "AVIF"]),
    cut=st.none() | st.integers(0, 300),
)
def test_any_image_is_rendered_or_refused_as_damaged(
    tmp_path: Path,
    mode: str,
    form: str,
    size: tuple[int, int],
    orientation: int,
    request: VariantRequest,
    target: str,
    cut: int | None,
) -> None:
    image = Image.linear_gradient("L").resize(size)
    image = Image.new("I;16", size, 30000) if mode == "I;16" else image.convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    try:
        if form in ("GIF", "BMP"):
            image.save(buffer, form)
        else:
            image.save(buffer, form, exif=exif)
    except (OSError, ValueError):
        return  # this format does not have that mode
    ending = {"JPEG": "jpg", "TIFF": "tif"}.get(form, form.lower())
    file = file_of(tmp_path, f"a.{ending}", buffer.getvalue()[:cut])
    try:
        content = render(file, target, request, BUDGET)
    except VariantError as problem:
        assert (cut is not None, problem.status) == (True, 422)  # noqa: PT017
        return
    except KeyError:
        assert cut is not None  # too short to be recognized as an image
        return
    finally:
        os.close(file.descriptor)
    turned = orientation in range(5, 9) and form not in ("GIF", "BMP")
    width, height = size[::-1] if turned else size
    with Image.open(io.BytesIO(content)) as result:
        assert result.width <= min(request.width or width, width)
        assert result.height <= min(request.height or height, height)
        share = min((request.width or width) / width, (request.height or height) / height, 1)
        assert abs(result.width - width * share) <= 1
        assert abs(result.height - height * share) <= 1


def test_palettes_and_transparent_colors_are_preserved(tmp_path: Path) -> None:
    image = Image.new("P", (400, 400), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 200, 400))
    image.save(tmp_path / "a.png", transparency=0)
    result = variant(tmp_path, "a.png", VariantRequest(40, format="png")).convert("RGBA")
    assert result.getpixel((5, 20))[3] == 0
    assert result.getpixel((35, 20)) == (0, 0, 255, 255)
    keyed = Image.new("RGB", (400, 400), (1, 2, 3))
    keyed.paste((9, 9, 250), (200, 0, 400, 400))
    keyed.save(tmp_path / "b.png", transparency=(1, 2, 3))
    result = variant(tmp_path, "b.png", VariantRequest(40, format="webp")).convert("RGBA")
    assert result.getpixel((5, 20))[3] == 0
    assert result.getpixel((35, 20))[3] == 255


def variant(folder: Path, name: str, request: VariantRequest) -> Image.Image:
    file = OpenFileCache(0).acquire(Mount("m", folder), (name,))
    result = VariantCache(folder / "cache", 10).image(file, name, request)
    content = result.read(0, result.size)
    for one in (file, result):
        os.close(one.descriptor)
    return Image.open(io.BytesIO(content))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns about it
def test_invalid_exif_does_not_prevent_a_thumbnail(tmp_path: Path) -> None:
    for number, exif in enumerate((b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"x" * 40)):
        content = saved((40, 30), "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        (tmp_path / f"{number}.jpg").write_bytes(content[:2] + segment + content[2:])
        assert variant(tmp_path, f"{number}.jpg", VariantRequest(20)).size == (20, 15)


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (40, 20)), (8, (20, 40)), (9, (40, 20)), (0, (40, 20))]
)
def test_only_valid_orientations_rotate_an_image(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.jpg").write_bytes(saved((80, 40), "JPEG", exif=exif))
    assert variant(tmp_path, "a.jpg", VariantRequest(width=size[0])).size == size


# -- HEIC ------------------------------------------------------------------------------------------


def heic(brand: bytes) -> bytes:
    """A file header of that brand without content (ISO 14496-12, 4.3)."""
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + bytes(40)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
@pytest.mark.parametrize("name", ["a.heic", "b.heif"])
def test_heic_that_cannot_be_decoded_is_served_and_listed(
    tmp_path: Path, brand: bytes, name: str
) -> None:
    with Running(tmp_path / "m") as server:
        (server.folder / name).write_bytes(heic(brand))
        plain = server.get(name)
        assert plain.content == heic(brand)
        assert plain.headers["Content-Type"] in ("image/heic", "image/heif")
        assert server.get(f"{name}?w=100").status_code in (415, 422)
        assert server.get(f"{name}?q=80").content == heic(brand)
        gallery = f"/comfyui_server/pw={KEY}/gallery/m/"
        (item,) = server.get(f"{gallery}list").json()["items"]
        assert (item["name"], item["kind"]) == (name, "image")
        info = server.get(f"{gallery}info?path={name}")
        assert (info.status_code, info.json()["width"]) == (200, None)


def test_heic_without_pillow_heif_names_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("input_server.images.variants.readable_types", lambda: formats.PILLOW_TYPES)
    file = file_of(tmp_path, "a.heic", heic(b"heic"))
    cache = VariantCache(tmp_path / "cache", 1)
    try:
        with pytest.raises(VariantError, match="pillow-heif") as refused:
            cache.image(file, "a.heic", VariantRequest(100))
        assert refused.value.status == 415
        assert cache.image(file, "a.heic", VariantRequest(lossy=True)) is file
    finally:
        os.close(file.descriptor)


def test_heic_has_thumbnails_if_pillow_heif_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not required")
    heif.register_heif_opener()
    with Running(tmp_path / "m") as server:
        Image.new("RGB", (400, 200), (250, 0, 0)).save(server.folder / "a.heic", "HEIF")
        result = Image.open(io.BytesIO(server.get("a.heic?w=100").content))
        assert (result.format, result.size) == ("JPEG", (100, 50))
        gallery = f"/comfyui_server/pw={KEY}/gallery/m/list"
        (item,) = server.get(gallery).json()["items"]
        assert item["thumb"] is not None
        assert "w=2048" in item["view"]
