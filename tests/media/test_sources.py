"""Parsing of callers' strings into sources."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders, ServedFolder
from comfyui_pipeline.media.server_files import ServerAddress
from comfyui_pipeline.media.sources import Inline, LocalFile, ServerFile, Url, parse_source
from tests.media.input_folder import png


def test_each_form_is_parsed(places: AllowedFolders, tmp_path: Path) -> None:
    encoded = base64.b64encode(png()).decode()
    allowed = tmp_path / "allowed" / "图 a.png"
    assert parse_source(f"data:image/png;base64,{encoded}", places) == Inline(png())
    assert parse_source(encoded, places) == Inline(png())
    assert isinstance(parse_source(" https://example.com/a.png ", places), Url)
    assert parse_source(str(allowed), places) == LocalFile(allowed.resolve())
    assert parse_source(allowed.as_uri(), places) == LocalFile(allowed.resolve())
    attached = (tmp_path / "attachments" / "图 a.png").resolve()
    assert parse_source("图 a.png", places) == LocalFile(attached)
    assert parse_source("sub/on server.png", places) == ServerFile("sub/on server.png")


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
def test_invalid_forms_and_foreign_paths_are_refused(places: AllowedFolders, value: str) -> None:
    with pytest.raises(MediaError):
        parse_source(value, places)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_symlink_out_of_an_allowed_folder_is_refused(
    places: AllowedFolders, tmp_path: Path
) -> None:
    for name in ("allowed", "attachments"):
        (tmp_path / name / "out.png").symlink_to(tmp_path / "elsewhere" / "图 a.png")
    with pytest.raises(MediaError):
        parse_source(str(tmp_path / "allowed" / "out.png"), places)
    with pytest.raises(MediaError):
        parse_source("out.png", places)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            "https://me:s3cret@example.com/pw=key1/a.png?token=abc#x",
            "https://example.com/pw=…/a.png",
        ),
        ("https://example.com/pw%3Dkey1/a.png", "https://example.com/pw=…/a.png"),
        (f"data:image/png;base64,{base64.b64encode(png()).decode()}", "data: URI of"),
        (base64.b64encode(png()).decode(), "base64 text of"),
        ("sub/cat.png", "sub/cat.png"),
        ("cat\u202egnp.png", "cat�gnp.png"),
    ],
)
def test_a_source_is_shown_without_secrets_and_content(
    places: AllowedFolders, value: str, shown: str
) -> None:
    source = parse_source(value, places)
    assert source.shown.startswith(shown)
    assert len(source.shown) < 60


@pytest.mark.parametrize("value", ["x" * 900, "/" + "x/" * 400, "ftp://" + "x" * 900])
def test_an_error_does_not_repeat_a_long_value(places: AllowedFolders, value: str) -> None:
    with pytest.raises(MediaError) as caught:
        parse_source(value, places)
    assert len(caught.value.message) < 400
    assert value[:200] not in str(caught.value)


def served(folder: Path) -> AllowedFolders:
    begin = "http://10.0.0.5:5005/comfyui_server/pw=k%2Fy/files/output/"
    return AllowedFolders(None, (), (ServedFolder(begin, folder),))


def test_a_url_of_our_own_file_server_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "子 sub").mkdir()
    (tmp_path / "子 sub" / "a b.png").write_bytes(png())
    begin = "http://10.0.0.5:5005/comfyui_server/pw=k%2Fy/files/output/"
    found = parse_source(begin + "%E5%AD%90%20sub/a%20b.png?t=17", served(tmp_path))
    assert found == LocalFile((tmp_path / "子 sub" / "a b.png").resolve())
    assert isinstance(
        parse_source(begin.replace("k%2Fy", "other") + "a.png", served(tmp_path)), Url
    )


@pytest.mark.parametrize("name", ["../x.png", "%2e%2e/x.png", ".hid/x", "a//b", "%5c..%5cx", ""])
def test_our_own_urls_do_not_leave_their_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "output"
    inside.mkdir()
    (tmp_path / "x.png").write_bytes(png())
    begin = "http://10.0.0.5:5005/comfyui_server/pw=k%2Fy/files/output/"
    with pytest.raises(MediaError):
        parse_source(begin + name, served(inside))


def test_our_own_urls_do_not_read_hidden_files(tmp_path: Path) -> None:
    for name in ("a.png", ".hidden.png", ".sub/a.png", "sub/.a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    begin = "http://files.example/comfyui_server/pw=k/files/output/"
    places = AllowedFolders(None, served=(ServedFolder(begin, tmp_path),))
    assert parse_source(f"{begin}a.png?t=1", places) == LocalFile((tmp_path / "a.png").resolve())
    for name in (".hidden.png", ".sub/a.png", "sub/.a.png", "%2ehidden.png", "..%2Fa.png"):
        with pytest.raises(MediaError, match="is not the URL of a file in its folder"):
            parse_source(begin + name, places)


def test_our_own_url_without_authorization_is_downloaded(tmp_path: Path) -> None:
    begin = "http://files.example/comfyui_server/files/output/"
    (tmp_path / "a.png").write_bytes(png())
    places = AllowedFolders(
        None, served=(ServedFolder(begin, tmp_path, lambda names, query: query == "good"),)
    )
    assert isinstance(parse_source(f"{begin}a.png?good", places), LocalFile)
    assert isinstance(parse_source(f"{begin}a.png?bad", places), Url)


SERVER = ServerAddress("http", "10.0.0.9", 8188, "/comfy")
VIEW = "http://10.0.0.9:8188/comfy/view?filename=a%20b.png&subfolder=%E5%AD%90&type=output"


@pytest.mark.parametrize(
    ("url", "name", "fetched"),
    [
        (VIEW, "子/a b.png [output]", True),
        (VIEW.replace("/view", "/api/view") + "&rand=0.3", "子/a b.png [output]", True),
        (VIEW.replace("&type=output", ""), "子/a b.png [output]", True),
        (VIEW.replace("=output", "=temp"), "子/a b.png [temp]", True),
        (VIEW.replace("=output", "=input"), "子/a b.png", False),
        (VIEW.replace("&subfolder=%E5%AD%90", "&subfolder="), "a b.png [output]", True),
    ],
)
def test_a_url_of_the_comfyui_server_is_one_of_its_files(
    url: str, name: str, fetched: bool
) -> None:
    places = AllowedFolders(None, server=SERVER)
    assert parse_source(url, places) == ServerFile(name, fetched=fetched)
    assert parse_source(f"![a]({url})", places) == ServerFile(name, fetched=fetched)


@pytest.mark.parametrize(
    "url",
    [
        VIEW.replace("10.0.0.9", "10.0.0.90"),
        VIEW.replace("10.0.0.9", "10.0.0.9.evil.example"),
        VIEW.replace("10.0.0.9", "10.0.0.9@evil.example"),
        VIEW.replace("10.0.0.9:8188", "10.0.0.9:8188@evil.example"),
        VIEW.replace("http://", "http://me:pw@"),
        VIEW.replace(":8188", ":81880"),
        VIEW.replace(":8188", ""),
        VIEW.replace("http:", "https:"),
        VIEW.replace("/comfy/view", "/comfy/../view"),
        VIEW.replace("/comfy/view", "/comfyui/view"),
        VIEW.replace("/view", "/viewer"),
        VIEW.replace("/view", "/%76iew"),
        VIEW.replace("type=output", "type=models"),
        VIEW.replace("filename=a%20b.png", "filename="),
        VIEW.replace("filename", "file"),
        VIEW.replace("a%20b", "%ff"),
    ],
)
def test_other_urls_are_not_files_of_the_comfyui_server(url: str) -> None:
    assert isinstance(parse_source(url, AllowedFolders(None, server=SERVER)), Url)


@pytest.mark.parametrize("name", ["../a.png", "..%2fa.png", "%2fetc/passwd", "a%00.png"])
def test_a_url_of_the_comfyui_server_does_not_leave_its_folders(name: str) -> None:
    places = AllowedFolders(None, server=SERVER)
    with pytest.raises(MediaError):
        parse_source(VIEW.replace("a%20b.png", name), places)


@pytest.mark.parametrize(("one", "other"), [("localhost", "127.0.0.1"), ("[::1]", "localhost")])
def test_names_of_this_machine_are_the_same_server(one: str, other: str) -> None:
    address = ServerAddress("http", one.strip("[]"), 8188)
    places = AllowedFolders(None, server=address)
    url = f"http://{other}:8188/view?filename=a.png"
    assert parse_source(url, places) == ServerFile("a.png [output]", fetched=True)


def test_shown_folders_are_read_without_hidden_files(tmp_path: Path) -> None:
    for name in ("a.png", ".a.png", ".b/a.png", "c/.a.png", "c/a.png"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(png())
    (tmp_path / "outside.png").write_bytes(png())
    places = AllowedFolders(None, shown=(tmp_path / "out",))
    for name in ("a.png", "c/a.png"):
        assert isinstance(parse_source(str(tmp_path / "out" / name), places), LocalFile)
    for name in (".a.png", ".b/a.png", "c/.a.png", "../outside.png", "c/../../outside.png"):
        with pytest.raises(MediaError, match="outside the folders"):
            parse_source(str(tmp_path / "out" / name), places)
