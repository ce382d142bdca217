"""Variants of images and texts: responses, concurrent requests, and eviction."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from PIL import Image, ImageCms

from input_server.images.variant_request import VariantError, VariantRequest, parse_variant_request
from input_server.images.variants import VariantCache
from input_server.mounts.mount import Mount
from input_server.mounts.open_files import OpenFileCache
from tests.input_server.running import KEY, Running, open_files, processes
from tests.waiting import TIMEOUT, wait_until
from tests.wine import not_under_wine

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("variants") / "m"
    folder.mkdir()
    Image.effect_noise((900, 600), 70).convert("RGB").save(folder / "big.png")
    Image.new("RGBA", (40, 20), (255, 0, 0, 0)).save(folder / "clear.png")
    frames = [Image.new("RGB", (60, 60), (level, 0, 0)) for level in (10, 200)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30)).save(folder / "rotated.jpg", exif=exif)
    (folder / "broken.png").write_bytes((folder / "big.png").read_bytes()[:5000])
    Image.new("1", (9000, 9000)).save(folder / "giant.png")
    Image.new("1", (5000, 5000)).save(folder / "large.png")
    deep = Image.new("I;16", (50, 50), 20000)
    deep.save(folder / "deep.png")
    Image.effect_noise((300, 300), 70).convert("RGB").save(
        folder / "profiled.png", icc_profile=PROFILE
    )
    Image.effect_noise((1200, 1200), 90).save(folder / "noise.png")
    (folder / "audio.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    (folder / "text.txt").write_text("a line of text\n" * 500, "utf-8")
    (folder / "page.json").write_text("[" + "1," * 3000 + "1]", "utf-8")
    with Running(folder) as server:
        yield server


def get_image(running: Running, path: str) -> Image.Image:
    answer = running.get(path)
    assert answer.status_code == 200, answer.text
    shown = Image.open(io.BytesIO(answer.content))
    assert answer.headers["Content-Type"] == f"image/{shown.format.lower()}"
    return shown


@pytest.mark.parametrize(
    ("query", "form", "size"),
    [
        ("w=300", "PNG", (300, 200)),
        ("h=100", "PNG", (150, 100)),
        ("w=300&h=50", "PNG", (75, 50)),
        ("w=4000", "PNG", (900, 600)),
        ("w=90&fmt=webp", "WEBP", (90, 60)),
        ("fmt=jpeg&q=40", "JPEG", (900, 600)),
        ("fmt=avif&w=64&q=auto", "AVIF", (64, 43)),
        ("quality=30", "WEBP", (900, 600)),
        ("q=auto&w=90", "WEBP", (90, 60)),
    ],
)
def test_a_variant_has_the_requested_format_and_size_but_is_never_enlarged(
    running: Running, query: str, form: str, size: tuple[int, int]
) -> None:
    shown = get_image(running, f"big.png?{query}")
    assert (shown.format, shown.size) == (form, size)


def test_a_lower_quality_is_smaller_and_the_original_is_unchanged(running: Running) -> None:
    before = (running.folder / "big.png").read_bytes()
    sizes = [len(running.get(f"big.png?fmt=webp&q={q}").content) for q in (90, 50, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert (running.folder / "big.png").read_bytes() == before
    assert running.get("big.png").content == before
    png = [len(running.get(f"big.png?q={q}&w=200&fmt=png").content) for q in (100, 20)]
    assert png[1] < png[0]


def test_transparency_orientation_and_animation_are_handled(running: Running) -> None:
    assert get_image(running, "clear.png?fmt=webp").convert("RGBA").getpixel((1, 1))[3] == 0
    assert get_image(running, "clear.png?fmt=jpeg").getpixel((1, 1)) == (255, 255, 255)
    assert get_image(running, "rotated.jpg?w=20").size == (20, 40)
    assert get_image(running, "animated.gif?w=30&fmt=png").size == (30, 30)


@pytest.mark.parametrize("query", ["quality=80", "q=auto"])
@pytest.mark.parametrize(
    "name", ["animated.gif", "giant.png", "broken.png", "audio.wav", "text.txt"]
)
def test_the_original_is_returned_if_it_cannot_be_made_smaller(
    running: Running, name: str, query: str
) -> None:
    for _ in range(2):
        answer = running.get(f"{name}?{query}")
        assert answer.content == (running.folder / name).read_bytes()
        assert answer.headers["Content-Type"] == running.get(name).headers["Content-Type"]


def test_16_bit_images_keep_their_brightness(running: Running) -> None:
    assert get_image(running, "deep.png?w=20").convert("L").getpixel((1, 1)) == 20000 // 256


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif"])
def test_color_profiles_are_preserved(running: Running, form: str) -> None:
    assert get_image(running, f"profiled.png?w=90&fmt={form}").info["icc_profile"] == PROFILE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("big.png?w=0", 400),
        ("big.png?w=-1", 400),
        ("big.png?w=99999", 400),
        ("big.png?w=abc", 400),
        ("big.png?w=%C2%B2", 400),
        ("big.png?fmt=tiff", 400),
        ("big.png?fmt=../x", 400),
        ("big.png?q=0", 400),
        ("big.png?q=101", 400),
        ("big.png?q=best", 400),
        ("text.txt?w=10", 400),
        ("broken.png?w=10", 422),
        ("giant.png?w=10", 413),
        ("large.png?fmt=webp", 413),
        ("absent.png?w=10", 404),
    ],
)
def test_invalid_requests_get_a_short_error(running: Running, path: str, status: int) -> None:
    answer = running.get(path)
    assert answer.status_code == status
    assert len(answer.text) < 100


def test_a_variant_has_its_own_etag_and_supports_ranges(running: Running) -> None:
    complete = running.get("big.png?w=120&fmt=webp")
    tag = complete.headers["ETag"]
    assert running.get("big.png?w=120&fmt=webp", If_None_Match=tag).status_code == 304
    assert running.get("big.png", If_None_Match=tag).status_code == 200
    part = running.get("big.png?w=120&fmt=webp", Range="bytes=0-9")
    assert part.content == complete.content[:10]
    assert 'filename="big.webp"' in complete.headers["Content-Disposition"]


def test_texts_are_compressed_for_clients_that_accept_gzip(running: Running) -> None:
    for name in ("text.txt", "page.json"):
        plain = running.get(name, Accept_Encoding="identity")
        compressed = running.get(name, Accept_Encoding="gzip, br")
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert int(compressed.headers["Content-Length"]) < len(plain.content) / 5
        assert compressed.content == plain.content == (running.folder / name).read_bytes()
        assert compressed.headers["ETag"] != plain.headers["ETag"]
        assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in running.get("text.txt", Accept_Encoding="gzip;q=0").headers
    assert "Content-Encoding" not in running.get("big.png", Accept_Encoding="gzip").headers
    part = running.get("text.txt", Accept_Encoding="gzip", Range="bytes=0-3")
    assert (part.status_code, part.text) == (206, "a li")


@not_under_wine("waits 10 ms for a lock instead of 10 s")
def test_concurrent_requests_render_a_variant_once(tmp_path: Path) -> None:
    Image.effect_noise((400, 400), 70).save(tmp_path / "a.png")
    files, variants = OpenFileCache(), VariantCache(tmp_path / "copies", 10)
    file = files.acquire(Mount("m", tmp_path), ("a.png",))
    with ThreadPoolExecutor(8) as pool:
        copied: list[str] = []
        variants.on_variant = copied.append
        requested = [VariantRequest(width=50, format="webp")] * 24
        result = list(pool.map(lambda request: variants.image(file, "a.png", request), requested))
    assert (sorted(copied), len({one.etag for one in result})) == (["kept"] * 23 + ["made"], 1)
    assert len(list((tmp_path / "copies").iterdir())) == 1
    for one in result:
        files.release(one)
    files.close()


def test_a_modified_original_gets_new_variants_and_old_ones_are_evicted(tmp_path: Path) -> None:
    files, variants = OpenFileCache(), VariantCache(tmp_path / "copies", 1)
    tags = set()
    for number in range(30):
        path = tmp_path / "a.png"
        Image.effect_noise((300, 300), 90).save(path)
        os.utime(path, ns=(number, number * 10**9))
        result = variants.image(
            files.acquire(Mount("m", tmp_path), ("a.png",)), "a.png", VariantRequest(200)
        )
        tags.add(result.etag)
        files.release(result)
        for variant in (tmp_path / "copies").iterdir():
            os.utime(variant, (variant.stat().st_atime - 60, variant.stat().st_mtime - 60))
    files.close()
    assert len(tags) == 30
    total = sum(path.stat().st_size for path in (tmp_path / "copies").iterdir())
    assert total < 1.2 * 2**20


def test_slow_renders_do_not_delay_other_requests(running: Running) -> None:
    expected = running.get("big.png?w=77").content
    with ThreadPoolExecutor(8) as pool:
        large = [
            pool.submit(running.get, f"noise.png?fmt=avif&q=90&w={700 - number}")
            for number in range(8)
        ]
        wait_until(lambda: any(one.running() for one in large))
        assert running.get("big.png?w=77").content == expected
        gallery = f"/comfyui_server/pw={KEY}/gallery/m/list"
        assert running.get(gallery).json()["total"] > 5
        assert not all(one.done() for one in large), "the others had to wait"
        assert {one.result().status_code for one in large} == {200}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_responses_without_a_body_leave_no_variant_open(running: Running) -> None:
    pids = processes(running.process.pid)
    tag = running.get("big.png?w=66").headers["ETag"]
    before = open_files(pids)
    compressed = {"Accept_Encoding": "gzip"}
    for _ in range(40):
        assert running.get("big.png?w=66", If_None_Match=tag).status_code == 304
        assert running.get("big.png?w=66", If_Match='"x"').status_code == 412
        assert running.get("big.png?w=66", Range="bytes=99999999-").status_code == 416
        assert running.get("text.txt", If_None_Match="*", **compressed).status_code == 304
        assert running.get("animated.gif?q=50", If_None_Match="*").status_code == 304
        requests.head(f"{running.files}/big.png?w=66", timeout=TIMEOUT)
    assert open_files(pids) < before + 20


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_the_cache_folder_is_private(running: Running) -> None:
    assert running.get("big.png?w=55").ok
    copies = running.folder.parent / "copies"
    assert stat.S_IMODE(copies.stat().st_mode) == 0o700


def test_variants_of_earlier_servers_are_evicted_too(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for number in range(30):
        (copies / f"{number}.png").write_bytes(bytes(100_000))
        os.utime(copies / f"{number}.png", (number, number))
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    files, variants = OpenFileCache(), VariantCache(copies, 1)
    files.release(
        variants.image(files.acquire(Mount("m", tmp_path), ("a.png",)), "a.png", VariantRequest(10))
    )
    files.close()
    assert sum(path.stat().st_size for path in copies.iterdir()) <= 2**20


def test_a_cache_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "copies").write_text("a file instead of a folder", "utf-8")
    files, variants = OpenFileCache(), VariantCache(tmp_path / "copies", 1)
    file = files.acquire(Mount("m", tmp_path), ("a.png",))
    with pytest.raises(VariantError) as refused:
        variants.image(file, "a.png", VariantRequest(10))
    assert refused.value.status == 503
    files.close()


def test_gzip_is_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 3000, "utf-8")
    files, variants = OpenFileCache(), VariantCache(tmp_path / "copies", 1)
    result = variants.gzipped(files.acquire(Mount("m", tmp_path), ("a.txt",)))
    assert gzip.decompress(result.read(0, result.size)) == b"x" * 3000
    files.release(result)
    files.close()


def test_other_query_parameters_request_no_variant() -> None:
    assert parse_variant_request({"t": "17", "download": "1"}) is None
    assert parse_variant_request({"w": "10", "q": "auto"}) == VariantRequest(10, lossy=True)
