"""Decisions about input files that a small change could reverse unnoticed: each has a test that notices."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from comfyui_pipeline.errors import DownloadRefused, MediaError
from comfyui_pipeline.media import image_convert, image_masks, previews
from comfyui_pipeline.media.allowed_folders import AllowedFolders, ServedFolder
from comfyui_pipeline.media.download import DownloadPolicy, download
from comfyui_pipeline.media.file_names import safe_name
from comfyui_pipeline.media.result_files import store
from comfyui_pipeline.media.sources import LocalFile, Url, parse_source
from tests.media.shelf import Server, place, png
from tests.waiting import TIMEOUT

DATA = Path(__file__).resolve().parents[1] / "data" / "media"
ALLOWED = DownloadPolicy(allow=("127.0.0.1",), read_seconds=TIMEOUT, total_seconds=TIMEOUT)


class Site(BaseHTTPRequestHandler):
    """``/<status>`` leads to ``/a.png`` by that status; ``/+n`` and ``/-n`` promise a wrong length."""

    asked: list[str]

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append(f"{path} {self.headers['Authorization']}")
        content = png()
        if path[1:].isdigit():
            self.send_response(int(path[1:]))
            self.send_header("Location", "/a.png")
            content = b""
        else:
            self.send_response(200)
        more = int(path[1:]) if path[1:2] in ("+", "-") else 0
        self.send_header("Content-Length", str(len(content) + more))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def site() -> Iterator[Any]:
    handler = type("Handler", (Site,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
        server.shutdown()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(site: Any, status: int) -> None:
    assert download(f"{site[0]}/{status}", ALLOWED) == png()


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_no_other_status_leads_anywhere(site: Any, status: int) -> None:
    with pytest.raises(MediaError, match=f"status {status}"):
        download(f"{site[0]}/{status}", ALLOWED)
    assert len(site[1]) == 1


def test_a_download_that_is_shorter_than_promised_is_none(site: Any) -> None:
    with pytest.raises(MediaError, match=r"broke off|failed"):
        download(f"{site[0]}/+5", ALLOWED)


def test_a_login_in_an_address_is_never_sent(site: Any) -> None:
    base = site[0].replace("http://", "http://user:s3cret@")
    with pytest.raises(DownloadRefused, match="user name or password") as caught:
        download(f"{base}/a.png", ALLOWED)
    assert "s3cret" not in str(caught.value)
    assert site[1] == []


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_a_result_has_exactly_the_bytes_that_were_promised(tmp_path: Path, length: int) -> None:
    promised = len(png()) + length
    if not length:
        assert store([png()], tmp_path, "", "a.png", length=promised).size == promised
        return
    with pytest.raises(MediaError, match="was cut off"):
        store([png()], tmp_path, "", "a.png", length=promised)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_own_address_opens_no_hidden_file(tmp_path: Path) -> None:
    for name in ("a.png", ".hidden.png", ".sub/a.png", "sub/.a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    begin = "http://files.example/comfyui_server/pw=k/files/output/"
    places = AllowedFolders(None, served=(ServedFolder(begin, tmp_path),))
    assert parse_source(f"{begin}a.png?t=1", places) == LocalFile((tmp_path / "a.png").resolve())
    for name in (".hidden.png", ".sub/a.png", "sub/.a.png", "%2ehidden.png", "..%2Fa.png"):
        with pytest.raises(MediaError, match="is not the URL of a file in its folder"):
            parse_source(begin + name, places)


def test_an_own_address_that_does_not_open_is_fetched_like_any_other(tmp_path: Path) -> None:
    begin = "http://files.example/comfyui_server/files/output/"
    (tmp_path / "a.png").write_bytes(png())
    places = AllowedFolders(
        None, served=(ServedFolder(begin, tmp_path, lambda names, query: query == "good"),)
    )
    assert isinstance(parse_source(f"{begin}a.png?good", places), LocalFile)
    assert isinstance(parse_source(f"{begin}a.png?bad", places), Url)


@pytest.mark.parametrize(("size", "shown"), [((90, 30), (60, 20)), ((30, 90), (20, 60))])
def test_no_side_is_longer_than_asked(size: tuple[int, int], shown: tuple[int, int]) -> None:
    made = image_convert.prepare_image(png(size), "it", max_side=60)
    assert (made.kind.width, made.kind.height) == shown
    assert made.done == ("reduced to 60 pixels",)
    same = image_convert.prepare_image(png((60, 60)), "it", max_side=60)
    assert (same.content, same.done) == (png((60, 60)), ())


CORNERS = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}
"""EXIF orientation -> the corners as they are to be seen of a picture stored as red, green, blue,
white: top left, top right, bottom left, bottom right (EXIF 2.3, 4.6.4)."""
LETTERS = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}


@pytest.mark.parametrize(("orientation", "corners"), CORNERS.items())
def test_a_picture_is_turned_as_its_exif_says(orientation: int, corners: str) -> None:
    image = Image.new("RGB", (2, 2))
    image.putdata([LETTERS[letter] for letter in "rgbw"])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    made = Image.open(io.BytesIO(image_convert.prepare_image(buffer.getvalue(), "it").content))
    places = [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [made.convert("RGB").getpixel(at) for at in places] == [LETTERS[c] for c in corners]
    assert made.getexif().get(0x0112, 1) == 1 or orientation == 1


def test_white_is_where_a_mask_acts_and_alpha_counts_first() -> None:
    halves = Image.new("L", (4, 2), 0)
    halves.paste(255, (2, 0, 4, 2))
    buffer = io.BytesIO()
    halves.save(buffer, "PNG")
    layer = Image.open(io.BytesIO(image_masks.mask_layer(buffer.getvalue(), (4, 2), "it")))
    alpha = layer.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((3, 0))) == (255, 0)
    clear = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    clear.putpixel((0, 0), (0, 0, 0, 0))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    layer = Image.open(io.BytesIO(image_masks.mask_layer(buffer.getvalue(), (2, 1), "it")))
    alpha = layer.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((1, 0))) == (0, 255)


def test_the_copy_for_a_model_has_at_most_768_pixels_a_side(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    for size, expected in (((2000, 1000), (768, 384)), ((1000, 2000), (384, 768))):
        Image.new("RGB", size, (9, 9, 9)).save(file)
        (uri,) = previews.build_previews([file], full=False).uris
        assert uri.startswith("data:image/webp;base64,")
        shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert shown.size == expected


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [("audio", {"sound.mp3", "film.mp4"}), ("video", {"film.mp4"})],
)
def test_a_film_is_taken_for_its_sound_and_a_sound_for_no_film(
    wanted: Any, taken: set[str]
) -> None:
    for name in ("sound.mp3", "film.mp4"):
        value = "data:;base64," + base64.b64encode((DATA / name).read_bytes()).decode()
        if name in taken:
            assert place(value, Server(), AllowedFolders(None), ALLOWED, accepts=wanted).value
        else:
            with pytest.raises(MediaError, match="the input takes a video"):
                place(value, Server(), AllowedFolders(None), ALLOWED, accepts=wanted)


def test_marks_of_text_direction_hide_no_ending() -> None:
    assert safe_name("photo\u202egnp.exe") == "photognp.exe"
    assert safe_name("a\u200db.png") == "a\u200db.png"
