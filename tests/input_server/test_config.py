"""The settings of the file server: defaults, ranges, precedence, invalid values."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from input_server import settings as config
from input_server.auth.keys import Key
from input_server.errors import ConfigError
from input_server.http import metrics_dir

SET = {"COMFYUI_ACCESS_KEY": "a-long-key-of-the-test"}


def read(**settings: Any) -> config.Config:
    return config.read({**SET, **settings})


def test_default_settings() -> None:
    chosen = config.read(SET)
    expected = {
        "host": "127.0.0.1",
        "port": 5005,
        "workers": 1,
        "access_log": False,
        "cache_mb": 256,
        "head_seconds": 10,
        "stall_seconds": 60,
        "deny_file": None,
        "trusted_proxies": (),
        "offload": "",
        "base_url": "http://127.0.0.1:5005",
        "through_host_gate": False,
        "signing_key": SET["COMFYUI_ACCESS_KEY"],
    }
    assert {name: getattr(chosen, name) for name in expected} == expected
    assert (chosen.lockout.limit, chosen.lockout.seconds) == (10, 600)
    assert [str(net) for net in chosen.lockout.exempt] == ["127.0.0.0/8", "::1/128"]
    assert [(mount.alias, mount.folder.name) for mount in chosen.mounts] == [("output", "output")]
    assert chosen.mounts_file.name == "mounts.json"
    assert chosen.cache_dir.parts[-2:] == (".cache", "input_server")


@pytest.mark.parametrize(
    ("name", "attribute", "least", "most"),
    [
        ("FILE_SERVER_PORT", "port", 1, 65535),
        ("INPUT_SERVER_WORKERS", "workers", 1, 64),
        ("INPUT_SERVER_CACHE_MB", "cache_mb", 0, 1_000_000),
        ("INPUT_SERVER_HEAD_SECONDS", "head_seconds", 1, 3600),
        ("INPUT_SERVER_STALL_SECONDS", "stall_seconds", 1, 3600),
        ("INPUT_SERVER_LOCK_AFTER", "lockout.limit", 0, 100_000),
        ("INPUT_SERVER_LOCK_SECONDS", "lockout.seconds", 1, 10_000_000),
    ],
)
def test_numbers_are_limited_to_their_ranges(
    name: str, attribute: str, least: int, most: int
) -> None:
    for value in (least, most):
        found: Any = read(**{name: value})
        for part in attribute.split("."):
            found = getattr(found, part)
        assert found == value
    for wrong in (-1, most + 1, "1.5", "²", "x", "1e3", "9" * 5000):
        with pytest.raises(ConfigError, match=name):
            read(**{name: wrong})


def test_0_counts_as_unset_where_it_has_no_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As admin panels save it for what was not filled in."""
    monkeypatch.setattr(config, "PACKAGE", tmp_path)
    zeros = dict.fromkeys(config.SETTINGS, "0")
    expected = replace(config.read(SET), cache_mb=0)
    expected = replace(expected, lockout=replace(expected.lockout, limit=0))
    assert config.read({**zeros, **SET}) == expected
    text = "".join(f"{name}=0\n" for name in zeros if name not in SET)
    (tmp_path / "config.env").write_text(f"{text}COMFYUI_ACCESS_KEY=''\n", "utf-8")
    assert config.read(SET) == expected
    with pytest.raises(ConfigError, match="No access key"):
        config.read({})


def test_a_file_for_both_programs_may_name_the_settings_of_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "PACKAGE", tmp_path)
    text = "COMFYUI_API_KEY=abc#d\nCOMFYUI_BASE_URL=http://127.0.0.1:8189\nFILE_SERVER_PORT=81\n"
    (tmp_path / "config.env").write_text(text, "utf-8")
    assert config.read(SET).port == 81


