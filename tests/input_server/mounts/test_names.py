"""File names that are never served."""

from __future__ import annotations

from pathlib import Path

import pytest

from input_server.mounts.disk_usage import walk
from input_server.mounts.resolve import Refused, check_names


@pytest.mark.parametrize("name", ["a.txt.", "a.txt ", "a ", ".a", "nul", "NUL.txt", "com¹.x", ""])
def test_names_with_a_special_meaning_on_windows_are_refused_everywhere(name: str) -> None:
    for windows in (False, True):
        with pytest.raises(Refused):
            check_names(("sub", name), windows=windows)


def test_hidden_files_are_not_listed(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".sub/c.png", "sub/.d.png", "sub/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert sorted(entry.path for entry in walk(tmp_path)) == ["a.png", "sub/e.png"]
