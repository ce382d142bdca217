"""The gallery's page, search and image information."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from input_server.gallery import listing
from input_server.gallery.routes import Gallery
from input_server.images import image_info
from tests.input_server.gallery_harness import KEY, node, png, prompt
from tests.input_server.served import Served


@pytest.fixture
def gallery(make_served: Any) -> Served:
    served: Served = make_served()
    served.server.pages["gallery"] = Gallery(served.server.mounts, served.config.signing_key)
    return served


def get_json(ask: Served, path: str) -> Any:
    reply = ask(f"/comfyui_server/pw={KEY}/gallery/m/{path}")
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def test_a_seed_beyond_2_to_the_53_is_exact(gallery: Served) -> None:
    """JavaScript numbers are exact up to 2^53 only."""
    png(gallery.folder / "a.png", prompt(seed=2**64 - 1))
    assert get_json(gallery, "info?path=a.png")["seeds"] == [str(2**64 - 1)]


def test_the_page_has_a_strict_content_security_policy(gallery: Served) -> None:
    reply = gallery(f"/comfyui_server/pw={KEY}/gallery/m/")
    policy = reply.headers["Content-Security-Policy"].split("; ")
    for rule in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ):
        assert rule in policy
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["Cache-Control"] == "no-store"


def test_a_search_ignores_case_and_full_width_forms(gallery: Served) -> None:
    png(gallery.folder / "ＣＡＴ ①.png")
    png(gallery.folder / "straße.png")
    for words in ("cat", "ＣＡＴ", "cat 1"):
        assert [item["name"] for item in get_json(gallery, f"list?q={words}")["items"]] == [
            "ＣＡＴ ①.png"
        ]
    assert listing.normalized("STRASSE") == listing.normalized("straße")


def test_a_text_that_feeds_both_roles_is_positive(gallery: Served) -> None:
    both = prompt(positive="a lighthouse")
    both["8"] = node("ConditioningZeroOut", conditioning=["6", 0])
    both["3"]["inputs"]["negative"] = ["8", 0]
    png(gallery.folder / "a.png", both)
    info = get_json(gallery, "info?path=a.png")
    assert (info["positive"], info["negative"]) == ("a lighthouse", "")
    assert image_info.ImageInfo().negative == ""


def test_the_first_of_several_texts_with_one_name_is_used(gallery: Served) -> None:
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for seed in (1, 2):
        chunks.add_text("prompt", json.dumps(prompt(seed=seed)))
    Image.new("RGB", (8, 8)).save(gallery.folder / "a.png", "PNG", pnginfo=chunks)
    assert get_json(gallery, "info?path=a.png")["seeds"] == ["1"]
