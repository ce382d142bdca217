"""Results on disk: their names, and that they appear whole or not at all."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.errors import MediaError
from comfyui_pipeline.media import names, store


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
