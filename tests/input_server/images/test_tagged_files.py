"""Prompts and sizes of films and sounds: from every place where ffmpeg stores the tags."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable

import pytest

from input_server.images.embedded_texts import MAX_READS, ImageBytes, read_embedded
from tests.input_server.gallery_harness import PROJECT, GalleryHarness
from tests.input_server.images import tagged_files as files
from tests.input_server.images.tagged_files import FOLDED, TEXTS, box, element

MEDIA = PROJECT / "tests" / "data" / "media"
LONG = {**TEXTS, "prompt": TEXTS["prompt"] + " " * 200_000}
FILMS: dict[str, tuple[str, bytes]] = {
    "SaveVideo": ("a.mp4", files.movie(files.track(64, 48) + files.iso_tags(TEXTS))),
    "tags of the movie": (
        "a.mp4",
        files.movie(files.track(64, 48) + box(b"meta", files.keyed(TEXTS))),
    ),
    "QuickTime": (
        "a.mov",
        files.movie(files.track(64, 48) + box(b"meta", files.keyed(TEXTS)), b"qt  "),
    ),
    "iTunes": ("a.m4v", files.movie(files.track(64, 48) + files.itunes_freeform(TEXTS))),
    "folded": ("a.mp4", files.movie(files.track(64, 48) + files.itunes_comment(FOLDED["comment"]))),
    "folded, keyed": ("a.mp4", files.movie(files.track(64, 48) + files.iso_tags(FOLDED))),
    "folded, QuickTime": (
        "a.mov",
        files.movie(files.track(64, 48) + files.user_data(FOLDED["comment"])),
    ),
    "SaveWEBM": ("a.webm", files.matroska(TEXTS)),
    "tags behind the frames": ("a.webm", files.matroska(TEXTS, where="back")),
    "frames of unknown length": ("a.mkv", files.matroska(TEXTS, where="index")),
    "folded, Matroska": ("a.mkv", files.matroska(FOLDED)),
}
SOUNDS: dict[str, tuple[str, bytes]] = {
    "FLAC": ("a.flac", files.flac(TEXTS)),
    "MP3": ("a.mp3", files.mp3(TEXTS)),
    "MP3 with ID3 2.3": ("a.mp3", files.mp3(TEXTS, 3)),
    "Opus": ("a.opus", files.opus(TEXTS)),
    "Opus of several pages": ("a.ogg", files.opus(LONG)),
    "M4A": ("a.m4a", files.movie(files.iso_tags(TEXTS), b"M4A ")),
}


@pytest.mark.parametrize("which", [*FILMS, *SOUNDS])
def test_the_prompt_of_films_and_sounds_is_told_and_found(
    harness: GalleryHarness, which: str
) -> None:
    name, content = {**FILMS, **SOUNDS}[which]
    (harness.folder / name).write_bytes(content)
    info = harness.json(f"info?path={name}")
    assert (info["positive"], info["seeds"], info["workflow"]) == (
        "a lighthouse at dawn",
        ["1234"],
        True,
    )
    assert (info["width"], info["height"]) == ((64, 48) if which in FILMS else (None, None))
    assert harness.names("list?q=lighthouse") == [name]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "mkv"])
def test_the_size_of_real_films_is_told(harness: GalleryHarness, suffix: str) -> None:
    shutil.copy(MEDIA / f"film.{suffix}", harness.folder / f"a.{suffix}")
    info = harness.json(f"info?path=a.{suffix}")
    assert (info["width"], info["height"]) == (64, 48)


def size(name: str, content: bytes) -> tuple[int | None, int | None]:
    found = read_embedded(ImageBytes(content, {"mp4": "video/mp4", "mkv": "video/webm"}[name]))
    return found.width, found.height


def test_the_size_is_that_of_the_picture_as_it_is_shown() -> None:
    sound = files.track(0, 0, b"soun")
    subtitles = files.track(300, 20, b"text")
    assert size("mp4", files.movie(sound + subtitles + files.track(640, 360))) == (640, 360)
    assert size("mp4", files.movie(files.track(640, 360, turned=True))) == (360, 640)
    assert size("mkv", files.matroska({}, shown=(85, 48))) == (85, 48)
    assert size("mp4", files.movie(sound)) == (None, None)


@pytest.mark.parametrize("which", [*FILMS, *SOUNDS])
def test_a_file_cut_off_anywhere_is_handled(which: str) -> None:
    name, content = {**FILMS, **SOUNDS}[which]
    kinds = {"mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "webm": "video/webm"}
    kinds |= {"mkv": "video/webm", "flac": "audio/flac", "mp3": "audio/mpeg", "m4a": "audio/mp4"}
    kind = kinds.get(name[2:], "audio/ogg")
    for end in {*range(200), *range(200, len(content), 97)}:
        read_embedded(ImageBytes(content[:end], kind))


TAGS = element(0x1254C367, element(0x7373, element(0x67C8, b"")) * 20)
HOSTILE: dict[str, tuple[str, bytes]] = {
    "tracks": ("video/mp4", files.movie(box(b"trak", b"") * 300_000)),
    "nested tracks": (
        "video/mp4",
        files.movie(box(b"trak", box(b"mdia", box(b"x   ", b"") * 999) * 40) * 40),
    ),
    "boxes": ("video/mp4", box(b"free", b"") * 300_000),
    "items": (
        "video/mp4",
        files.movie(box(b"meta", bytes(4) + box(b"ilst", box(b"x   ", b"") * 300_000))),
    ),
    "elements": ("video/webm", element(0x18538067, element(0xEC, b"") * 200_000)),
    "tags": ("video/webm", element(0x18538067, TAGS * 20_000)),
    "blocks": ("audio/flac", b"fLaC" + bytes(4) * 300_000),
    "pages": ("audio/ogg", (b"OggS" + bytes(22) + b"\1\1x") * 100_000),
    "frames": ("audio/mpeg", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + (b"TXXX" + bytes(6)) * 300_000),
    "lists in a comment": ("audio/flac", files.flac({"comment": "{" + "[]" * 1_900_000})),
    "open quotes": ("audio/flac", files.flac({"comment": "{" + '"\\' * 1_900_000})),
    "backslashes": ("audio/flac", files.flac({"comment": '{"a": ' + "\\" * 3_000_000 + '"'})),
    "spaces": ("audio/flac", files.flac({"comment": '{"a"' + " " * 3_000_000 + '"class_type"'})),
    "places": (
        "image/avif",
        box(
            b"meta",
            bytes(4)
            + box(b"pitm", bytes(6))
            + box(b"iinf", bytes(6) + box(b"infe", b"\2\0\0\0\0\1\0\0Exif"))
            + box(
                b"iloc",
                b"\1\0\0\0\x44\x44\xff\xff" + bytes([0, 9, 0, 0, 0, 0, 0xFF, 0xFF]) * 99_999,
            ),
        ),
    ),
    "properties": (
        "image/avif",
        box(
            b"meta",
            bytes(4)
            + box(b"pitm", bytes(6))
            + box(b"iprp", box(b"ipma", bytes(4) + b"\xff" * 900_000)),
        ),
    ),
}


class CountedReads(ImageBytes):
    """Counts the parts that are read."""

    reads = 0

    def read(self, start: int, length: int, /) -> bytes:
        CountedReads.reads += 1
        return super().read(start, length)


@pytest.mark.parametrize("which", HOSTILE)
def test_files_of_many_parts_are_read_in_limited_time(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, content = HOSTILE[which]
    monkeypatch.setattr(CountedReads, "reads", 0)
    started = time.process_time()
    found = read_embedded(CountedReads(content, kind))
    assert time.process_time() - started < 8
    assert CountedReads.reads <= MAX_READS
    assert not found.texts


@pytest.mark.parametrize(
    "build",
    [
        files.flac,
        files.mp3,
        files.opus,
        files.matroska,
        lambda tags: files.movie(files.iso_tags(tags)),
    ],
)
def test_a_text_that_is_too_long_is_said_to_be_missing(
    harness: GalleryHarness, build: Callable[[dict[str, str]], bytes]
) -> None:
    content = build({"prompt": "{" + " " * 5_000_000, "workflow": TEXTS["workflow"]})
    name = {b"fLa": "a.flac", b"ID3": "a.mp3", b"Ogg": "a.opus", b"\x1aE\xdf": "a.webm"}.get(
        content[:3], "a.mp4"
    )
    (harness.folder / name).write_bytes(content)
    listed = harness.json("list?q=lighthouse")
    assert (listed["items"], listed["partly_searched"]) == ([], 1)
    assert "partly_searched" not in harness.json("list")


def test_an_item_beyond_the_largest_offset_is_not_read(harness: GalleryHarness) -> None:
    table = b"\0\0\0\0\x88\x80\0\1" + struct.pack(">HHQHQQ", 1, 0, 2**64 - 1, 1, 2**64 - 1, 99)
    items = box(b"infe", b"\2\0\0\0\0\1\0\0Exif\0")
    content = box(b"pitm", bytes(6)) + box(b"iinf", bytes(6) + items) + box(b"iloc", table)
    avif = box(b"ftyp", b"avif" + bytes(8)) + box(b"meta", bytes(4) + content)
    (harness.folder / "a.avif").write_bytes(avif)
    assert harness.json("info?path=a.avif")["width"] is None
