"""Settings: where they come from, and what is said of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_pipeline import inputs, settings
from comfyui_pipeline.errors import SettingsError
from input_server import settings as config

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "host" / "Plugin" / "comfyui"
    inside.mkdir(parents=True)
    (inside / "plugin-manifest.json").write_text('{"communication": {"timeout": 600000}}', "utf-8")
    return inside


def test_without_a_file_the_defaults_apply(folder: Path) -> None:
    chosen = settings.load(folder, {})
    assert chosen.base_url == "http://127.0.0.1:8188"
    assert chosen.timeout == 580
    assert chosen.output_dir == folder / "output"
    expected = folder.parents[2] / "AppData" / "UserData" / "attachments"
    assert chosen.attachments_dir == expected


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://host:1234/?token=abc", "http://host:1234?token=abc"),
        ("http://host:8188/#b1946ac9", "http://host:8188"),
        ("https://host/comfy/", "https://host/comfy"),
    ],
)
def test_the_server_url_is_taken_as_a_browser_shows_it(folder: Path, given: str, used: str) -> None:
    chosen = settings.load(folder, {"COMFYUI_BASE_URL": given})
    assert chosen.base_url == used
    assert "abc" not in repr(chosen)


def test_an_invalid_server_url_is_shown_without_its_token(folder: Path) -> None:
    with pytest.raises(SettingsError) as error:
        settings.load(folder, {"COMFYUI_BASE_URL": "ftp://host/?token=s3cret"})
    with pytest.raises(SettingsError, match="COMFYUI_BASE_URL"):
        settings.load(folder, {"COMFYUI_BASE_URL": "http://host/?token=a b"})
    assert "s3cret" not in str(error.value)
    assert "ftp://host/?…" in str(error.value)


def test_the_file_is_read_and_the_environment_wins(folder: Path) -> None:
    text = "﻿FILE_SERVER_PORT=7000\nCOMFYUI_CLIENT_ID='from-file'\nCOMFYUI_OUTPUT_DIR=\n"
    (folder / "config.env").write_text(text, "utf-8")
    chosen = settings.load(folder, {"FILE_SERVER_PORT": "7001", "COMFYUI_CLIENT_ID": " "})
    assert chosen.links.base.endswith(":7001")
    assert chosen.client_prefix == "from-file"


def test_backslashes_of_windows_paths_are_preserved(folder: Path) -> None:
    (folder / "config.env").write_text("DOWNLOAD_ALLOW=D:\\new\\table $HOME\n", "utf-8")
    assert settings.load(folder, {}).download_allow == ("D:\\new\\table $HOME",)


WRONG = {
    "COMFYUI_BASE_URL": [
        "localhost:8188",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://a b",
        "http://a/?x=b c",
    ],
    "FILE_SERVER_PORT": ["70000", "abc", "80.5", "-1"],
    "FILE_SERVER_PUBLIC_IP": ["http://1.2.3.4", "1.2.3.4:80", "a b"],
    "COMFYUI_SERVER_INPUT_DIR": ["relative", "/no/such/folder/here"],
    "COMFYUI_TIMEOUT": ["596", "soon", "nan"],
    "COMFYUI_CLIENT_ID": ["a b", "图"],
    "COMFYUI_ALLOWED_DIRS": ["relative;also"],
    "DebugMode": ["maybe"],
    "COMFYUI_IMAGE_MEMORY_MB": ["15", "65537", "1e3", "²", "-400", "9" * 5000],
    "COMFYUI_SILENCE_TIMEOUT": ["4", "86401", "nan", "inf"],
    "COMFYUI_OUTPUT_MOUNT": ["a/b"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_an_invalid_setting_is_reported_with_key_value_and_what_is_allowed(
    folder: Path, key: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(folder, {key: value})
    assert key in str(caught.value)
    assert "It must be" in str(caught.value)
    assert value.split(";")[0].partition("?")[0] in str(caught.value)


def test_a_key_is_in_no_error_and_no_repr(folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "geheim wort"})
    assert "geheim" not in str(caught.value)
    assert "s3cret" not in repr(settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "s3cret"}))
    with pytest.raises(SettingsError) as caught:
        settings.load(folder, {"COMFYUI_BASE_URL": "ftp://me:s3cret@x"})
    assert "s3cret" not in str(caught.value)


def test_a_config_file_that_is_not_utf8_is_a_settings_error(plugin: Any) -> None:
    (plugin.folder / "config.env").write_bytes(b"COMFYUI_OUTPUT_DIR=\xff\xfe")
    assert "config.env is not UTF-8" in plugin.call({"info": "workflows"}).error


def test_every_default_equals_the_example(folder: Path) -> None:
    chosen = settings.load(folder, {"FILE_SERVER_ACCESS_KEY": "k"})
    assert chosen.stall_timeout == 300
    assert chosen.return_image == "preview"
    assert chosen.client_prefix == "comfyui-plugin"
    assert chosen.output_alias == "output"
    assert chosen.memory.limit == 384 * 2**20
    assert (chosen.links.base, chosen.links.style) == ("http://127.0.0.1:5005", "server")
    assert (chosen.links.signed, chosen.links.seconds) == (False, 720 * 3600)
    assert (chosen.links.signing_key, chosen.links.quality) == ("k", "")
    assert (chosen.allowed_dirs, chosen.download_allow, chosen.auth) == ((), (), {})


GOOD = [
    ("COMFYUI_TIMEOUT", "1", "timeout", 1),
    ("COMFYUI_TIMEOUT", "595", "timeout", 595),
    ("COMFYUI_SILENCE_TIMEOUT", "5", "stall_timeout", 5),
    ("COMFYUI_SILENCE_TIMEOUT", "86400", "stall_timeout", 86_400),
    ("COMFYUI_RETURN_IMAGE", "FULL", "return_image", "full"),
    ("COMFYUI_RETURN_IMAGE", "none", "return_image", "none"),
]


@pytest.mark.parametrize(("key", "value", "name", "expected"), GOOD)
def test_the_bounds_of_each_range_are_accepted(
    folder: Path, key: str, value: str, name: str, expected: object
) -> None:
    assert getattr(settings.load(folder, {key: value}), name) == expected


@pytest.mark.parametrize(("hours", "good"), [("1", 1), ("8760", 1), ("0.9", 0), ("8761", 0)])
def test_the_hours_of_a_link(folder: Path, hours: str, good: int) -> None:
    environ = {"FILE_SERVER_URL_HOURS": hours}
    if good:
        assert settings.load(folder, environ).links.seconds == float(hours) * 3600
    else:
        with pytest.raises(SettingsError):
            settings.load(folder, environ)


@pytest.mark.parametrize(("megabytes", "bytes_"), [("16", 16 * 2**20), ("65536", 2**36)])
def test_the_memory_for_images_is_in_megabytes(folder: Path, megabytes: str, bytes_: int) -> None:
    chosen = settings.load(folder, {"COMFYUI_IMAGE_MEMORY_MB": megabytes})
    assert chosen.memory.limit == bytes_


@pytest.mark.parametrize("limit", [9000, 600_000])
def test_the_default_time_leaves_the_host_twenty_seconds_and_the_call_five(
    folder: Path, limit: int
) -> None:
    manifest = json.dumps({"communication": {"timeout": limit}})
    (folder / "plugin-manifest.json").write_text(manifest, "utf-8")
    assert settings.load(folder, {}).timeout == max(5, limit / 1000 - 20)


COMMENTS = ["# choose a long one", "#choose", "key # and words", "#"]
SECRETS = ["FILE_SERVER_ACCESS_KEY", "COMFYUI_ACCESS_KEY", "INPUT_SERVER_SIGNING_KEY"]


@pytest.mark.parametrize("value", COMMENTS)
@pytest.mark.parametrize("key", SECRETS)
def test_a_comment_is_never_a_key_here_or_at_the_file_server(
    folder: Path, key: str, value: str
) -> None:
    with pytest.raises(SettingsError, match="comment") as caught:
        settings.load(folder, {key: value})
    assert key in str(caught.value)
    assert value == "#" or value not in str(caught.value)
    other = {"COMFYUI_ACCESS_KEY": "a-good-long-key-of-its-own"}
    with pytest.raises(config.ConfigError, match="is a comment, not a key") as refused:
        config.read({**(other if key == SECRETS[2] else {}), key: value})
    assert value == "#" or value not in str(refused.value)


@pytest.mark.parametrize("key", ["abc#def-ghi-jkl", "long-key-with-#"])
def test_a_hash_inside_a_key_is_part_of_it(folder: Path, key: str) -> None:
    assert settings.load(folder, {"FILE_SERVER_ACCESS_KEY": key}).links.access_key == key
    assert config.read({"COMFYUI_ACCESS_KEY": key}).signing_key == key


def test_a_comment_that_a_host_passes_on_as_a_value_counts_as_absent(folder: Path) -> None:
    """As python-dotenv 1.1.1 reads `COMFYUI_OUTPUT_DIR=   # where results go`."""
    values = {"COMFYUI_OUTPUT_DIR": "# where results go", "COMFYUI_CLIENT_ID": "#"}
    (folder / "comfyui_plugin.py").touch()
    (folder / "input_server").mkdir()
    chosen = settings.load(folder, values)
    assert (chosen.output_dir, chosen.client_prefix) == (folder / "output", "comfyui-plugin")
    key = {"COMFYUI_ACCESS_KEY": "a-good-long-key"}
    results = config.read({**key, **values}, package=folder / "input_server").results
    assert results is not None
    assert results.folder == folder / "output"


def test_the_environment_overrides_the_file_unless_it_is_empty(tmp_path: Path) -> None:
    text = "\ufeffCOMFYUI_TIMEOUT=7\nCOMFYUI_CLIENT_ID=file\nFILE_SERVER_ACCESS_KEY=k\n"
    (tmp_path / "config.env").write_text(text, "utf-8")
    given = {"COMFYUI_TIMEOUT": "8", "COMFYUI_CLIENT_ID": " \t"}
    chosen = settings.load(tmp_path, given)
    assert (chosen.timeout, chosen.client_prefix, chosen.links.access_key) == (8, "file", "k")


@pytest.mark.parametrize(
    "url", ["ftp://me:s3cret@x", "http://me:s3cret@x:0", "http://me:s3cret@ x"]
)
def test_a_password_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(settings.SettingsError, match="COMFYUI_BASE_URL") as caught:
        settings.load(tmp_path, {"COMFYUI_BASE_URL": url})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "login",
    ["bearer a\nX-Evil: 1", "X-Key: a\r\nX-Evil: 1", "cookie a=b\x00", "X-Key: 密", "X-K: \x7f"],
)
def test_a_login_cannot_add_a_header(tmp_path: Path, login: str) -> None:
    with pytest.raises(settings.SettingsError, match="COMFYUI_AUTH") as caught:
        settings.load(tmp_path, {"COMFYUI_AUTH": login})
    assert "Evil" not in str(caught.value)


def test_a_named_mount_has_the_given_folder(tmp_path: Path) -> None:
    given = {"COMFYUI_MOUNTS": f"output:{tmp_path / 'served'};more:{tmp_path / 'more'}"}
    chosen = settings.load(tmp_path, given)
    assert dict(chosen.mounts) == {
        "output": tmp_path / "served",
        "more": tmp_path / "more",
    }
    assert dict(settings.load(tmp_path, {}).mounts) == {"output": tmp_path / "output"}


PANEL = """\
COMFYUI_BASE_URL=''
COMFYUI_OUTPUT_DIR=''
COMFYUI_SILENCE_TIMEOUT=0
COMFYUI_TIMEOUT=0
COMFYUI_IMAGE_MEMORY_MB=0
FILE_SERVER_PORT=0
FILE_SERVER_ACCESS_KEY=''
FILE_SERVER_URL_HOURS=0
FILE_SERVER_QUALITY=0
DebugMode=false
"""
"""As the host's admin panel saves it when nothing was filled in."""


