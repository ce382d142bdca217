"""The tables of settings against the files, manifests and READMEs that list the same settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from comfyui_pipeline import settings_table as plugin
from devtools import settings_files
from input_server import settings as file_server_settings
from input_server import settings_table as file_server
from input_server.env_lines import read_lines
from input_server.images.memory import DEFAULT_IMAGE_MB
from input_server.settings_table import Setting

PROJECT = Path(__file__).resolve().parents[1]
TABLES = [(PROJECT, plugin.SETTINGS), (PROJECT / "input_server", file_server.SETTINGS)]
KEY = {"COMFYUI_ACCESS_KEY": "a-long-key-of-the-test"}


@pytest.mark.parametrize("path", settings_files.files(), ids=lambda path: str(path.name))
def test_examples_and_manifests_are_generated_from_the_tables(path: Path) -> None:
    assert path.read_text("utf-8") == settings_files.files()[path], (
        "run: python -m devtools.settings_files"
    )


@pytest.mark.parametrize(("folder", "table"), TABLES)
def test_examples_and_manifests_have_every_setting_once(
    folder: Path, table: dict[str, Setting]
) -> None:
    example = (folder / "config.env.example").read_text("utf-8")
    manifest = json.loads((folder / "plugin-manifest.json").read_text("utf-8"))
    assert re.findall(r"^([A-Za-z_]+)=", example, re.MULTILINE) == list(table)
    assert list(manifest["configSchema"]) == list(table)
    assert set(manifest["configSchema"].values()) <= {"string", "integer", "boolean"}


def test_a_panel_that_saves_0_for_a_blank_number_gets_a_default_where_0_means_something() -> None:
    manifest = json.loads((PROJECT / "input_server" / "plugin-manifest.json").read_text("utf-8"))
    assert manifest["defaults"] == {"INPUT_SERVER_LOCK_AFTER": 10, "INPUT_SERVER_CACHE_MB": 256}


@pytest.mark.parametrize(("folder", "table"), TABLES)
def test_the_examples_can_be_used_as_they_are_and_with_settings_behind_them(
    folder: Path, table: dict[str, Setting]
) -> None:
    known = {**file_server.SETTINGS, **plugin.SETTINGS}
    text = (folder / "config.env.example").read_text("utf-8")
    values, mistakes = read_lines(text + "FILE_SERVER_PORT=7000\n", known)
    assert mistakes == []
    defaults = {name: row.default for name, row in table.items() if row.default}
    shown = defaults if folder == PROJECT else {}
    assert values == {**shown, "FILE_SERVER_PORT": "7000"}


READMES = ["README.md", "README.zh-CN.md"]


@pytest.mark.parametrize("name", READMES)
def test_the_readmes_name_no_setting_that_does_not_exist(name: str) -> None:
    text = (PROJECT / name).read_text("utf-8")
    names = set(re.findall(r"\b(?:COMFYUI|INPUT_SERVER|FILE_SERVER)_[A-Z_]+\b", text))
    assert names
    assert names <= {*plugin.SETTINGS, *file_server.SETTINGS}


@pytest.mark.parametrize("name", READMES)
def test_the_readmes_name_every_setting(name: str) -> None:
    text = (PROJECT / name).read_text("utf-8")
    names = {**plugin.SETTINGS, **file_server.SETTINGS}
    assert [setting for setting in names if setting not in text] == []


@pytest.mark.parametrize(("folder", "table"), TABLES)
def test_every_row_is_read_and_described_in_both_languages(
    folder: Path, table: dict[str, Setting]
) -> None:
    package = PROJECT / "comfyui_pipeline" if folder == PROJECT else folder
    code = (package / "settings.py").read_text("utf-8")
    code += (PROJECT / "input_server" / "shared_settings.py").read_text("utf-8")
    for name, row in table.items():
        assert f'"{name}"' in code or name == "INPUT_SERVER_PYTHON", name  # bridge.js reads that
        assert row.english.endswith((".", ";", ")", "attachments")), name
        assert re.search("[\u4e00-\u9fff]", row.chinese), name
        assert row.low < row.high, name
        assert not row.choices or row.default == row.choices[0], name


def test_secrets_are_marked() -> None:
    names = {**plugin.SETTINGS, **file_server.SETTINGS}
    secret = {name for name, row in names.items() if row.secret}
    assert secret == {n for n in names if n.endswith(("_KEY", "_KEYS"))} | {
        "COMFYUI_AUTH",
        "COMFYUI_START_COMMAND",
        "DOWNLOAD_PROXY",
    }


def test_the_defaults_in_the_example_of_the_file_server_are_those_of_the_code() -> None:
    defaults = {name: row.default for name, row in file_server.SETTINGS.items() if row.default}
    assert len(defaults) == 15
    read = file_server_settings.read
    assert read(KEY) == read({**defaults, **KEY})


def test_defaults_used_by_other_code_are_the_same() -> None:
    assert file_server.SETTINGS["INPUT_SERVER_IMAGE_MB"].default == str(DEFAULT_IMAGE_MB)
