"""Files in the server's input folder, and the names they get."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders, open_resolved_file
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.sources import parse_source
from comfyui_pipeline.media.upload import read
from tests.media.input_folder import Server, place, png
from tests.waiting import TIMEOUT


def test_an_image_is_uploaded_once_under_a_name_from_its_content(places: AllowedFolders) -> None:
    server = Server()
    digest = hashlib.sha256(png()).hexdigest()
    values = {
        place(value, server, places, DownloadPolicy()).value
        for value in ("图 a.png", base64.b64encode(png()).decode())
    }
    assert values == {f"comfyui-plugin/{digest[:32]}.png"}
    assert server.uploads == 1


def test_two_images_of_one_name_get_different_names(places: AllowedFolders, tmp_path: Path) -> None:
    server = Server()
    first = place("图 a.png", server, places, DownloadPolicy()).value
    (tmp_path / "attachments" / "图 a.png").write_bytes(png((30, 30)))
    second = place("图 a.png", server, places, DownloadPolicy()).value
    assert first != second
    assert server.files[first] != server.files[second]


def test_a_local_input_folder_is_used_only_if_the_server_reads_it(
    places: AllowedFolders, tmp_path: Path
) -> None:
    own = tmp_path / "input"
    own.mkdir()
    server = Server(own)
    value = place("图 a.png", server, places, DownloadPolicy(), input_dir=own).value
    assert server.uploads == 0
    assert (own / value).read_bytes() == png()
    stranger = Server()
    place("图 a.png", stranger, places, DownloadPolicy(), input_dir=own)
    assert stranger.uploads == 1


def test_an_unknown_file_name_is_an_error(places: AllowedFolders) -> None:
    with pytest.raises(MediaError, match="neither in ComfyUI's input folder"):
        place("nowhere.png", Server(), places, DownloadPolicy())


MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(64)
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(64)


@pytest.mark.parametrize(
    ("wanted", "content", "ending"),
    [
        ("video", MP4, ".mp4"),
        ("audio", WAV, ".wav"),
        ("audio", MP4, ".mp4"),
        ("file", b"glTF" + bytes(40), ".glb"),
    ],
)
def test_other_kinds_get_the_extension_of_their_content(
    tmp_path: Path, wanted: Any, content: bytes, ending: str
) -> None:
    file = tmp_path / "no ending"
    file.write_bytes(content)
    server = Server()
    value = place(
        str(file), server, AllowedFolders(None, (tmp_path,)), DownloadPolicy(), accepts=wanted
    ).value
    assert value.endswith(ending)
    assert server.files[value] == content


@pytest.mark.parametrize(
    ("wanted", "content", "message"),
    [
        ("video", png(), r"is an image \(png\); the input takes a video"),
        ("audio", b"<!doctype html><html>no", "is a web page"),
        ("video", b"nothing known" * 9, "is a text"),
        ("audio", b"", "is empty"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, wanted: Any, content: bytes, message: str
) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    with pytest.raises(MediaError, match=message):
        place(
            str(file), Server(), AllowedFolders(None, (tmp_path,)), DownloadPolicy(), accepts=wanted
        )


@pytest.mark.skipif(os.name == "nt", reason="Windows lets only administrators make links")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_symlink_that_appears_after_the_check_is_not_followed(
    places: AllowedFolders, tmp_path: Path, what: str
) -> None:
    """Another thread puts a link in the file's, or its folder's, place and takes it away all the time."""
    secret, folder = tmp_path / "elsewhere", tmp_path / "attachments"
    (secret / "cat.png").write_bytes(png(color=(66, 6, 6)))
    (folder / "sub").mkdir()
    (folder / "sub" / "cat.png").write_bytes(png())
    swapped = folder / "sub" if what == "folder" else folder / "sub" / "cat.png"
    aside, link = folder / "aside", folder / "link"
    link.symlink_to(secret if what == "folder" else secret / "cat.png")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            swapped.rename(aside)
            link.rename(swapped)
            swapped.rename(link)
            aside.rename(swapped)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(read(parse_source("sub/cat.png", places), DownloadPolicy(), None))
            except MediaError:
                continue
    finally:
        stop.set()
        thread.join()
    assert seen <= {png()}
    assert read(parse_source("sub/cat.png", places), DownloadPolicy(), None) == png()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links and pipes")
def test_only_the_checked_path_is_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(png())
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "a.png").symlink_to(tmp_path / "folder" / "a.png")
    os.mkfifo(tmp_path / "pipe")
    os.close(open_resolved_file(tmp_path.resolve() / "folder" / "a.png"))
    for other in ("link/a.png", "a.png", "pipe", "folder", "nothing"):
        with pytest.raises(OSError):
            open_resolved_file(tmp_path.resolve() / other)


DATA = Path(__file__).resolve().parents[1] / "data" / "media"


ALLOWED = DownloadPolicy(allow=("127.0.0.1",), read_seconds=TIMEOUT, total_seconds=TIMEOUT)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [("audio", {"sound.mp3", "film.mp4"}), ("video", {"film.mp4"})],
)
def test_a_video_is_accepted_as_audio_but_not_the_reverse(wanted: Any, taken: set[str]) -> None:
    for name in ("sound.mp3", "film.mp4"):
        value = "data:;base64," + base64.b64encode((DATA / name).read_bytes()).decode()
        if name in taken:
            assert place(value, Server(), AllowedFolders(None), ALLOWED, accepts=wanted).value
        else:
            with pytest.raises(MediaError, match="the input takes a video"):
                place(value, Server(), AllowedFolders(None), ALLOWED, accepts=wanted)


@pytest.mark.parametrize(
    ("accepts", "setting"),
    [
        ("image", "COMFYUI_MAX_IMAGE_MB"),
        ("mask", "COMFYUI_MAX_IMAGE_MB"),
        ("audio", "COMFYUI_MAX_FILE_MB"),
    ],
)
def test_a_file_above_the_limit_of_the_settings_is_refused_by_name(
    accepts: Any, setting: str, places: AllowedFolders, tmp_path: Path
) -> None:
    (tmp_path / "attachments" / "large.png").write_bytes(png((20, 20)))
    small = DownloadPolicy(max_bytes=20)
    with pytest.raises(MediaError, match=rf"large.png is larger than .* raise {setting}"):
        place("large.png", Server(), places, small, accepts=accepts)
