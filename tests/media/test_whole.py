"""Files that have no name until they are complete, on every kind of system."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from comfyui_pipeline.media import atomic

MASK = os.umask(0)  # the only way to read it
os.umask(MASK)
KINDS = ("without a name", "hidden", "hidden, and no hard links")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kinds of file systems."""
    if request.param == KINDS[0] and not hasattr(os, "O_TMPFILE"):
        pytest.skip("only Linux has files without a name")
    if request.param != KINDS[0]:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if request.param == KINDS[2]:

        def link(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", link)
    return str(request.param)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_gets_a_name_that_nobody_has(tmp_path: Path, kind: str) -> None:
    (tmp_path / "taken").write_bytes(b"another's")
    with atomic.atomic_file(tmp_path, tmp_path / "nursery") as new:
        new.file.write(b"content")
        assert "free" not in files(tmp_path)
        assert new.name(tmp_path / "taken") is False
        assert new.name(tmp_path / "free") is True
    assert files(tmp_path) == {"taken": b"another's", "free": b"content"}
    assert (tmp_path / "nursery").exists() == (kind != KINDS[0])
    assert stat.S_IMODE((tmp_path / "free").stat().st_mode) == 0o666 & ~MASK or os.name == "nt"


@pytest.mark.usefixtures("kind")
def test_or_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with atomic.atomic_file(tmp_path, tmp_path / "nursery") as new:
        new.file.write(b"new")
        new.publish_replace(tmp_path / "a")
    assert files(tmp_path) == {"a": b"new"}


@pytest.mark.usefixtures("kind")
def test_what_gets_no_name_is_gone(tmp_path: Path) -> None:
    with atomic.atomic_file(tmp_path, tmp_path / "nursery") as new:
        new.file.write(b"half")
    assert files(tmp_path) == {}
    with (
        atomic.atomic_file(tmp_path, tmp_path / "nursery") as new,
        pytest.raises(FileNotFoundError),
    ):
        new.name(tmp_path / "no such folder" / "a")
    assert files(tmp_path) == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody remove a file that is open")
def test_leavings_of_killed_processes_are_swept_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    nursery = tmp_path / "nursery"
    nursery.mkdir()
    ages = {"fresh.part": 30, "left.part": 90, "other.txt": 9000}
    for name, age in ages.items():
        (nursery / name).write_bytes(b"x")
        os.utime(nursery / name, (time.time() - age,) * 2)
    with atomic.atomic_file(tmp_path, nursery):
        (used,) = set(files(nursery)) - ages.keys()
        os.utime(nursery / used, (1, 1))  # old, but its process lives
        with atomic.atomic_file(tmp_path, nursery):
            assert set(files(nursery)) > {"fresh.part", "other.txt", used}
            assert "left.part" not in files(nursery)
    assert set(files(nursery)) == {"fresh.part", "other.txt"}