def test_what_the_panel_saves_for_nothing_filled_in_counts_as_unset(folder: Path) -> None:
    defaults = settings.load(folder, {})
    (folder / "config.env").write_text(PANEL, "utf-8")
    assert settings.load(folder, {}) == defaults
    (folder / "config.env").unlink()
    host = dict(line.split("=") for line in PANEL.replace("''", "").splitlines())
    assert settings.load(folder, host) == defaults
    unset = dict.fromkeys((*settings.SETTINGS, "PROJECT_BASE_PATH"), "0")
    assert settings.load(folder, {**unset, "PROJECT_BASE_PATH": ""}) == defaults


def test_a_setting_of_the_file_server_may_stand_in_the_file_of_the_plugin(folder: Path) -> None:
    before = settings.load(folder, {})
    (folder / "config.env").write_text("INPUT_SERVER_WORKERS=2\nHTTP_PROXY=x\n", "utf-8")
    assert settings.load(folder, {}) == before


def test_a_mistake_in_the_file_is_the_error_of_every_call(plugin: Any) -> None:
    text = "COMFYUI_OUTPUT_DIR='D:\\my out\\'\nCOMFYUI_TIMEOUT=9\n# it's\n"
    (plugin.folder / "config.env").write_text(text, "utf-8")
    error = plugin.call({"info": "workflows"}).error
    assert "Line 1: COMFYUI_OUTPUT_DIR" in error
    assert "Write COMFYUI_OUTPUT_DIR=D:\\my out\\" in error


def test_a_value_that_a_host_cuts_at_a_hash_is_taken_from_the_file(folder: Path) -> None:
    text = "COMFYUI_API_KEY=account#key\nCOMFYUI_AUTH=basic me:a #\nCOMFYUI_TIMEOUT=9 # s\n"
    (folder / "config.env").write_text(text, "utf-8")
    host = {"COMFYUI_API_KEY": "account", "COMFYUI_TIMEOUT": "9", "COMFYUI_AUTH": "basic me:a"}
    chosen = settings.load(folder, host)
    assert (chosen.comfy_api_key, chosen.timeout) == ("account#key", 9)
    assert settings.load(folder, {"COMFYUI_API_KEY": "other"}).comfy_api_key == "other"


def test_the_limits_of_input_files_are_settings(folder: Path) -> None:
    chosen = settings.load(folder, {"COMFYUI_MAX_IMAGE_MB": "3", "COMFYUI_MAX_FILE_MB": "900"})
    kinds = {"image": 3, "animation": 3, "mask": 3, "video": 900, "audio": 900, "file": 900}
    for accepts, megabytes in kinds.items():
        assert inputs.download_policy(chosen, accepts).max_bytes == megabytes * 2**20  # type: ignore[arg-type]
