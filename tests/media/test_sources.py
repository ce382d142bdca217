"""Parsing of callers' strings into sources."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders, ServedFolder
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
