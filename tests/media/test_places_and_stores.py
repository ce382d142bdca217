"""Where a value comes from, where a picture goes, and how a result is stored."""

from __future__ import annotations

import base64
import hashlib
import io
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import kinds, preview, store
from comfyui_pipeline.media.download import DownloadPolicy
from comfyui_pipeline.media.place import place
from comfyui_pipeline.media.source import (
    Inline,
    LocalFile,
    Places,
    ServerName,
    Url,
    describe,
    recognise,
)


def png(size: tuple[int, int] = (9, 7)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (1, 2, 3)).save(buffer, "PNG")
    return buffer.getvalue()


class Server:
    """A server's input folder, in memory or on disk."""

    def __init__(self, folder: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.folder = folder
        self.uploads = 0

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        self.uploads += 1
        self.files[f"{subfolder}/{name}"] = content
        return f"{subfolder}/{name}"

    def has_input(self, value: str) -> bool:
        return self.read_input(value) is not None

    def read_input(self, value: str) -> bytes | None:
        if self.folder is not None and (self.folder / value).is_file():
            return (self.folder / value).read_bytes()
        return self.files.get(value)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("attachments", "allowed", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "图 a.png").write_bytes(png())
    return Places(tmp_path / "attachments", (tmp_path / "allowed",))


def test_each_form_is_recognised(places: Places, tmp_path: Path) -> None:
    encoded = base64.b64encode(png()).decode()
    allowed = tmp_path / "allowed" / "图 a.png"
    assert recognise(f"data:image/png;base64,{encoded}", places) == Inline(png())
    assert recognise(encoded, places) == Inline(png())
    assert isinstance(recognise(" https://example.com/a.png ", places), Url)
    assert recognise(str(allowed), places) == LocalFile(allowed.resolve())
    assert recognise(allowed.as_uri(), places) == LocalFile(allowed.resolve())
    attached = (tmp_path / "attachments" / "图 a.png").resolve()
    assert recognise("图 a.png", places) == LocalFile(attached)
    assert recognise("sub/on server.png", places) == ServerName("sub/on server.png")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ftp://example.com/a.png",
        "blob:https://x/1",
        "../attachments/../elsewhere/a.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://server/share/a.png",
        r"\\server\share\a.png",
        r"C:\Windows\win.ini",
        "data:image/png;base64,@@@@",
        "a\x00b.png",
    ],
)
def test_what_lies_elsewhere_is_refused(places: Places, value: str) -> None:
    with pytest.raises(MediaError):
        recognise(value, places)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_out_of_an_allowed_folder_is_refused(places: Places, tmp_path: Path) -> None:
    for name in ("allowed", "attachments"):
        (tmp_path / name / "out.png").symlink_to(tmp_path / "elsewhere" / "图 a.png")
    with pytest.raises(MediaError):
        recognise(str(tmp_path / "allowed" / "out.png"), places)
    with pytest.raises(MediaError):
        recognise("out.png", places)


def test_a_value_is_shown_without_its_secrets_and_its_bytes() -> None:
    shown = describe("https://me:s3cret@example.com/pw=key1/a.png?token=abc")
    assert shown == "https://example.com/pw=…/a.png"
    assert len(describe("data:image/png;base64," + "A" * 10_000)) < 60


def test_a_picture_is_placed_once_under_a_name_made_of_its_content(places: Places) -> None:
    server = Server()
    digest = hashlib.sha256(png()).hexdigest()
    values = {
        place(value, server, places, DownloadPolicy()).value
        for value in ("图 a.png", base64.b64encode(png()).decode())
    }
    assert values == {f"comfyui-plugin/{digest[:32]}.png"}
    assert server.uploads == 1


def test_two_pictures_of_one_name_never_meet(places: Places, tmp_path: Path) -> None:
    server = Server()
    first = place("图 a.png", server, places, DownloadPolicy()).value
    (tmp_path / "attachments" / "图 a.png").write_bytes(png((30, 30)))
    second = place("图 a.png", server, places, DownloadPolicy()).value
    assert first != second
    assert server.files[first] != server.files[second]


