"""Atomic writes on every kind of file system."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from input_server import atomic

MASK = os.umask(0)  # the umask can be read only by setting it
os.umask(MASK)
KINDS = ("without a name", "hidden", "hidden, and no hard links")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One kind of file system for each test."""
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


def test_publish_new_does_not_replace_a_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "taken").write_bytes(b"another's")
    with atomic.atomic_file(tmp_path, tmp_path / "temp") as new:
        new.file.write(b"content")
        assert "free" not in files(tmp_path)
        assert new.publish_new(tmp_path / "taken") is False
        assert new.publish_new(tmp_path / "free") is True
    assert files(tmp_path) == {"taken": b"another's", "free": b"content"}
    assert (tmp_path / "temp").exists() == (kind != KINDS[0])
    assert stat.S_IMODE((tmp_path / "free").stat().st_mode) == 0o666 & ~MASK or os.name == "nt"


@pytest.mark.usefixtures("kind")
def test_publish_replace_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with atomic.atomic_file(tmp_path, tmp_path / "temp") as new:
        new.file.write(b"new")
        new.publish_replace(tmp_path / "a")
    assert files(tmp_path) == {"a": b"new"}


@pytest.mark.usefixtures("kind")
def test_a_file_that_is_open_elsewhere_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"old")
    reader = file.open("rb")
    closing = threading.Timer(0.3, reader.close)  # Windows replaces no file before
    closing.start()
    atomic.write_atomic(file, b"new")
    closing.join()
    assert files(tmp_path) == {"a": b"new"}


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)):
        atomic.write_atomic(tmp_path / "a", b"new")
    assert files(tmp_path) == {}


def test_an_unpublished_file_is_deleted(tmp_path: Path) -> None:
    with atomic.atomic_file(tmp_path, tmp_path / "temp") as new:
        new.file.write(b"half")
    assert files(tmp_path) == {}
    with (
        atomic.atomic_file(tmp_path, tmp_path / "temp") as new,
        pytest.raises(FileNotFoundError),
    ):
        new.publish_new(tmp_path / "no such folder" / "a")
    assert files(tmp_path) == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete open files")
def test_temp_files_of_killed_processes_are_deleted_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    temp = tmp_path / "temp"
    temp.mkdir()
    fresh, left = f".{'a' * 24}.part", f".{'0' * 24}.part"
    ages = {fresh: 30, left: 90, "other.part": 9000, f".{'x' * 24}.part": 9000}
    for name, age in ages.items():
        (temp / name).write_bytes(b"x")
        os.utime(temp / name, (time.time() - age,) * 2)
    with atomic.atomic_file(tmp_path, temp):
        (used,) = set(files(temp)) - ages.keys()
        os.utime(temp / used, (1, 1))  # old, but its process is running
        with atomic.atomic_file(tmp_path, temp):
            assert set(files(temp)) > {*ages, used} - {left}
            assert left not in files(temp)
    assert set(files(temp)) == ages.keys() - {left}


@pytest.mark.usefixtures("kind")
def test_a_file_is_written_or_replaced_in_one_step_and_its_folder_created(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        atomic.write_atomic(tmp_path / "new" / "a", content)
        assert files(tmp_path) == {"new/a": content}
