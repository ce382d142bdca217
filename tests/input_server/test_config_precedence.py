"""Which source of a setting wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from input_server.mounts.mount import Mount
from input_server.mounts.table import MountTable
from input_server.settings import read, short_key_warnings


def test_the_host_overrides_the_environment_and_that_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("input_server.settings.PACKAGE", tmp_path / "input_server")
    (tmp_path / "input_server").mkdir()
    for place, port in ((tmp_path / "input_server", 1001), (tmp_path, 1002)):
        (place / "config.env").write_text(
            f"\ufeffFILE_SERVER_PORT={port}\nCOMFYUI_ACCESS_KEY=key-of-the-file\n", "utf-8"
        )
    assert read({}).port == 1001
    monkeypatch.setenv("FILE_SERVER_PORT", "1003")
    monkeypatch.setenv("COMFYUI_ACCESS_KEY", " ")
    assert (read({}).port, read({}).keys[0].key) == (1003, "key-of-the-file")
    assert read({"FILE_SERVER_PORT": "1004"}).port == 1004
    assert read({"FILE_SERVER_PORT": ""}).port == 1003


def test_a_key_of_eleven_characters_causes_a_warning() -> None:
    for length, warns in ((11, True), (12, False)):
        assert bool(short_key_warnings(read({"COMFYUI_ACCESS_KEY": "k" * length}))) is warns


def test_a_mount_in_the_file_overrides_one_in_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "mounts.json"
    file.write_text('{"mounts": [{"alias": "m", "folder": "new", "read_only": true}]}', "utf-8")
    table = MountTable([Mount("m", tmp_path / "old"), Mount("n", tmp_path)], file, lambda _: None)
    found = table.get("m")
    assert found == Mount("m", tmp_path / "new", read_only=True)
    assert table.get("n") is not None