def test_the_servers_own_folder_is_used_when_it_is_really_its(
    places: Places, tmp_path: Path
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


def test_a_name_that_is_nowhere_is_an_error_and_no_default(places: Places) -> None:
    with pytest.raises(MediaError, match="neither in ComfyUI's input folder"):
        place("nowhere.png", Server(), places, DownloadPolicy())


BROKEN = {
    "empty": (b"", "empty"),
    "web page": (b"<!doctype html><html></html>", "web page"),
    "text": (b"just words", "not a picture"),
    "cut off": (png((200, 200))[:-40], ""),
    "pdf": (b"%PDF-1.7 xx", "not"),
}


@pytest.mark.parametrize(("content", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_picture_is_refused_by_name(content: bytes, told: str) -> None:
    with pytest.raises(MediaError) as caught:
        kinds.check_picture(content, "the cat")
    assert "the cat" in str(caught.value)
    assert told in str(caught.value)


def test_a_giant_picture_is_refused_before_it_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(MediaError):
        kinds.check_picture(buffer.getvalue(), "the giant")


def test_a_result_lies_where_the_server_named_it(tmp_path: Path) -> None:
    stored = store.store([b"ab", b"cd"], tmp_path, "sub/dir", "图 a.png", length=4)
    assert stored.relative == "sub/dir/图 a.png"
    assert stored.path.read_bytes() == b"abcd"
    assert stored.sha256 == hashlib.sha256(b"abcd").hexdigest()


def test_another_runs_file_is_never_overwritten_and_the_same_one_not_doubled(
    tmp_path: Path,
) -> None:
    first = store.store([b"one"], tmp_path, "", "a.png")
    second = store.store([b"two"], tmp_path, "", "a.png")
    again = store.store([b"one"], tmp_path, "", "a.png")
    assert first.path.read_bytes() == b"one"
    assert second.path != first.path
    assert again.path == first.path


def test_a_result_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Any:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.store(broken(), tmp_path, "", "a.png")
    with pytest.raises(MediaError):
        store.store([b"short"], tmp_path, "", "b.png", length=99)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("subfolder", "name"),
    [
        ("../..", "evil.png"),
        ("/etc", "passwd"),
        ("a/../../b", "x.png"),
        ("", "../../evil.png"),
        ("", "/abs.png"),
        ("", "..\\..\\evil.png"),
        ("C:\\x", "C:evil.png"),
        ("", "CON.png"),
        ("", "a\0b.png"),
        ("", "..."),
        ("", "x" * 400 + ".png"),
    ],
)
def test_a_name_of_the_servers_never_leads_out(tmp_path: Path, subfolder: str, name: str) -> None:
    root = tmp_path / "out"
    stored = store.store([b"x"], root, subfolder, name)
    assert stored.path.resolve().is_relative_to(root.resolve())
    assert (root / stored.relative).is_file()
    assert "\\" not in stored.path.name


def _write(root: str, number: int) -> str:
    return store.store([b"%d" % number], Path(root), "", "same.png").relative


def test_processes_side_by_side_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        names = pool.starmap(_write, [(str(tmp_path), number) for number in range(24)])
    assert len(set(names)) == 24
    assert {(tmp_path / name).read_bytes() for name in names} == {b"%d" % n for n in range(24)}


@given(st.text(max_size=300))
def test_any_text_makes_a_safe_name(text: str) -> None:
    name = store.safe_name(text)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name.strip(". ") == name or name[0] == "_"
    assert len(name.encode("utf-8", "surrogatepass")) <= 255


@given(st.text(max_size=200))
def test_a_prefix_of_any_words_is_safe(text: str) -> None:
    prefix = store.prefix_from_words(text)
    assert not set(prefix) & set('/\\:*?"<>|\0 ')
    assert not prefix.startswith(".")
    assert not prefix.endswith(".")


def test_a_prefix_keeps_the_letters_of_every_script() -> None:
    assert store.prefix_from_words("a red fox / 雪地里的狐狸!") == "a_red_fox_雪地里的狐狸"
    assert store.prefix_from_words("...///") == ""
    assert store.prefix_from_words("CON").upper() != "CON"


# -- what comes in, beyond plain pictures ----------------------------------------------------------


def served(folder: Path) -> Places:
    return Places(
        None, (), (("http://10.0.0.5:5005/comfyui_server/pw=k%2Fy/files/output/", folder),)
    )


def test_a_url_of_our_own_file_server_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "子 sub").mkdir()
    (tmp_path / "子 sub" / "a b.png").write_bytes(png())
    begin = "http://10.0.0.5:5005/comfyui_server/pw=k%2Fy/files/output/"
    found = recognise(begin + "%E5%AD%90%20sub/a%20b.png?t=17", served(tmp_path))
    assert found == LocalFile((tmp_path / "子 sub" / "a b.png").resolve())
    assert isinstance(recognise(begin.replace("k%2Fy", "other") + "a.png", served(tmp_path)), Url)


@pytest.mark.parametrize("name", ["../x.png", "%2e%2e/x.png", ".hid/x", "a//b", "%5c..%5cx", ""])
def test_such_a_url_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "output"
    inside.mkdir()
    (tmp_path / "x.png").write_bytes(png())
    begin = "http://10.0.0.5:5005/comfyui_server/pw=k%2Fy/files/output/"
    with pytest.raises(MediaError):
        recognise(begin + name, served(inside))


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
def test_other_kinds_are_placed_by_what_they_are(
    tmp_path: Path, wanted: Any, content: bytes, ending: str
) -> None:
    file = tmp_path / "no ending"
    file.write_bytes(content)
    server = Server()
    value = place(
        str(file), server, Places(None, (tmp_path,)), DownloadPolicy(), wanted=wanted
    ).value
    assert value.endswith(ending)
    assert server.files[value] == content


@pytest.mark.parametrize(
    ("wanted", "content", "told"),
    [
        ("video", png(), "is a picture, and a video is wanted"),
        ("audio", b"<!doctype html><html>no", "is a web page"),
        ("video", b"nothing known" * 9, "is a text"),
        ("audio", b"", "is empty"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(
    tmp_path: Path, wanted: Any, content: bytes, told: str
) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    with pytest.raises(MediaError, match=told):
        place(str(file), Server(), Places(None, (tmp_path,)), DownloadPolicy(), wanted=wanted)


def test_a_picture_is_shrunk_when_asked_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(png((90, 30)))
    server = Server()
    placed = place(str(file), server, Places(None, (tmp_path,)), DownloadPolicy(), max_side=45)
    assert Image.open(io.BytesIO(server.files[placed.value])).size == (45, 15)
    assert "shrunk to 45" in placed.note


def test_a_picture_in_a_format_that_servers_do_not_read_is_converted(tmp_path: Path) -> None:
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    file = tmp_path / "x.avif"
    Image.new("RGB", (20, 10), (9, 200, 9)).save(file, "AVIF")
    server = Server()
    placed = place(str(file), server, Places(None, (tmp_path,)), DownloadPolicy())
    assert placed.value.endswith(".png")
    assert "converted to PNG" in placed.note
    assert Image.open(io.BytesIO(server.files[placed.value])).size == (20, 10)


# -- pictures inside the answer --------------------------------------------------------------------


def test_previews_stay_small_and_share_what_there_is(tmp_path: Path) -> None:
    noise = Image.effect_noise((1500, 1000), 90).convert("RGB")
    files = []
    for number in range(8):
        files.append(tmp_path / f"{number}.png")
        noise.save(files[-1])
    shown = preview.show(files, full=False)
    assert len(shown.pictures) == 8
    assert sum(map(len, shown.pictures)) <= preview.TOGETHER + 400
    first = Image.open(io.BytesIO(base64.b64decode(shown.pictures[0].partition(",")[2])))
    assert (first.format, max(first.size) <= 768) == ("WEBP", True)
    whole = preview.show(files[:2], full=True)
    assert whole.reduced >= 1
    small = tmp_path / "small.png"
    small.write_bytes(png())
    assert preview.show([small], full=True).pictures[0].endswith(base64.b64encode(png()).decode())


def test_a_file_that_is_no_picture_is_left_out_of_the_answer(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not one")
    assert preview.show([tmp_path / "x.png"], full=False) == preview.Shown((), 0, 1)
