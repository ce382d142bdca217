"""File names from untrusted names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.media import (
    file_names,
)
from comfyui_pipeline.media.file_names import safe_name
from input_server.device_names import is_device_name

LONG = "x" * 300


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.png", "a.png"),
        ("图 a.png", "图 a.png"),
        ("sub/a.png", "a.png"),
        ("sub\\a.png", "a.png"),
        ('a<b>c:d"e|f?g*h.png', "a_b_c_d_e_f_g_h.png"),
        ("a\nb\0c.png", "a_b_c.png"),
        ("a\u2028b\u2029c", "a_b_c"),
        ("a\ud800b", "a_b"),
        (" .hidden. ", "hidden"),
        ("\u00a0a.png\u3000", "a.png"),
        ("", "file"),
        ("...", "file"),
        ("a/", "file"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("e\u0301", "é"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("COM1", "_COM1"),
        ("lpt¹.x", "_lpt¹.x"),
        ("CONIN$", "_CONIN$"),
        ("aux .x", "_aux .x"),
        ("COM10", "COM10"),
        ("console", "console"),
        (LONG, "x" * 200),
        (f"{LONG}.png", "x" * 196 + ".png"),
        (f"{LONG}.{'y' * 16}", "x" * 183 + "." + "y" * 16),
        (f"{'x' * 190}.{'y' * 17}", "x" * 190 + "." + "y" * 9),
        ("x" * 200, "x" * 200),
        ("图" * 100 + ".png", "图" * 65 + ".png"),
    ],
)
def test_a_name_becomes_valid_on_every_system(given: str, expected: str) -> None:
    assert file_names.safe_name(given) == expected
    assert file_names.safe_name(expected) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("a/b", "a/b"),
        ("a\\b", "a/b"),
        ("/a//b/", "a/b"),
        ("../a/./b/..", "a/b"),
        ("C:\\x", "C_/x"),
        ("nul/a", "_nul/a"),
        ("/".join(str(n) for n in range(20)), "/".join(str(n) for n in range(16))),
    ],
)
def test_a_subfolder_stays_inside_the_root(given: str, expected: str) -> None:
    assert file_names.safe_subfolder(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a red fox", "a_red_fox"),
        ("a  red, fox!", "a_red_fox"),
        ("well-known", "well-known"),
        ("well - known", "well_known"),
        ("a--b", "a-_b"),
        ("-a-", "a"),
        ("don't", "dont"),
        ("a\u200bb", "ab"),
        ("\u0301a", "a"),
        ("☺\ufe0f a", "a"),
        ("a\u3164b", "ab"),
        ("cafe\u0301", "café"),
        ("2024", "2024"),
        ("nul", "_nul"),
        ("a" * 50, "a" * 40),
        ("a" * 30 + " " + "b" * 30, "a" * 30),
        ("a" * 20 + " " + "b" * 30, "a" * 20 + "_" + "b" * 19),
        ("a" * 21 + " " + "b" * 30, "a" * 21),
        ("a" * 40 + " " + "b" * 30, "a" * 40),
        ("", ""),
        ("!?", ""),
    ],
)
def test_a_prompt_text_becomes_a_prefix(given: str, expected: str) -> None:
    assert file_names.prefix_from_words(given) == expected


def test_a_prefix_is_cut_between_letters_with_their_marks() -> None:
    assert file_names.prefix_from_words("abcdef", 3) == "abc"
    assert file_names.prefix_from_words("abc", 0) == ""
    assert file_names.prefix_from_words("abc", -1) == ""
    assert file_names.prefix_from_words("nul", 3) == ""
    assert file_names.prefix_from_words("nul", 4) == "_nul"
    assert file_names.prefix_from_words("กก็", 2) == "ก"


@given(st.text(max_size=120), st.integers(0, 60))
def test_making_a_prefix_is_idempotent(text: str, limit: int) -> None:
    expected = file_names.prefix_from_words(text, limit)
    assert len(expected) <= limit
    assert not is_device_name(expected)


def test_device_names_are_recognised_in_any_form() -> None:
    for name in ("con", "NUL.txt", "COM¹ .x", "lpt9.tar.gz", "Aux"):
        assert is_device_name(name)
    assert (is_device_name("aux:a"), is_device_name("aux:a", streams=False)) == (True, False)
    for name in ("console", "com", "com10", "a.con", ""):
        assert not is_device_name(name)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b\\c.png", "c.png"),
        ('a<>:"|?*b.png', "a_______b.png"),
        ("12:30.png", "12_30.png"),
        (" .a.png. ", "a.png"),
        ("\u3000a.png\u00a0", "a.png"),
        ("con.png", "_con.png"),
        ("COM¹.txt", "_COM¹.txt"),
        ("com10.txt", "com10.txt"),
        ("a\x07b\x7f.png", "a_b_.png"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\u200db", "a\u200db"),
        ("e\u0301.png", "é.png"),
        ("", "file"),
        ("...", "file"),
        ("x" * 250 + ".png", "x" * 196 + ".png"),
        ("x." + "y" * 17 + "z" * 200, ("x." + "y" * 17 + "z" * 200)[:200]),
        ("字" * 100 + ".png", "字" * 65 + ".png"),
    ],
)
def test_unsafe_characters_of_a_name_are_replaced(name: str, safe: str) -> None:
    assert file_names.safe_name(name) == safe
    assert file_names.safe_name(safe) == safe


@pytest.mark.parametrize(
    ("folder", "safe"),
    [
        ("../a/./b", "a/b"),
        ("/a//b/", "a/b"),
        ("a\\b", "a/b"),
        ("/".join("x" * 20), "/".join("x" * 16)),
        ("aux/nul.d", "_aux/_nul.d"),
        ("", ""),
    ],
)
def test_unsafe_parts_of_a_folder_are_replaced(folder: str, safe: str) -> None:
    assert file_names.safe_subfolder(folder) == safe


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("a red fox, running", "a_red_fox_running"),
        ("don't stop", "dont_stop"),
        ("x" * 50, "x" * 40),
        ("word " * 20, "word_word_word_word_word_word_word_word"),
        ("a-b--c", "a-b-_c"),
        ("nul", "_nul"),
        ("abcdefgh " + "x" * 50, "abcdefgh_" + "x" * 31),
        ("a" * 21 + " " + "x" * 50, "a" * 21),
    ],
)
def test_a_prefix_consists_of_words(text: str, prefix: str) -> None:
    assert file_names.prefix_from_words(text) == prefix


def test_text_direction_marks_do_not_disguise_an_extension() -> None:
    assert safe_name("photo\u202egnp.exe") == "photognp.exe"
    assert safe_name("a\u200db.png") == "a\u200db.png"


@pytest.mark.parametrize(
    ("prompt", "prefix"),
    [
        ("a lake in the mountains at night, very wide", "a_lake_in_the_mountains_at_night_very"),
        ("让图中的人物穿上裙子，并把背景换成海边", "让图中的人物穿上裙子"),
        ("", ""),
    ],
)
def test_a_prefix_from_a_prompt_keeps_the_link_short(prompt: str, prefix: str) -> None:
    assert file_names.prefix_from_prompt(prompt) == prefix
