"""Defaults of settings, and the limits of their values."""

from __future__ import annotations

import pytest

from input_server.auth.lockout import LockoutPolicy
from input_server.auth.networks import parse_networks
from input_server.errors import ConfigError
from input_server.settings import Config, is_loopback, read, short_key_warnings


def configured(**settings: str) -> Config:
    return read({"COMFYUI_ACCESS_KEY": "a-long-enough-key", **settings})


def test_defaults_of_all_settings() -> None:
    config = configured()
    assert (config.host, config.port, config.workers) == ("127.0.0.1", 5005, 1)
    assert (config.cache_mb, config.image_mb) == (256, 220)
    assert (config.head_seconds, config.stall_seconds) == (10, 60)
    assert config.lockout == LockoutPolicy(10, 600, parse_networks("127.0.0.0/8;::1", "x"))
    assert (config.access_log, config.through_host_gate, config.offload, config.deny_file) == (
        False,
        False,
        "",
        None,
    )
    assert config.base_url == "http://127.0.0.1:5005"
    assert [mount.alias for mount in config.mounts] == ["output"]
    assert config.signing_key == "a-long-enough-key"
    assert config.trusted_proxies == ()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("FILE_SERVER_PORT", 1, 65535),
        ("INPUT_SERVER_WORKERS", 1, 64),
        ("INPUT_SERVER_CACHE_MB", 0, 1_000_000),
        ("INPUT_SERVER_IMAGE_MB", 1, 1_000_000),
        ("INPUT_SERVER_HEAD_SECONDS", 1, 3600),
        ("INPUT_SERVER_STALL_SECONDS", 1, 3600),
        ("INPUT_SERVER_LOCK_AFTER", 0, 100_000),
        ("INPUT_SERVER_LOCK_SECONDS", 1, 10_000_000),
    ],
)
def test_numbers_are_accepted_up_to_their_bounds(name: str, least: int, most: int) -> None:
    for value in (least, most):
        configured(**{name: str(value)})
    for value in (-1, most + 1, "1.5", "²", "many"):
        with pytest.raises(ConfigError, match=name):
            configured(**{name: str(value)})


def test_switches_and_fallbacks() -> None:
    assert configured(DebugMode="yes").access_log
    assert configured(INPUT_SERVER_ACCESS_LOG="1").access_log
    assert not configured(INPUT_SERVER_ACCESS_LOG="no").access_log
    assert configured(INPUT_SERVER_LOCK_EXEMPT="NONE").lockout.exempt == ()
    assert configured(FILE_SERVER_URL_STYLE="Host").through_host_gate
    assert configured(FILE_SERVER_PUBLIC_IP="2001:db8::1").base_url == "http://[2001:db8::1]:5005"
    assert configured(INPUT_SERVER_HOST="0.0.0.0").base_url == "http://127.0.0.1:5005"
    assert configured(FILE_SERVER_BASE_URL="https://x/").base_url == "https://x"
    assert configured(INPUT_SERVER_SIGNING_KEY="other").signing_key == "other"
    assert read({"FILE_SERVER_ACCESS_KEY": "b" * 12}).keys[0].key == "b" * 12
    assert [is_loopback(host) for host in ("127.9.9.9", "[::1]", "localhost", "10.0.0.1", "x")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_key_is_short_below_twelve_characters() -> None:
    assert short_key_warnings(read({"COMFYUI_ACCESS_KEY": "x" * 12})) == []
    (warning,) = short_key_warnings(read({"COMFYUI_ACCESS_KEY": "x" * 11}))
    assert "access key is short" in warning
    signing_key = {"INPUT_SERVER_SIGNING_KEY": "short"}
    (warning,) = short_key_warnings(read({"COMFYUI_ACCESS_KEY": "x" * 12, **signing_key}))
    assert "signing key is short" in warning
