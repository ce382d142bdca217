"""File names made of names that strangers gave, by example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_pipeline.media import file_names
from input_server.device_names import is_device_name

LONG = "x" * 300


@pytest.mark.parametrize(
    ("given", "made"),
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
def test_a_name_becomes_one_that_every_system_takes(given: str, made: str) -> None:
    assert file_names.safe_name(given) == made
    assert file_names.safe_name(made) == made


@pytest.mark.parametrize(
    ("given", "made"),
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
def test_a_subfolder_leads_inside(given: str, made: str) -> None:
    assert file_names.safe_subfolder(given) == made


@pytest.mark.parametrize(
    ("given", "made"),
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
def test_words_become_a_prefix(given: str, made: str) -> None:
    assert file_names.prefix_from_words(given) == made


def test_a_prefix_is_as_long_as_is_wanted_and_keeps_marks_with_their_letters() -> None:
    assert file_names.prefix_from_words("abcdef", 3) == "abc"
    assert file_names.prefix_from_words("abc", 0) == ""
    assert file_names.prefix_from_words("abc", -1) == ""
    assert file_names.prefix_from_words("nul", 3) == ""
    assert file_names.prefix_from_words("nul", 4) == "_nul"
    assert file_names.prefix_from_words("กก็", 2) == "ก"


@given(st.text(max_size=120), st.integers(0, 60))
def test_a_prefix_of_a_prefix_is_the_same(text: str, limit: int) -> None:
    made = file_names.prefix_from_words(text, limit)
    assert len(made) <= limit
    assert not is_device_name(made)


def test_device_names_have_any_extension_any_case_and_streams() -> None:
    for name in ("con", "NUL.txt", "COM¹ .x", "lpt9.tar.gz", "Aux"):
        assert is_device_name(name)
    assert (is_device_name("aux:a"), is_device_name("aux:a", streams=False)) == (True, False)
    for name in ("console", "com", "com10", "a.con", ""):
        assert not is_device_name(name)
