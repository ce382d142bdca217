"""Settings: where they come from, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import settings
from comfyui_pipeline.errors import SettingsError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "host" / "Plugin" / "comfyui"
    inside.mkdir(parents=True)
    (inside / "plugin-manifest.json").write_text('{"communication": {"timeout": 600000}}', "utf-8")
    return inside


def test_the_defaults_stand_without_any_file(folder: Path) -> None:
    chosen = settings.load(folder, {})
    assert chosen.base_url == "http://127.0.0.1:8188"
    assert chosen.timeout == 580
    assert chosen.output_dir == folder / "output"
    expected = folder.parents[2] / "AppData" / "UserData" / "attachments"
    assert chosen.attachments_dir == expected


def test_the_file_is_read_and_the_environment_wins(folder: Path) -> None:
    text = "﻿FILE_SERVER_PORT=7000\nCOMFYUI_CLIENT_ID='from-file'\nCOMFYUI_OUTPUT_DIR=\n"
    (folder / "config.env").write_text(text, "utf-8")
    chosen = settings.load(folder, {"FILE_SERVER_PORT": "7001", "COMFYUI_CLIENT_ID": " "})
    assert chosen.links.base.endswith(":7001")
    assert chosen.client_prefix == "from-file"


def test_windows_paths_in_the_file_keep_their_backslashes(folder: Path) -> None:
    (folder / "config.env").write_text("DOWNLOAD_ALLOW=D:\\new\\table $HOME\n", "utf-8")
    assert settings.load(folder, {}).download_allow == ("D:\\new\\table $HOME",)


WRONG = {
    "COMFYUI_BASE_URL": ["localhost:8188", "ftp://x", "http://", "http://x:99999", "http://a b"],
    "FILE_SERVER_PORT": ["0", "70000", "abc", "80.5", "-1"],
    "FILE_SERVER_PUBLIC_IP": ["http://1.2.3.4", "1.2.3.4:80", "a b"],
    "COMFYUI_SERVER_INPUT_DIR": ["relative", "/no/such/folder/here"],
    "COMFYUI_TIMEOUT": ["0", "596", "soon", "nan"],
    "COMFYUI_CLIENT_ID": ["a b", "图"],
    "COMFYUI_ALLOWED_DIRS": ["relative;also"],
    "DebugMode": ["maybe"],
    "COMFYUI_OUTPUT_MOUNT": ["a/b"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_a_wrong_setting_is_told_with_key_value_and_what_is_right(
    folder: Path, key: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(folder, {key: value})
    assert key in str(caught.value)
    assert "It has to be" in str(caught.value)
    assert value.split(";")[0] in str(caught.value)


def test_a_key_is_in_no_error_and_no_repr(folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "geheim wort"})
    assert "geheim" not in str(caught.value)
    assert "s3cret" not in repr(settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "s3cret"}))
    with pytest.raises(SettingsError) as caught:
        settings.load(folder, {"COMFYUI_BASE_URL": "ftp://me:s3cret@x"})
    assert "s3cret" not in str(caught.value)


def test_a_config_file_that_is_not_utf8_is_an_error_of_its_own(plugin: Any) -> None:
    (plugin.folder / "config.env").write_bytes(b"COMFYUI_OUTPUT_DIR=\xff\xfe")
    assert "config.env is not UTF-8" in plugin.call({"info": "workflows"}).error


def test_manifest_example_and_code_name_the_same_settings() -> None:
    import json
    import re

    manifest = json.loads((PROJECT / "plugin-manifest.json").read_text("utf-8"))
    example = (PROJECT / "config.env.example").read_text("utf-8")
    code = (PROJECT / "comfyui_pipeline" / "settings.py").read_text("utf-8")
    listed = set(re.findall(r"^([A-Za-z_]+)=", example, re.MULTILINE))
    assert listed == set(manifest["configSchema"])
    assert set(manifest["configSchema"].values()) <= {"string", "integer", "boolean"}
    for key in listed - {"COMFYUI_MOUNTS"}:
        assert f'"{key}"' in code
    for entry in manifest["capabilities"]["invocationCommands"]:
        assert entry["command"] == entry["commandIdentifier"]
        assert "tool_name:「始」comfyui「末」" in entry["example"]
