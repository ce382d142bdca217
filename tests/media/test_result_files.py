"""Results on disk: their names, and that they are published complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import file_names as names
from comfyui_pipeline.media import (
    result_files,
)
from comfyui_pipeline.media.result_files import store
from tests.media.input_folder import png
from tests.wine import not_under_wine


def test_a_result_is_stored_under_the_servers_name(tmp_path: Path) -> None:
    stored = result_files.store([b"ab", b"cd"], tmp_path, "sub/dir", "图 a.png", length=4)
    assert stored.relative == "sub/dir/图 a.png"
    assert stored.path.read_bytes() == b"abcd"
    assert stored.sha256 == hashlib.sha256(b"abcd").hexdigest()


def test_other_files_are_not_overwritten_and_equal_ones_not_duplicated(
    tmp_path: Path,
) -> None:
    first = result_files.store([b"one"], tmp_path, "", "a.png")
    second = result_files.store([b"two"], tmp_path, "", "a.png")
    again = result_files.store([b"one"], tmp_path, "", "a.png")
    assert first.path.read_bytes() == b"one"
    assert second.path != first.path
    assert again.path == first.path


def test_a_cut_off_result_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        result_files.store(broken(), tmp_path, "", "a.png")
    with pytest.raises(MediaError):
        result_files.store([b"short"], tmp_path, "", "b.png", length=99)
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
        pytest.param(
            "", "x" * 400 + ".png", marks=not_under_wine("resolves no path over 260 characters")
        ),
    ],
)
def test_a_name_from_the_server_never_leaves_the_root(
    tmp_path: Path, subfolder: str, name: str
) -> None:
    root = tmp_path / "out"
    stored = result_files.store([b"x"], root, subfolder, name)
    assert stored.path.resolve().is_relative_to(root.resolve())
    assert (root / stored.relative).is_file()
    assert "\\" not in stored.path.name


def _write(root: str, number: int) -> str:
    return result_files.store([b"%d" % number], Path(root), "", "same.png").relative


def test_concurrent_processes_lose_no_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        names = pool.starmap(_write, [(str(tmp_path), number) for number in range(24)])
    assert len(set(names)) == 24
    assert {(tmp_path / name).read_bytes() for name in names} == {b"%d" % n for n in range(24)}


@given(st.text(max_size=300))
def test_any_text_becomes_a_safe_name(text: str) -> None:
    name = names.safe_name(text)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name.strip(". ") == name or name[0] == "_"
    assert len(name.encode("utf-8", "surrogatepass")) <= 255


@given(st.text(max_size=200))
def test_a_prefix_of_any_words_is_safe(text: str) -> None:
    prefix = names.prefix_from_words(text)
    assert not set(prefix) & set('/\\:*?"<>|\0 ')
    assert not prefix.startswith(".")
    assert not prefix.endswith(".")


def test_a_prefix_keeps_the_letters_of_every_script() -> None:
    assert names.prefix_from_words("a red fox / 雪地里的狐狸!") == "a_red_fox_雪地里的狐狸"
    assert names.prefix_from_words("...///") == ""
    assert names.prefix_from_words("CON").upper() != "CON"


@pytest.mark.parametrize(
    ("name", "second", "third"),
    [
        ("a.png", "a_1.png", "a_2.png"),
        ("a.tar.gz", "a.tar_1.gz", "a.tar_2.gz"),
        ("plain", "plain_1", "plain_2"),
    ],
)
def test_existing_names_are_numbered(tmp_path: Path, name: str, second: str, third: str) -> None:
    stored = [
        result_files.store([content], tmp_path, "", name) for content in (b"one", b"two", b"six")
    ]
    assert [one.relative for one in stored] == [name, second, third]
    again = result_files.store([b"six"], tmp_path, "", name)
    assert (again.relative, again.size) == (third, 3)


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_symlink_with_the_same_content_is_not_reused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"one")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").symlink_to(tmp_path / "elsewhere")
    assert result_files.store([b"one"], root, "", "a.txt").relative == "a_1.txt"
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(MediaError, match="leads out"):
        result_files.store([b"x"], root, "out", "b.txt")
    (root / "loop").symlink_to("loop")
    with pytest.raises(MediaError):
        result_files.store([b"x"], root, "loop", "b.txt")
    (root / "inside").mkdir()
    (root / "same").symlink_to("inside")
    assert result_files.store([b"x"], root, "same", "b.txt").relative == "inside/b.txt"


def test_the_length_must_match_exactly(tmp_path: Path) -> None:
    assert result_files.store([b"ab"], tmp_path, "", "a.txt", length=2).size == 2
    assert result_files.store([], tmp_path, "", "empty.txt", length=0).size == 0
    for length in (1, 3):
        with pytest.raises(MediaError, match=f"2 of {length} bytes"):
            result_files.store([b"ab"], tmp_path, "", "b.txt", length=length)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "a.txt",
        "empty.txt",
    ]


def test_an_existing_file_is_described_like_a_stored_one(tmp_path: Path) -> None:
    stored = result_files.store([b"ab" * 2**20], tmp_path, "sub", "a.txt")
    assert result_files.use_existing(stored.path, tmp_path) == stored
    with pytest.raises(MediaError, match="cannot be read"):
        result_files.use_existing(tmp_path / "absent.txt", tmp_path)


def test_a_disk_error_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match="COMFYUI_OUTPUT_DIR"):
        result_files.store([b"x"], tmp_path / "file", "", "a.txt")


def test_files_of_one_name_are_numbered_before_the_extension(tmp_path: Path) -> None:
    stored = [result_files.store([bytes([n])], tmp_path, "", "a.b.png").relative for n in range(3)]
    assert stored == ["a.b.png", "a.b_1.png", "a.b_2.png"]
    plain = [result_files.store([bytes([n])], tmp_path, "", "plain").relative for n in range(2)]
    assert plain == ["plain", "plain_1"]


def test_no_more_than_ten_thousand_files_share_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result_files._MAX_NUMBER == 10_000
    monkeypatch.setattr(result_files, "_MAX_NUMBER", 2)
    for number in range(3):
        result_files.store([bytes([number])], tmp_path, "", "a.png")
    with pytest.raises(MediaError, match="more than 2 files called a"):
        result_files.store([b"\x09"], tmp_path, "", "a.png")


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_a_result_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    promised = len(png()) + length
    if not length:
        assert store([png()], tmp_path, "", "a.png", length=promised).size == promised
        return
    with pytest.raises(MediaError, match="was cut off"):
        store([png()], tmp_path, "", "a.png", length=promised)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_full_disk_is_named_although_closing_the_file_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def full(*_: object) -> Iterator[SimpleNamespace]:
        with Path("/dev/full").open("wb") as file:
            yield SimpleNamespace(file=file)

    monkeypatch.setattr(result_files, "atomic_file", full)
    with pytest.raises(MediaError, match=r"a\.png cannot be stored in .*No space left"):
        result_files.store([b"x" * 100], tmp_path, "", "a.png")
