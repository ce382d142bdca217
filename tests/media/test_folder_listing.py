"""A folder, a pattern or a path in the user's home where a file is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media.allowed_folders import AllowedFolders
from comfyui_pipeline.media.sources import LocalFile, ServerFile, parse_source


@pytest.fixture
def folders(tmp_path: Path) -> AllowedFolders:
    for name in ("attachments/sub/b.png", "attachments/a.png", "allowed/c.PNG", "other/d.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "attachments" / ".hidden.png").write_bytes(b"x")
    (tmp_path / "attachments" / "notes.txt").write_bytes(b"x")
    return AllowedFolders(tmp_path / "attachments", (tmp_path / "allowed",))


def error_of(value: str, folders: AllowedFolders) -> str:
    with pytest.raises(MediaError) as error:
        parse_source(value, folders)
    return str(error.value)


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("*.png", "Its files: a.png."),
        ("sub/*.png", "Its files: b.png."),
        ("sub", "Its files: b.png."),
        ("sub/", "Its files: b.png."),
        ("sub\\", "Its files: b.png."),
        ("?.txt", "it has no such file"),
        ("{tmp}/allowed", "Its files: c.PNG."),
        ("{tmp}/allowed/*.png", "Its files: c.PNG."),
        ("file://{tmp}/allowed/", "Its files: c.PNG."),
    ],
)
def test_the_files_of_a_folder_or_pattern_are_named(
    folders: AllowedFolders, tmp_path: Path, value: str, files: str
) -> None:
    error = error_of(value.replace("{tmp}", str(tmp_path)), folders)
    assert files in error
    assert "no such file" in error or "workflow1, image1" in error


@pytest.mark.parametrize(
    "value", ["{tmp}/other", "{tmp}/other/*.png", "../other", "../other/*.png"]
)
def test_nothing_is_said_about_other_folders(
    folders: AllowedFolders, tmp_path: Path, value: str
) -> None:
    assert "d.png" not in error_of(value.replace("{tmp}", str(tmp_path)), folders)


def test_twenty_files_are_listed(folders: AllowedFolders, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / "allowed" / f"{number:02}.png").write_bytes(b"x")
    error = error_of(str(tmp_path / "allowed"), folders)
    assert "19.png and 11 more" in error


def test_a_link_out_of_the_folder_is_not_listed(folders: AllowedFolders, tmp_path: Path) -> None:
    (tmp_path / "allowed" / "link.png").symlink_to(tmp_path / "other" / "d.png")
    assert "link.png" not in error_of(str(tmp_path / "allowed"), folders)


def test_a_name_that_is_no_folder_is_one_of_the_server(folders: AllowedFolders) -> None:
    assert parse_source("example.png", folders) == ServerFile("example.png")


@pytest.mark.parametrize("value", ["~/c.PNG", "~\\c.PNG"])
def test_a_path_in_the_home_folder_is_expanded_where_it_is_allowed(
    folders: AllowedFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "allowed"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "allowed"))
    assert parse_source(value, folders) == LocalFile((tmp_path / "allowed" / "c.PNG").resolve())
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "other"))
    assert "outside the folders that may be read" in error_of("~/d.png", folders)
