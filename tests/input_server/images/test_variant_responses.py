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


def shown(reply: HttpResponse) -> Image.Image:
    assert reply.status == 200, reply.body
    assert reply.file is not None
    return Image.open(io.BytesIO(reply.file.path.read_bytes()))


def test_a_signed_address_has_copies_of_few_sizes_and_a_key_any(decided: Any) -> None:
    ask = decided()
    Image.effect_noise((900, 900), 50).save(ask.folder / "a.png")
    query = signing.query(KEY, "files", "m", ("a.png",), int(time.time()) + 60)
    assert shown(ask(f"/comfyui_server/files/m/a.png?{query}&w=301")).width == 320
    assert shown(ask("a.png?w=301")).width == 301


def test_a_copy_is_never_larger_than_its_picture(decided: Any) -> None:
    ask = decided()
    Image.effect_noise((40, 30), 50).save(ask.folder / "a.png")
    for query, size in (
        ("w=400", (40, 30)),
        ("h=3000", (40, 30)),
        ("w=400&h=400", (40, 30)),
        ("w=20&h=4000", (20, 15)),
    ):
        assert shown(ask(f"a.png?{query}&fmt=png")).size == size


def test_what_is_see_through_becomes_white_in_a_jpeg(decided: Any) -> None:
    ask = decided()
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(ask.folder / "a.png")
    low, _ = shown(ask("a.png?fmt=jpeg")).convert("L").getextrema()
    assert isinstance(low, int)
    assert low > 250


def test_a_lighter_copy_that_is_heavier_is_the_file_itself(decided: Any, tmp_path: Path) -> None:
    ask = decided()
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


def test_a_head_counts_no_bytes() -> None:
    metrics = Metrics(dict)
    sent = HttpResponse(200, {}, b"12345")
    for method in ("HEAD", "GET"):
        metrics.record(sent, method, metrics.now())
    body = metrics.answer(None, {}, None).body.decode()  # type: ignore[arg-type]
    assert "comfyui_files_sent_bytes_total 5.0" in body
