"""What the gallery lists is what is there: replaced files, folders that are gone, kinds of files."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from input_server.application import create_file_server
from input_server.auth.keys import Key
from input_server.content_type import detect_type
from input_server.gallery.listing import media_kind
from input_server.mounts.mount import Mount
from input_server.settings import Config
from tests.input_server.gallery_harness import KEY, GalleryHarness, png
from tests.waiting import wait_until

PAGE = f"/comfyui_server/pw={KEY}/gallery/m/"


def urls(harness: GalleryHarness) -> set[str]:
    (item,) = harness.json("list")["items"]
    return {item["url"], item["thumb"]} | ({item["view"]} if item["view"] else set())


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_the_addresses_of_a_replaced_file_are_new(harness: GalleryHarness, name: str) -> None:
    path = harness.folder / name
    png(path, color=(255, 0, 0), when=1000)
    before = urls(harness)
    assert urls(harness) == before, "a file that stays the same is cached"
    png(harness.folder / "b.part", color=(0, 0, 255))
    (harness.folder / "b.part").replace(path)
    os.utime(path, ns=(10**12 + 1, 10**12 + 1))  # in the same second
    wait_until(lambda: not urls(harness) & before)


def test_a_folder_that_is_gone_is_not_called_empty(harness: GalleryHarness) -> None:
    assert harness.ask(PAGE.replace("/m/", "/other/") + "list").status == 404
    png(harness.folder / "a.png")
    assert harness.names() == ["a.png"]
    shutil.rmtree(harness.folder)
    wait_until(lambda: harness.ask(PAGE + "list").status == 404)
    assert harness.ask(PAGE).status == 200, "the page says it"
    png(harness.folder / "b.png")
    assert harness.names() == ["b.png"]


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="needs a folder that may not be read",
)
def test_a_folder_that_may_not_be_read_is_not_called_empty(harness: GalleryHarness) -> None:
    harness.folder.chmod(0)
    assert harness.ask(PAGE + "list").status == 404
    harness.folder.chmod(0o700)


def test_every_format_that_browsers_show_is_listed() -> None:
    names = {
        "image": "png apng jpg jpeg jfif pjpeg pjp jpe gif webp avif bmp svg ico",
        "video": "mp4 m4v webm ogv mov",
        "audio": "mp3 wav flac ogg oga opus m4a aac weba",
    }
    for kind, suffixes in names.items():
        assert {media_kind(f"a.{one}") for one in suffixes.split()} == {kind}


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.ogv", b"OggS" + bytes(300), "video/ogg"),
        ("a.ogg", b"OggS" + bytes(24) + b"\x80theora", "video/ogg"),
        ("a.ogg", b"OggS" + bytes(24) + b"\x01vorbis", "audio/ogg"),
        ("a.oga", b"OggS" + bytes(24) + b"fishead" + bytes(80) + b"OVP80", "video/ogg"),
        ("a.png", b"OggS" + bytes(24) + b"\x80theora", "video/ogg"),
        ("a.ogv", b"no video" * 40, "application/octet-stream"),
        ("a.m4v", b"\0\0\0\x20ftypM4V " + bytes(40), "video/mp4"),
        ("a.weba", b"\x1a\x45\xdf\xa3" + bytes(40), "audio/webm"),
        ("a.jfif", b"\xff\xd8\xff\xe0" + bytes(40), "image/jpeg"),
        ("a.apng", b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png"),
        ("a.apng", b"<html>" + bytes(40), "application/octet-stream"),
    ],
)
def test_types_are_known_by_content_and_by_every_suffix(name: str, head: bytes, kind: str) -> None:
    assert detect_type(name, head) == kind


def test_a_results_folder_without_results_is_empty_and_not_missing(tmp_path: Path) -> None:
    results = Mount("output", tmp_path / "output")
    unplugged = Mount("output", tmp_path / "drive" / "output")
    for mount in (results, unplugged):
        config = Config(
            mounts=(mount,),
            mounts_file=tmp_path / "absent.json",
            keys=(Key("owner", KEY),),
            signing_key=KEY,
            cache_dir=tmp_path / "cache",
            results=mount,
        )
        create_file_server(config).close()
    assert results.folder.is_dir()
    assert not unplugged.folder.parent.exists()
