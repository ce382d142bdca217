"""The gallery's list: order, limits and cursors."""

from __future__ import annotations

from input_server.auth import deny_list
from input_server.gallery import listing, routes
from input_server.gallery.listing import make_cursor, media_kind, position_after
from input_server.images import (
    containers,
    embedded_texts,
    memory,
)
from input_server.images.variant_request import (
    parse_variant_request,
)
from input_server.mounts import cleanup, retention, table
from input_server.mounts.disk_usage import Entry
from input_server.urls import parse_query
from tests.input_server.gallery_harness import KEY, GalleryHarness, png

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"


def test_a_page_of_the_list_has_60_files_by_default_and_at_most_200(
    harness: GalleryHarness,
) -> None:
    for number in range(201):
        (harness.folder / f"{number}.txt").write_text("x", "utf-8")
    assert len(harness.names()) == 60
    assert len(harness.names("list?n=200")) == 200
    assert len(harness.names("list?n=1")) == 1
    for wrong in ("0", "201", "1000", "x"):
        assert harness.ask(f"{PAGE}list?n={wrong}").status == 400
    assert harness.ask(f"{PAGE}list?q={'a' * 200}").status == 200
    assert harness.ask(f"{PAGE}list?q={'a' * 201}").status == 400
    assert harness.json("list?n=1")["expires_in"] is None


def test_files_with_the_same_time_are_listed_by_descending_name(harness: GalleryHarness) -> None:
    for name in ("b.png", "a.png", "c.png"):
        png(harness.folder / name, when=1000)
    png(harness.folder / "newer.png", when=1001)
    assert harness.names() == ["newer.png", "c.png", "b.png", "a.png"]


def test_the_thumbnails_of_the_gallery_have_sizes_allowed_for_signed_links() -> None:
    for query in (routes.THUMBNAIL, routes.BROWSER_VIEW):
        request = parse_variant_request(parse_query(f"/x?{query}"))
        assert request is not None
        assert request.rounded == request
    assert routes.THUMBNAIL == "w=320&h=1280&fmt=webp&q=auto"
    assert routes.BROWSER_VIEW == "w=2048&h=2048&fmt=webp&q=auto"


def test_a_cursor_of_a_deleted_file_repeats_files_with_the_same_time() -> None:
    files = [Entry((name,), 1, moment, 1) for name, moment in (("c", 3), ("b", 2), ("a", 2))]
    assert position_after(files, make_cursor(files[0])) == 1
    assert position_after(files, make_cursor(files[1])) == 2
    assert position_after(files, make_cursor(files[2])) == 3
    deleted = Entry(("deleted",), 1, 2, 1)
    assert position_after(files, make_cursor(deleted)) == 1


def test_media_kinds_by_suffix() -> None:
    kinds = {
        "a.PNG": "image",
        "a.mp4": "video",
        "a.mp3": "audio",
        "a.glb": "model",
        "a.txt": "text",
        "a.json": "text",
        "a.pdf": "document",
        "a.heic": "image",
        "a.exe": None,
    }
    assert {name: media_kind(name) for name in kinds} == kinds


def test_limits_of_caches_and_intervals() -> None:
    assert (listing.MIN_CACHE_SECONDS, listing.MAX_FOLDERS, listing.SEARCH_SECONDS) == (1.0, 8, 0.5)
    assert (listing.MAX_TEXTS, listing.MAX_CHARACTERS, listing.MAX_TEXT_CHARS) == (
        20_000,
        16_000_000,
        400_000,
    )
    assert (embedded_texts.MAX_TEXT_BYTES, containers.MAX_CHUNKS) == (4 * 2**20, 16_384)
    assert (memory.DEFAULT_IMAGE_MB, memory.MAX_OVERTAKES) == (220, 8)
    assert (deny_list.CHECK_SECONDS, table.CHECK_SECONDS) == (2.0, 1.0)
    assert (cleanup.FIRST_SECONDS, cleanup.INTERVAL_SECONDS) == (60.0, 3600.0)
    assert retention.MIN_AGE_SECONDS == 3600.0