@pytest.mark.parametrize(
    ("text", "on"),
    [("true", True), ("TRUE", True), ("1", True), ("yes", True), ("false", False), ("0", False)],
)
def test_booleans_have_several_spellings(text: str, on: bool) -> None:
    assert read(INPUT_SERVER_ACCESS_LOG=text).access_log is on
    assert read(DebugMode=text).access_log is on
    with pytest.raises(ConfigError, match="true or false"):
        read(INPUT_SERVER_ACCESS_LOG=text + "x")


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"INPUT_SERVER_HOST": "0.0.0.0"}, "http://127.0.0.1:5005"),
        ({"INPUT_SERVER_HOST": "::"}, "http://127.0.0.1:5005"),
        ({"INPUT_SERVER_HOST": "192.168.1.5"}, "http://192.168.1.5:5005"),
        ({"INPUT_SERVER_HOST": "::1"}, "http://[::1]:5005"),
        ({"FILE_SERVER_PUBLIC_IP": "10.0.0.1", "FILE_SERVER_PORT": 81}, "http://10.0.0.1:81"),
        ({"FILE_SERVER_PUBLIC_IP": "[fd00::1]"}, "http://[fd00::1]:5005"),
        ({"FILE_SERVER_BASE_URL": "https://x.example/"}, "https://x.example"),
    ],
)
def test_the_base_url_of_links(settings: dict[str, Any], url: str) -> None:
    assert read(**settings).base_url == url


@pytest.mark.parametrize(
    ("style", "through_host_gate"), [("host", True), ("HOST", True), ("server", False), ("", False)]
)
def test_links_go_through_the_gate_of_a_host_if_set(style: str, through_host_gate: bool) -> None:
    assert read(FILE_SERVER_URL_STYLE=style).through_host_gate is through_host_gate


@pytest.mark.parametrize(
    ("text", "prefix"), [("", ""), ("x-accel:/a", "/a"), ("x-accel:/a/b", "/a/b")]
)
def test_the_prefix_of_an_offload(text: str, prefix: str) -> None:
    assert read(INPUT_SERVER_OFFLOAD=text).offload == prefix


@pytest.mark.parametrize("text", ["/a", "x-accel:", "x-accel:a", "x-accel:/a/", "x-sendfile:/a"])
def test_an_invalid_offload_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="INPUT_SERVER_OFFLOAD"):
        read(INPUT_SERVER_OFFLOAD=text)


def test_the_repr_contains_no_secret() -> None:
    more_keys = '[{"name": "a", "key": "key-of-a-friend", "signature": "second-secret"}]'
    shown = repr(read(INPUT_SERVER_SIGNING_KEY="signing-secret", COMFYUI_KEYS=more_keys))
    for secret in (*SET.values(), "key-of-a-friend", "second-secret", "signing-secret"):
        assert secret not in shown


def test_precedence_of_arguments_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.env").write_text(
        "COMFYUI_ACCESS_KEY=from-the-file\nINPUT_SERVER_WORKERS=2\nFILE_SERVER_PORT=2\n"
        "INPUT_SERVER_CACHE_MB=2\nINPUT_SERVER_SIGNING_KEY=$HOME\n",
        "utf-8-sig",
    )
    monkeypatch.setattr(config, "PACKAGE", tmp_path)
    monkeypatch.setenv("INPUT_SERVER_WORKERS", "3")
    monkeypatch.setenv("FILE_SERVER_PORT", "3")
    monkeypatch.setenv("INPUT_SERVER_CACHE_MB", " ")
    chosen = config.read({"FILE_SERVER_PORT": 4, "INPUT_SERVER_WORKERS": None})
    assert (chosen.port, chosen.workers, chosen.cache_mb) == (4, 3, 2)
    assert [key.key for key in chosen.keys] == ["from-the-file"]
    assert chosen.signing_key == "$HOME"
    (tmp_path / "config.env").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.read(SET)


def test_the_plugins_key_is_the_fallback_and_a_key_is_required() -> None:
    chosen = config.read({"FILE_SERVER_ACCESS_KEY": "the-plugins"})
    assert ([key.key for key in chosen.keys], chosen.signing_key) == (
        ["the-plugins"],
        "the-plugins",
    )
    both = config.read({"FILE_SERVER_ACCESS_KEY": "the-plugins", "COMFYUI_ACCESS_KEY": "own"})
    assert [key.key for key in both.keys] == ["own"]
    more_keys = '[{"name": "a", "key": "12345678"}]'
    only = config.read({"COMFYUI_KEYS": more_keys})
    assert ([key.name for key in only.keys], only.signing_key) == (["a"], "")
    assert [key.name for key in read(COMFYUI_KEYS=more_keys).keys] == [config.ACCESS_KEY, "a"]
    with pytest.raises(ConfigError, match="No access key"):
        config.read({})


