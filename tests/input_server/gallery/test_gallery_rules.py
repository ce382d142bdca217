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
def gallery(decided: Any) -> Served:
    made: Served = decided()
    made.server.pages["gallery"] = Gallery(made.server.mounts, made.config.signing_key)
    return made


def told(ask: Served, below: str) -> Any:
    reply = ask(f"/comfyui_server/pw={KEY}/gallery/m/{below}")
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def test_a_large_seed_keeps_its_digits(gallery: Served) -> None:
    """JavaScript's numbers end at 2^53."""
    png(gallery.folder / "a.png", prompt(seed=2**64 - 1))
    assert told(gallery, "info?path=a.png")["seeds"] == [str(2**64 - 1)]


def test_the_page_runs_its_own_script_alone_and_is_in_no_frame(gallery: Served) -> None:
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


def test_a_search_does_not_mind_case_or_the_width_of_letters(gallery: Served) -> None:
    png(gallery.folder / "ＣＡＴ ①.png")
    png(gallery.folder / "straße.png")
    for words in ("cat", "ＣＡＴ", "cat 1"):
        assert [item["name"] for item in told(gallery, f"list?q={words}")["items"]] == [
            "ＣＡＴ ①.png"
        ]
    assert listing.normalized("STRASSE") == listing.normalized("straße")


def test_a_text_that_feeds_both_roles_is_told_as_the_positive_one(gallery: Served) -> None:
    both = prompt(positive="a lighthouse")
    both["8"] = node("ConditioningZeroOut", conditioning=["6", 0])
    both["3"]["inputs"]["negative"] = ["8", 0]
    png(gallery.folder / "a.png", both)
    info = told(gallery, "info?path=a.png")
    assert (info["positive"], info["negative"]) == ("a lighthouse", "")
    assert image_info.ImageInfo().negative == ""


def test_the_first_text_of_a_name_counts(gallery: Served) -> None:
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for seed in (1, 2):
        chunks.add_text("prompt", json.dumps(prompt(seed=seed)))
    Image.new("RGB", (8, 8)).save(gallery.folder / "a.png", "PNG", pnginfo=chunks)
    assert told(gallery, "info?path=a.png")["seeds"] == ["1"]
