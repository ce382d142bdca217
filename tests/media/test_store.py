"""Results on disk: their names, and that they appear whole or not at all."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import file_names as names
from comfyui_pipeline.media import result_files


def test_a_result_lies_where_the_server_named_it(tmp_path: Path) -> None:
    stored = result_files.store([b"ab", b"cd"], tmp_path, "sub/dir", "图 a.png", length=4)
    assert stored.relative == "sub/dir/图 a.png"
    assert stored.path.read_bytes() == b"abcd"
    assert stored.sha256 == hashlib.sha256(b"abcd").hexdigest()


def test_another_runs_file_is_never_overwritten_and_the_same_one_not_doubled(
    tmp_path: Path,
) -> None:
    first = result_files.store([b"one"], tmp_path, "", "a.png")
    second = result_files.store([b"two"], tmp_path, "", "a.png")
    again = result_files.store([b"one"], tmp_path, "", "a.png")
    assert first.path.read_bytes() == b"one"
    assert second.path != first.path
    assert again.path == first.path


def test_a_result_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
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
        ("", "x" * 400 + ".png"),
    ],
)
def test_a_name_of_the_servers_never_leads_out(tmp_path: Path, subfolder: str, name: str) -> None:
    root = tmp_path / "out"
    stored = result_files.store([b"x"], root, subfolder, name)
    assert stored.path.resolve().is_relative_to(root.resolve())
    assert (root / stored.relative).is_file()
    assert "\\" not in stored.path.name


def _write(root: str, number: int) -> str:
    return result_files.store([b"%d" % number], Path(root), "", "same.png").relative


def test_processes_side_by_side_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        names = pool.starmap(_write, [(str(tmp_path), number) for number in range(24)])
    assert len(set(names)) == 24
    assert {(tmp_path / name).read_bytes() for name in names} == {b"%d" % n for n in range(24)}


@given(st.text(max_size=300))
def test_any_text_makes_a_safe_name(text: str) -> None:
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
def test_names_that_are_taken_are_numbered(
    tmp_path: Path, name: str, second: str, third: str
) -> None:
    stored = [
        result_files.store([content], tmp_path, "", name) for content in (b"one", b"two", b"six")
    ]
    assert [one.relative for one in stored] == [name, second, third]
    again = result_files.store([b"six"], tmp_path, "", name)
    assert (again.relative, again.size) == (third, 3)


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_a_link_of_the_right_content_is_not_taken_for_the_file(tmp_path: Path) -> None:
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


def test_a_length_has_to_be_met_exactly(tmp_path: Path) -> None:
    assert result_files.store([b"ab"], tmp_path, "", "a.txt", length=2).size == 2
    assert result_files.store([], tmp_path, "", "empty.txt", length=0).size == 0
    for length in (1, 3):
        with pytest.raises(MediaError, match=f"2 of {length} bytes"):
            result_files.store([b"ab"], tmp_path, "", "b.txt", length=length)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "a.txt",
        "empty.txt",
    ]


def test_a_file_that_lies_there_already_is_told_in_the_same_way(tmp_path: Path) -> None:
    stored = result_files.store([b"ab" * 2**20], tmp_path, "sub", "a.txt")
    assert result_files.use_existing(stored.path, tmp_path) == stored
    with pytest.raises(MediaError, match="cannot be read"):
        result_files.use_existing(tmp_path / "absent.txt", tmp_path)


def test_where_nothing_can_be_stored_the_answer_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match="COMFYUI_OUTPUT_DIR"):
        result_files.store([b"x"], tmp_path / "file", "", "a.txt")