def test_the_output_of_comfyui_is_mounted_unless_a_mount_contains_it(tmp_path: Path) -> None:
    def aliases(**settings: str) -> list[str]:
        return [mount.alias for mount in read(**settings).mounts]

    out = str(tmp_path / "out")
    assert aliases(COMFYUI_SERVER_OUTPUT_DIR=out) == ["output", "comfyui"]
    assert aliases(COMFYUI_SERVER_OUTPUT_DIR=out, COMFYUI_MOUNTS=f"m:{out}") == ["m"]
    assert aliases(COMFYUI_SERVER_OUTPUT_DIR=out, COMFYUI_MOUNTS=f"m:{tmp_path}") == ["m"]
    assert aliases(COMFYUI_SERVER_OUTPUT_DIR=out, COMFYUI_MOUNTS=f"m:{out}/sub") == ["m", "comfyui"]
    assert aliases(COMFYUI_SERVER_OUTPUT_DIR=out, COMFYUI_MOUNTS="comfyui:x") == ["comfyui"]
    assert aliases(COMFYUI_OUTPUT_MOUNT="mine") == ["mine"]
    for wrong in ("a b", "gallery", "a/b"):
        with pytest.raises(ConfigError, match="COMFYUI_OUTPUT_MOUNT"):
            read(COMFYUI_OUTPUT_MOUNT=wrong)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("example.com", False),
    ],
)
def test_published_example_keys_are_refused_unless_on_loopback(host: str, local: bool) -> None:
    for key in ("123456", "your_access_key", "your-access-key", "change-me", "changeme"):
        chosen = config.read({"COMFYUI_ACCESS_KEY": key})
        if local:
            config.refuse_example_keys(chosen, host)
        else:
            with pytest.raises(ConfigError, match="published example key") as caught:
                config.refuse_example_keys(chosen, host)
            assert key not in str(caught.value)
    config.refuse_example_keys(read(), host)
    assert config.is_loopback(host) is local


def test_short_secrets_cause_warnings_with_their_names() -> None:
    chosen = replace(
        read(),
        keys=(
            Key(config.ACCESS_KEY, "x" * 11),
            Key("long", "x" * 12),
            Key("signs", "y" * 12, signature="short"),
        ),
        signing_key="z" * 11,
    )
    assert [line.split(" is ")[0] for line in config.short_key_warnings(chosen)] == [
        "Warning: the access key",
        "Warning: the signature of signs",
        "Warning: the signing key",
    ]
    assert (
        config.short_key_warnings(replace(chosen, keys=chosen.keys[1:2], signing_key="x" * 12))
        == []
    )
    assert config.short_key_warnings(replace(chosen, keys=chosen.keys[1:2], signing_key="")) == []


def test_results_without_a_mount_cause_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "PACKAGE", tmp_path / "input_server")
    (tmp_path / "comfyui_plugin.py").touch()
    assert config.results_mount_warning(read()) == ""
    assert config.results_mount_warning(read(COMFYUI_MOUNTS=f"output:{tmp_path}/output")) == ""
    elsewhere = config.results_mount_warning(read(COMFYUI_MOUNTS=f"output:{tmp_path}"))
    absent = config.results_mount_warning(read(COMFYUI_MOUNTS=f"m:{tmp_path}/output"))
    assert elsewhere == absent
    assert "No mount output serves" in absent
    monkeypatch.setattr(config, "PACKAGE", tmp_path / "alone")
    (tmp_path / "comfyui_plugin.py").unlink()
    assert config.results_mount_warning(read(COMFYUI_MOUNTS=f"m:{tmp_path}")) == ""


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_workers_share_metrics_in_a_directory_that_is_removed(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(metrics_dir.VARIABLE, before or "")
        if before is None:
            del os.environ[metrics_dir.VARIABLE]
        with metrics_dir.shared_metrics_dir(1):
            assert os.environ.get(metrics_dir.VARIABLE) == before
        metrics_dir.remove_shared_metrics_dir(1)
        with metrics_dir.shared_metrics_dir(2):
            folder = Path(os.environ[metrics_dir.VARIABLE])
            assert folder.is_dir()
            metrics_dir.remove_shared_metrics_dir(2)
            assert not folder.exists()
        assert os.environ.get(metrics_dir.VARIABLE) == before, "the variable must be restored"
