"""Responses with variants of images."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from PIL import Image

from input_server.auth import signing
from input_server.http.metrics import Metrics
from input_server.http.response import HttpResponse
from input_server.images.variant_request import VariantRequest
from input_server.images.variants import VariantCache
from tests.input_server.gallery_harness import KEY


def image_of(reply: HttpResponse) -> Image.Image:
    assert reply.status == 200, reply.body
    assert reply.file is not None
    return Image.open(io.BytesIO(reply.file.path.read_bytes()))


def test_a_signed_link_gets_rounded_sizes_and_a_key_exact_ones(make_served: Any) -> None:
    ask = make_served()
    Image.effect_noise((900, 900), 50).save(ask.folder / "a.png")
    query = signing.query(KEY, "files", "m", ("a.png",), int(time.time()) + 60)
    assert image_of(ask(f"/comfyui_server/files/m/a.png?{query}&w=301")).width == 320
    assert image_of(ask("a.png?w=301")).width == 301


def test_a_variant_is_never_larger_than_the_image(make_served: Any) -> None:
    ask = make_served()
    Image.effect_noise((40, 30), 50).save(ask.folder / "a.png")
    for query, size in (
        ("w=400", (40, 30)),
        ("h=3000", (40, 30)),
        ("w=400&h=400", (40, 30)),
        ("w=20&h=4000", (20, 15)),
    ):
        assert image_of(ask(f"a.png?{query}&fmt=png")).size == size


def test_transparent_pixels_become_white_in_a_jpeg(make_served: Any) -> None:
    ask = make_served()
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(ask.folder / "a.png")
    low, _ = image_of(ask("a.png?fmt=jpeg")).convert("L").getextrema()
    assert isinstance(low, int)
    assert low > 250


def test_the_file_is_sent_if_its_compressed_variant_is_larger(
    make_served: Any, tmp_path: Path
) -> None:
    ask = make_served()
    path = ask.folder / "a.jpg"
    Image.effect_noise((200, 200), 90).convert("RGB").save(path, "JPEG", quality=5)
    reply = ask("a.jpg?q=100")
    assert (reply.headers["Content-Length"], reply.headers["Content-Type"]) == (
        str(path.stat().st_size),
        "image/jpeg",
    )
    assert reply.file is not None
    assert reply.file.path == path.resolve()
    assert VariantCache(tmp_path / "other", 1).folder != reply.file.root
    assert VariantRequest(lossy=True).quality_only


def test_head_adds_no_bytes_to_the_metrics() -> None:
    metrics = Metrics(dict)
    sent = HttpResponse(200, {}, b"12345")
    for method in ("HEAD", "GET"):
        metrics.record(sent, method, metrics.now())
    body = metrics.answer(None, {}, None).body.decode()  # type: ignore[arg-type]
    assert "comfyui_files_sent_bytes_total 5.0" in body
